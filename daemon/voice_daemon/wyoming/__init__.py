"""The recogniser as a Wyoming speech-to-text server.

Named for not hiding the `wyoming` distribution, whose event types it uses.
"""
