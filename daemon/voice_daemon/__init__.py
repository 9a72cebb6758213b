"""voice-daemon: wake word, streaming Whisper on MLX, transcripts on MQTT."""

__version__ = "0.1.0"
