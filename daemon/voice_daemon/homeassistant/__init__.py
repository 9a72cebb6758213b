"""Home Assistant: its device by MQTT discovery, and a satellite beside MQTT."""
