"""Threads and live state: the worker, its models, commands, settings and status."""
