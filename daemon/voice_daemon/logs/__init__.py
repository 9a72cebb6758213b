"""The log: how it is written, found, read and shown."""
