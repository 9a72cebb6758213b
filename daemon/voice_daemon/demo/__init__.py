"""The demonstration: a broker on loopback, a bundled clip, and what a subscriber receives."""
