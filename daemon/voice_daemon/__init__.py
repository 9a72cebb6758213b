"""voice-daemon: wake word, streaming Whisper on MLX, transcripts on MQTT."""

__version__ = "0.1.0"
PROJECT_URL = "https://github.com/voice-daemon/voice-daemon"
"""Where the documentation is: *Visit* on Home Assistant's device page. A fork puts its own here."""
