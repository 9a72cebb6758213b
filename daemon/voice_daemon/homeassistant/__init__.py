"""What Home Assistant is told, and when; it listens on the same broker."""
