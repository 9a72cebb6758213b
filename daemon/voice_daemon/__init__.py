"""voice-daemon: wake word, streaming Whisper on MLX, transcripts on MQTT."""

__version__ = "0.1.0"
PROJECT_URL = ""
"""Where this is published, as `https://github.com/OWNER/REPOSITORY`: *Visit* in Home Assistant.
Empty is nowhere: an address that nobody holds may be somebody else's tomorrow."""
