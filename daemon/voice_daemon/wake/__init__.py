"""Wake words: detection, model files, thresholds and which device answers."""
