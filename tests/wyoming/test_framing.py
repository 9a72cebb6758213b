"""Events from bytes that may be anything."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import Event

from voice_daemon.errors import WyomingError
from voice_daemon.wyoming import framing

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=5)


def read_all(received: bytes) -> list[Event]:
    """Read events until the stream ends."""

    async def read() -> list[Event]:
        reader = asyncio.StreamReader(limit=framing.MAX_HEADER_BYTES)
        reader.feed_data(received)
        reader.feed_eof()
        events = []
        while (event := await framing.read_event(reader)) is not None:
            events.append(event)
        return events

    return asyncio.run(read())


def header(**fields: object) -> bytes:
    return json.dumps({"type": "x", **fields}).encode() + b"\n"


@given(st.text(st.characters(codec="utf-8")), st.binary(max_size=300))
def test_what_the_package_writes_is_read(text: str, payload: bytes) -> None:
    event = Event("some-type", {"text": text}, payload or None)
    assert read_all(framing.encode(event) * 2) == [event, event]


def test_data_in_the_header_and_behind_it_is_one() -> None:
    line = header(data={"a": 1, "b": 1}, data_length=7)
    assert read_all(line + b'{"b":2}') == [Event("x", {"a": 1, "b": 2})]


@pytest.mark.parametrize(
    "received",
    [
        b"\n",
        b"hello\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"3\n",
        b"null\n",
        b"{}\n",
        b'{"type": 3}\n',
        b'{"type": "x", "data": [1]}\n',
        header(data_length=-1),
        header(data_length=True),
        header(data_length=1.5),
        header(data_length="7"),
        header(payload_length=10**18),
        header(payload_length=framing.MAX_PAYLOAD_BYTES + 1),
        header(data_length=framing.MAX_DATA_BYTES + 1),
        header(data_length=2) + b"[]",
        header(data_length=2) + b"{]",
        b'{"type": ' + b"9" * 5000 + b"}\n",
        b"[" * 60_000 + b"\n",
        b'{"type": "' + b"x" * (framing.MAX_HEADER_BYTES + 1) + b'"}\n',
    ],
)
def test_what_is_no_event_is_refused(received: bytes) -> None:
    with pytest.raises(WyomingError) as refusal:
        read_all(received)
    assert refusal.value.code == "wyoming.malformed"


@pytest.mark.parametrize(
    "received", [b"", b'{"type"', header(data_length=9) + b"{", header(payload_length=9) + b"12"]
)
def test_a_client_that_hangs_up_in_an_event_is_gone(received: bytes) -> None:
    assert read_all(received) == []


def test_a_line_without_end_is_not_collected() -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=framing.MAX_HEADER_BYTES)
        reader.feed_data(b"x" * (framing.MAX_HEADER_BYTES + 1))
        await framing.read_event(reader)

    with pytest.raises(WyomingError):
        asyncio.run(read())


@given(st.lists(st.binary(max_size=80) | OBJECTS.map(lambda o: json.dumps(o).encode() + b"\n")))
def test_any_bytes_give_events_or_a_refusal(pieces: list[bytes]) -> None:
    try:
        events = read_all(b"".join(pieces))
    except WyomingError:
        return
    assert all(isinstance(event.type, str) for event in events)


@given(JSON)
def test_whatever_a_client_sent_can_be_shown(value: object) -> None:
    shown = framing.shown(value)
    assert shown.isascii()
    assert len(shown) <= 40
