"""voice-daemon: wake word, streaming Whisper on MLX, transcripts on MQTT."""

__version__ = "0.1.0"
PROJECT_URL = "https://github.com/voice-daemon/voice-daemon"
"""Where the documentation is."""
