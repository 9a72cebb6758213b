"""The words of the control socket: one JSON object a line, in both directions.

Imports nothing heavy: `daemonctl` loads it on every call.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from voice_daemon import __version__
from voice_daemon.errors import ControlError, VoiceDaemonError

SCHEMA: Final = 1
"""Version of the wire format; in every request and reply."""

MAX_LINE_BYTES: Final = 64 * 1024
"""Longest request or reply, newline included."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's question."""

    verb: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer, and the version of the daemon that gave it."""

    version: str
    result: Mapping[str, Any]


class LineBuffer:
    """Collects bytes and gives back whole lines, without ever holding an endless one."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._held = bytearray()

    def feed(self, received: bytes) -> None:
        """Add what came from the socket."""
        self._held += received

    def next_line(self) -> bytes | None:
        """Return the next line without its newline; None until one is complete.

        Raises `ControlError` when the line is longer than the limit, complete or not.
        """
        end = self._held.find(b"\n", 0, self._max_line_bytes)
        if end < 0:
            if len(self._held) >= self._max_line_bytes:
                raise ControlError(
                    "control.line_too_long",
                    f"a line on the control socket is longer than {self._max_line_bytes} bytes",
                    remedy="send one JSON object a line, ended by a newline",
                )
            return None
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    def rest(self) -> bytes:
        """Take whatever is held: the last line of a peer that sent no newline before it left."""
        rest = bytes(self._held)
        self._held.clear()
        return rest


def encode_request(request: Request) -> bytes:
    """Write one request line. Raises `ControlError` when it does not fit."""
    return _line({"verb": request.verb, "arguments": dict(request.arguments)})


def decode_request(line: bytes) -> Request:
    """Read one request line. Raises `ControlError` that says what is wrong with it."""
    data = _object(line, what="request")
    verb = data.get("verb")
    arguments = data.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise ControlError(
            "control.malformed",
            "a request needs a text `verb`, and `arguments` must be an object",
            remedy='send for example {"verb": "status"}',
        )
    return Request(verb=verb, arguments=arguments)


def encode_result(result: Mapping[str, Any]) -> bytes:
    """Write a good reply. Raises `ControlError` when it does not fit in a line."""
    return _line({"ok": True, "result": dict(result)})


def encode_error(error: VoiceDaemonError) -> bytes:
    """Write a reply that refuses."""
    return _line({"ok": False, "error": error.to_dict()})


def decode_reply(line: bytes) -> Reply:
    """Read one reply line. Raises the daemon's own error as a `ControlError`."""
    data = _object(line, what="reply")
    result, error = data.get("result"), data.get("error")
    if data.get("ok") is True and isinstance(result, dict):
        return Reply(version=str(data.get("version", "")), result=result)
    if data.get("ok") is False and isinstance(error, dict):
        raise ControlError(
            str(error.get("code", "control.refused")),
            str(error.get("message", "the daemon refused")),
            remedy=str(error.get("remedy", "")),
        )
    raise ControlError(
        "control.malformed",
        "the daemon's reply has neither a result nor an error",
        remedy="restart the daemon, so that it and this command are the same version",
    )


def _line(fields: Mapping[str, Any]) -> bytes:
    """One JSON line with schema and version in front."""
    document = {"schema": SCHEMA, "version": __version__, **fields}
    line = json.dumps(document, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ControlError(
            "control.line_too_long",
            f"a message of {len(line)} bytes does not fit the control socket's {MAX_LINE_BYTES}",
            remedy="ask for less",
        )
    return line


def _object(line: bytes, *, what: str) -> dict[str, Any]:
    """Parse a line as a JSON object. RecursionError: thousands of nested brackets."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(
            "control.malformed",
            f"a {what} on the control socket is not JSON: {error}",
            remedy='send one JSON object a line, for example {"verb": "status"}',
        ) from error
    if not isinstance(data, dict):
        raise ControlError(
            "control.malformed",
            f"a {what} on the control socket is not a JSON object",
            remedy='send for example {"verb": "status"}',
        )
    return data
