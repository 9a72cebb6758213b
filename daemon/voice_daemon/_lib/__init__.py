"""Helpers that know nothing of this program: files, terminal, process."""
