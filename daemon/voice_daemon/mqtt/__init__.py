"""The daemon on MQTT: what it says (`messages`) and how that reaches the broker (`client`)."""
