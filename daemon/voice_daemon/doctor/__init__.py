"""Looks for what may be wrong with a daemon and its surroundings, running or not.

Each check stands for itself: it is bounded in time, and one that fails stops no other. Knows the
parts that it looks at; nothing of how findings are shown.
"""
