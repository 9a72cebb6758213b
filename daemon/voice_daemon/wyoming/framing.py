"""Wyoming's framing with bounds: events from a socket that may send anything, and back to bytes.

The `wyoming` package reads whatever lengths a header names; nothing here is read before it is
known to be small. Knows nothing of what events mean.
"""

import asyncio
import json
from io import BytesIO
from typing import Any, Final

from wyoming.event import Event, write_event

from voice_daemon.errors import WyomingError

MAX_HEADER_BYTES: Final = 64 * 1024
"""The line of JSON; also the `limit` that the stream reader has to have."""
MAX_DATA_BYTES: Final = 256 * 1024
MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024
"""A minute of 16 kHz audio."""


def encode(event: Event) -> bytes:
    """Write an event as the `wyoming` package does."""
    out = BytesIO()
    write_event(event, out)
    return out.getvalue()


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Read the next event; None when the client hung up between two, or inside one.

    Raises `WyomingError` for bytes that are none: where the next event would begin is unknown.
    """
    header = await _header(reader)
    if header is None:
        return None
    kind = header.get("type")
    if not isinstance(kind, str):
        raise _malformed("its type is not a text")
    data = _object(header.get("data") or {}, "its data")
    data_length = _length(header, "data_length", most=MAX_DATA_BYTES)
    payload_length = _length(header, "payload_length", most=MAX_PAYLOAD_BYTES)
    try:
        if data_length:
            data = data | _object(_parsed(await reader.readexactly(data_length)), "its data")
        payload = await reader.readexactly(payload_length) if payload_length else None
    except EOFError:
        return None
    return Event(kind, data, payload)


def shown(value: object) -> str:
    """Give something that a client sent as a short text that can be sent and logged anywhere."""
    plain = isinstance(value, str | int | float)
    return ascii(value)[:40] if plain else f"of type {type(value).__name__}"


async def _header(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    try:
        line = await reader.readline()
    except ValueError as error:
        raise _malformed(f"its header is longer than {MAX_HEADER_BYTES} bytes") from error
    if not line.endswith(b"\n"):
        return None
    return _object(_parsed(line), "its header")


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed("it is not JSON") from error


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{what} is not an object")
    return value


def _length(header: dict[str, Any], key: str, *, most: int) -> int:
    length = header.get(key)
    if length is None:
        return 0
    if type(length) is not int or not 0 <= length <= most:
        raise _malformed(f"{key} is not a whole number from 0 to {most}")
    return length


def _malformed(why: str) -> WyomingError:
    return WyomingError(
        "wyoming.malformed",
        f"the client sent something that is not a Wyoming event: {why}",
        remedy="check the client",
    )
