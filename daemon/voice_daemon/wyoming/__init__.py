"""The recogniser as a Wyoming speech-to-text server."""
