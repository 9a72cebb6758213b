"""The AsyncAPI document of everything on MQTT, made from the code that says it."""
