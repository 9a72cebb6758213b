"""Talking to a running daemon over a Unix socket: the protocol, the server, the client."""
