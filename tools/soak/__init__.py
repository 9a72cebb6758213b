"""`scripts/test-soak`: hours of audio through one daemon, while its broker comes and goes."""
