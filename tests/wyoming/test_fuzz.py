"""Clients that send anything, beside one that behaves: it gets its text, every time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rigs.wyoming_servers import HOST, Served, dictate, fake_recogniser, serving, spoken
from voice_daemon.wyoming.stream import Limits

TEXT = "turn on the kitchen lights"
LIMITS = Limits(stall_s=5, idle_s=5, max_clients_an_address=16)
KINDS = ["describe", "ping", "transcribe", "audio-start", "audio-chunk", "audio-stop", "transcript"]
VALUES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70_000)
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([1, 2, 16_000, "en", "tiny.en"])
    | st.lists(st.integers(), max_size=2)
)
FIELDS = ["rate", "width", "channels", "timestamp", "language", "name", "text"]
SOUND_FORMAT = {"rate": 16_000, "width": 2, "channels": 1}


@st.composite
def frame(draw: st.DrawFn) -> bytes:
    """An event that may be right, wrong in its values, or wrong in its lengths."""
    data = draw(st.just(SOUND_FORMAT) | st.dictionaries(st.sampled_from(FIELDS), VALUES))
    payload = draw(st.binary(max_size=2000))
    header = {"type": draw(st.sampled_from(KINDS)), "data": data, "payload_length": len(payload)}
    if draw(st.integers(0, 9)) == 0:
        header[draw(st.sampled_from(["type", "data", "data_length", "payload_length"]))] = draw(
            VALUES
        )
    return json.dumps(header).encode() + b"\n" + payload


@st.composite
def conversation(draw: st.DrawFn) -> bytes:
    """What one client sends: events, cut short or changed somewhere."""
    sent = b"".join(draw(st.lists(frame(), max_size=8)))
    if draw(st.booleans()):
        sent = sent[: draw(st.integers(0, len(sent)))]
    if sent and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(sent) - 1))
        sent = sent[:at] + draw(st.binary(max_size=12)) + sent[at + 1 :]
    return sent


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(fake_recogniser(TEXT.split()), limits=LIMITS) as served:
        yield served


async def send(port: int, received: bytes, *, rudely: bool) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        # Not only `ConnectionError`: half closing what the server has reset is ENOTCONN.
        with contextlib.suppress(OSError):
            writer.write(received)
            await writer.drain()
            if not rudely:
                writer.write_eof()
                await reader.read()
    finally:
        writer.transport.abort()


async def beside(port: int, sent: list[bytes], *, rudely: bool) -> str:
    async with asyncio.TaskGroup() as fuzzers:
        for received in sent:
            fuzzers.create_task(send(port, received, rudely=rudely))
        heard = await dictate(port, spoken(TEXT).samples)
    return heard.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(conversation(), min_size=1, max_size=4), st.booleans())
def test_a_client_gets_its_text_beside_any_other(
    served: Served,
    sent: list[bytes],
    rudely: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    assert served.run(beside(served.port, sent, rudely=rudely)) == TEXT


@pytest.mark.slow
@settings(max_examples=1000)
@given(st.lists(conversation(), min_size=1, max_size=8), st.booleans())
def test_a_client_gets_its_text_beside_thousands_of_others(
    served: Served,
    sent: list[bytes],
    rudely: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    assert served.run(beside(served.port, sent, rudely=rudely)) == TEXT


def test_whatever_was_sent_nothing_is_left_of_it(served: Served) -> None:
    served.run(dictate(served.port, spoken(TEXT).samples))
    served.take_turns()
    assert not served.scheduler.due
