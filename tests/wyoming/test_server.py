"""The server seen by the package's own client, with a recogniser that reads coded audio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from rigs.wyoming_servers import (
    HOST,
    Heard,
    Served,
    connected,
    dictate,
    fake_recogniser,
    hear_out,
    say,
    serving,
    spoken,
)
from support.fakes import FakeTranscriber, Scene
from voice_daemon.errors import WyomingError
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.wyoming.server import WyomingServer
from voice_daemon.wyoming.stream import Limits

LONG = "please turn on all of the lights in the kitchen and then close the front door"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(fake_recogniser(LONG.split())) as served:
        yield served


async def ask(port: int, *events: Eventable) -> Heard:
    """Send events and collect what comes back until the connection or an utterance ends."""
    async with connected(port) as client:
        for event in events:
            await client.write_event(event.event())
        return await hear_out(client)


def chunk(n_samples: int, *, rate: int = 16_000) -> AudioChunk:
    return AudioChunk(rate, 2, 1, bytes(2 * n_samples))


def test_it_describes_itself(served: Served) -> None:
    async def describe() -> Info:
        async with connected(served.port) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event is not None
            return Info.from_event(event)

    (program,) = served.run(describe()).asr
    assert program.installed
    assert program.supports_transcript_streaming
    (model,) = program.models
    assert (model.name, model.languages, model.installed) == ("tiny.en", ["en", "de"], True)


def test_a_transcript_comes_in_parts_while_it_is_spoken_and_then_whole(served: Served) -> None:
    heard = served.run(dictate(served.port, spoken(LONG).samples, pace_s=0.002))
    assert heard.kinds == ["transcript-start", "transcript-chunk", "transcript", "transcript-stop"]
    assert len(heard.chunks) > 1
    assert "".join(heard.chunks) == heard.text == LONG


def test_silence_is_an_empty_transcript(served: Served) -> None:
    heard = served.run(dictate(served.port, Scene().silence(3000).samples))
    assert heard.kinds == ["transcript-start", "transcript", "transcript-stop"]
    assert heard.text == ""


def test_no_audio_at_all_is_an_empty_transcript(served: Served) -> None:
    assert served.run(dictate(served.port, np.zeros(0, np.int16))).text == ""


def test_where_the_final_differs_the_parts_are_left_and_the_transcript_is_right() -> None:
    def revising(_language: str | None) -> FakeTranscriber:
        return FakeTranscriber(words=LONG.split(), revise=str.title)

    with serving(fake_recogniser(LONG.split(), revising)) as served:
        heard = served.run(dictate(served.port, spoken(LONG).samples, pace_s=0.002))
    assert heard.text == LONG.title()
    assert heard.chunks
    assert LONG.startswith("".join(heard.chunks))


def test_one_connection_may_carry_one_utterance_after_another(served: Served) -> None:
    async def two() -> list[str]:
        async with connected(served.port) as client:
            texts = []
            for _ in range(2):
                await say(client, spoken(LONG).samples)
                texts.append((await hear_out(client)).text)
            return texts

    assert served.run(two()) == [LONG, LONG]


def test_utterances_sent_ahead_are_answered_in_order(served: Served) -> None:
    async def ahead() -> list[str]:
        async with connected(served.port) as client:
            await say(client, spoken(LONG).samples)
            await say(client, Scene().silence(1000).samples)
            return [(await hear_out(client)).text for _ in range(2)]

    assert served.run(ahead()) == [LONG, ""]


def test_audio_without_a_start_and_of_changing_format_is_heard(served: Served) -> None:
    samples = spoken(LONG).samples
    half = samples.size // 2
    stereo = np.repeat(samples[half:], 2).tobytes()
    heard = served.run(
        ask(
            served.port,
            AudioChunk(16_000, 2, 1, samples[:half].tobytes()),
            AudioChunk(16_000, 2, 2, stereo),
            AudioStop(),
        )
    )
    assert heard.text == LONG


def test_a_new_request_drops_the_audio_of_the_last(served: Served) -> None:
    samples = spoken(LONG).samples
    heard = served.run(
        ask(
            served.port,
            AudioStart(16_000, 2, 1),
            AudioChunk(16_000, 2, 1, samples.tobytes()),
            Transcribe(language="en"),
            AudioStart(16_000, 2, 1),
            AudioStop(),
        )
    )
    assert heard.text == ""


@pytest.mark.parametrize("language", ["de", "de-DE", "DE_at"])
def test_the_language_asked_for_is_used(language: str) -> None:
    languages: list[str | None] = []

    def new(language: str | None) -> FakeTranscriber:
        languages.append(language)
        return FakeTranscriber(words=LONG.split())

    with serving(fake_recogniser(LONG.split(), new)) as served:
        served.run(dictate(served.port, spoken().samples, language=language))
    assert languages == ["de"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Transcribe(language="tlh"), "wyoming.unknown_language"),
        (Transcribe(name="large-v3"), "wyoming.unknown_model"),
        (AudioChunk(16_000, 9, 1, b"12"), "wyoming.audio_format"),
        (chunk(16_000 * 16, rate=4_000), "wyoming.too_long"),
    ],
)
def test_what_cannot_be_done_is_said(served: Served, request_: Eventable, code: str) -> None:
    assert served.run(ask(served.port, request_)).error == code


def test_a_model_may_be_asked_for_by_its_name(served: Served) -> None:
    wanted = Transcribe(name="tiny.en", language="en")
    assert served.run(ask(served.port, wanted, AudioStart(16_000, 2, 1), AudioStop())).text == ""


def test_it_answers_pings_and_passes_over_what_it_does_not_know(served: Served) -> None:
    async def ping() -> Event | None:
        async with connected(served.port) as client:
            await client.write_event(Event("synthesize", {"text": "hello"}))
            await client.write_event(Ping("are you there").event())
            event: Event | None = await client.read_event()
            return event

    event = served.run(ping())
    assert event is not None
    assert Pong.from_event(event).text == "are you there"


def test_a_client_that_stalls_in_its_audio_is_dropped() -> None:
    with serving(fake_recogniser([]), limits=Limits(stall_s=0.2)) as served:
        heard = served.run(ask(served.port, AudioStart(16_000, 2, 1), chunk(4000)))
    assert heard.error == "wyoming.stalled"


def test_a_client_that_stalls_inside_an_event_is_dropped() -> None:
    async def half(port: int) -> Heard:
        async with connected(port) as client:
            assert client._writer is not None
            client._writer.write(b'{"type": "audio-chunk", "payload_length": 100}\n1234')
            return await hear_out(client)

    with serving(fake_recogniser([]), limits=Limits(idle_s=0.2)) as served:
        assert served.run(half(served.port)).error == "wyoming.stalled"


def test_audio_without_end_is_refused() -> None:
    with serving(fake_recogniser([]), limits=Limits(max_audio_s=5)) as served:
        heard = served.run(ask(served.port, AudioStart(16_000, 2, 1), *[chunk(16_000)] * 6))
    assert heard.error == "wyoming.too_long"


def test_one_client_too_many_is_told_so_and_the_others_stay() -> None:
    async def crowd(port: int) -> tuple[str | None, str]:
        async with connected(port) as first:
            await first.write_event(AudioStart(16_000, 2, 1).event())
            await first.write_event(Ping("here").event())
            assert await first.read_event() is not None
            async with connected(port) as second:
                refused = (await hear_out(second)).error
            await say(first, spoken(LONG).samples)
            return refused, (await hear_out(first)).text

    with serving(fake_recogniser(LONG.split()), limits=Limits(max_clients=1)) as served:
        assert served.run(crowd(served.port)) == ("wyoming.full", LONG)


def test_a_place_is_free_again_when_its_client_has_gone() -> None:
    async def one_by_one(port: int) -> list[str]:
        texts: list[str] = []
        while len(texts) < 4:
            # The server may hear of the last one's leaving a moment later, and refuse this one.
            with contextlib.suppress(ConnectionError, ValueError):
                texts.append((await dictate(port, spoken(LONG).samples)).text)
        return texts

    with serving(fake_recogniser(LONG.split()), limits=Limits(max_clients=1)) as served:
        assert served.run(one_by_one(served.port)) == [LONG] * 4


def test_a_client_that_reads_nothing_is_dropped() -> None:
    limits = Limits(idle_s=30, max_unsent_bytes=1024)
    with serving(fake_recogniser([]), limits=limits) as served:
        client = socket.create_connection((HOST, served.port))
        client.settimeout(60)
        with client, pytest.raises(ConnectionError):  # noqa: PT012 - one of them, at some time
            while True:
                client.sendall(b'{"type":"describe"}\n' * 100)


def test_audio_that_waits_for_its_turn_is_bounded() -> None:
    """While no steps are taken, the server stops reading from the client."""
    with serving(fake_recogniser([]), limits=Limits(max_backlog_s=2)) as served:
        client = socket.create_connection((HOST, served.port))
        client.settimeout(1)
        event = AudioChunk(16_000, 2, 1, bytes(32_000)).event()
        header = f'{{"type":"{event.type}","data":{{"rate":16000,"width":2,"channels":1}},'
        line = f'{header}"payload_length":32000}}\n'.encode() + bytes(32_000)
        with pytest.raises(TimeoutError):  # noqa: PT012 - one of them is not taken any more
            for _ in range(1000):
                client.sendall(line)
        (waiting,) = served.scheduler._jobs
        assert waiting.backlog_samples <= 3.1 * 16_000  # type: ignore[attr-defined]
        client.close()


def test_utterances_that_are_begun_and_dropped_do_not_pile_up(served: Served) -> None:
    """While no steps are taken, as when the recogniser is busy with somebody else."""
    line = b'{"type":"audio-chunk","data":{"rate":16000,"width":2,"channels":1}}\n'
    start = line.replace(b"chunk", b"start")
    with socket.create_connection((HOST, served.port)) as client:
        client.settimeout(30)
        client.sendall((start + line) * 2000 + b'{"type":"ping"}\n')
        assert client.recv(100)
        assert len(served.scheduler._jobs) == 1


def test_a_client_killed_in_mid_stream_leaves_nothing_behind(served: Served) -> None:
    async def kill_one() -> str:
        killed = connected(served.port)
        await killed.connect()
        await killed.write_event(AudioStart(16_000, 2, 1).event())
        await killed.write_event(chunk(40_000).event())
        other = asyncio.create_task(dictate(served.port, spoken(LONG).samples, pace_s=0.002))
        await asyncio.sleep(0.02)
        assert killed._writer is not None
        killed._writer.transport.abort()
        return (await other).text

    assert served.run(kill_one()) == LONG
    assert not served.scheduler._jobs


def test_a_failing_recogniser_is_told_to_its_client_alone() -> None:
    made: list[FakeTranscriber] = []

    def new(_language: str | None) -> FakeTranscriber:
        fails_at = None if made else ("finish", 1)
        made.append(FakeTranscriber(words=LONG.split(), fails_at=fails_at))
        return made[-1]

    async def two(port: int) -> tuple[str | None, str]:
        first = await dictate(port, spoken(LONG).samples)
        return first.error, (await dictate(port, spoken(LONG).samples)).text

    with serving(fake_recogniser(LONG.split(), new)) as served:
        assert served.run(two(served.port)) == ("asr.failed", LONG)


def test_a_taken_port_is_said_with_a_remedy(served: Served) -> None:
    second = WyomingServer(HOST, served.port, scheduler=RoundRobin())
    with pytest.raises(WyomingError, match=str(served.port)) as refusal:
        second.start(fake_recogniser([]))
    assert refusal.value.code == "wyoming.cannot_listen"
    second.stop(10)


def test_a_stop_hangs_up_and_ends_the_thread() -> None:
    with serving(fake_recogniser([])) as served:
        client = socket.create_connection((HOST, served.port))
        client.settimeout(30)
        client.sendall(b'{"type":"ping"}\n')
        assert client.recv(100)
    assert client.recv(100) == b""
    client.close()
    assert "wyoming" not in {thread.name for thread in threading.enumerate()}


def test_a_client_in_the_middle_of_its_audio_is_told_why_it_is_refused(served: Served) -> None:
    async def upload(port: int) -> Heard:
        async with connected(port) as client:
            await client.write_event(Transcribe(language="tlh").event())
            for _ in range(200):
                await client.write_event(chunk(16_000).event())
            return await hear_out(client)

    assert served.run(upload(served.port)).error == "wyoming.unknown_language"


def test_one_address_leaves_room_for_others_and_a_storm_writes_few_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(max_clients=4, max_clients_an_address=2)

    async def crowd(port: int) -> list[str]:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                client = await stack.enter_async_context(connected(port))
                await client.write_event(Ping().event())
                await client.read_event()
            codes = []
            for _ in range(50):
                async with connected(port) as refused:
                    event = await refused.read_event()
                    codes.append(str(event and event.data["code"]))
            return codes

    with caplog.at_level("WARNING"), serving(fake_recogniser([]), limits=limits) as served:
        assert served.run(crowd(served.port)) == ["wyoming.full"] * 50


def test_audio_that_keeps_changing_its_format_is_refused(served: Served) -> None:
    chunks = [chunk(1, rate=16_000 + number) for number in range(10)]
    heard = served.run(ask(served.port, *chunks))
    assert [event.data["code"] for event in heard.events] == ["wyoming.too_many_formats"]


def test_an_utterance_may_change_its_format_once(served: Served) -> None:
    events = (chunk(1600), chunk(800, rate=8000), AudioStop())
    assert served.run(ask(served.port, *events)).text == ""


def test_a_flood_of_events_keeps_nobody_waiting(served: Served) -> None:
    """A client's events lie in the buffer by the thousand; another one asks meanwhile."""

    async def both() -> int:
        _, flood = await asyncio.open_connection(HOST, served.port)
        pings = b'{"type":"ping"}\n' * 20_000
        flood.write(pings)
        async with connected(served.port) as other:
            answered = 0
            for _ in range(20):
                await other.write_event(Describe().event())
                async with asyncio.timeout(10):
                    answered += await other.read_event() is not None
        flood.transport.abort()
        return answered

    assert served.run(both()) == 20


def test_a_client_that_sends_too_fast_is_made_to_wait() -> None:
    limits = Limits(max_events_burst=10, max_events_per_s=50)

    async def pings(port: int) -> float:
        loop = asyncio.get_running_loop()
        async with connected(port) as client:
            began_s = loop.time()
            for _ in range(30):
                await client.write_event(Ping().event())
            for _ in range(30):
                await client.read_event()
            return loop.time() - began_s

    with serving(fake_recogniser([]), limits=limits) as served:
        assert served.run(pings(served.port)) >= 19 / 50
