"""Weights on disk: reads and checks every supported layout."""
