"""Looks for what may be wrong with a daemon and its surroundings, running or not."""
