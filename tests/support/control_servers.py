"""A control server for tests, with handlers of every temper, and raw connections to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voice_daemon.control.server import ControlServer
from voice_daemon.errors import ControlError

PATIENCE_S = 20.0
"""How long a test waits for what must happen before it fails."""


def echo(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"heard": dict(arguments)}


def refuse(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ControlError("control.muted", "the microphone is muted", remedy="`daemonctl unmute`")


def crash(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    raise RuntimeError("a bug")


def big(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"text": "x" * 60_000}


def nan(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"level": float("nan")}


HANDLERS = {"status": echo, "listen": refuse, "crash": crash, "big": big, "nan": nan}


@contextmanager
def serving(path: Path, *, client_timeout_s: float = PATIENCE_S) -> Iterator[ControlServer]:
    server = ControlServer(path, HANDLERS, client_timeout_s=client_timeout_s)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return connection


def read_line(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as lines:
        document: dict[str, Any] = json.loads(lines.readline())
        return document
