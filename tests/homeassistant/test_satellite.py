"""The satellite as Home Assistant meets it, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioStart
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite

from rigs.brokers import HOST, eventually
from support.transcripts import final_of
from voice_daemon.errors import WyomingError
from voice_daemon.events import TranscriptFinal
from voice_daemon.homeassistant.satellite import Satellite, SatelliteOptions
from voice_daemon.wyoming import framing

OPTIONS = SatelliteOptions(
    name="Kitchen",
    area="Kitchen",
    host=HOST,
    port=0,
    model="tiny.en",
    languages=("en",),
    ttl_s=5.0,
)
PATIENCE_S = 10.0


@dataclass
class Running:
    """A satellite that serves, and what it could not carry out."""

    satellite: Satellite
    lost: list[str]
    ports: tuple[int, int]

    def accept(self, text: str, session_id: str = "s1") -> bool:
        return self.satellite.accept(command(text, session_id))


def command(text: str, session_id: str = "s1") -> TranscriptFinal:
    return replace(final_of(session_id), text=text)


@pytest.fixture
def running() -> Iterator[Running]:
    with serving(OPTIONS) as made:
        yield made


@contextlib.contextmanager
def serving(options: SatelliteOptions) -> Iterator[Running]:
    lost: list[str] = []
    satellite = Satellite(options, on_lost=lost.append)
    ports = satellite.start()
    yield Running(satellite, lost, ports)
    satellite.stop(PATIENCE_S)


@dataclass
class Hub:
    """Home Assistant's side: attached, it takes the text of each run as its pipeline does."""

    running: Running
    client: AsyncTcpClient
    texts: list[str] = field(default_factory=list)

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            event = await self.client.read_event()
        assert event is not None, "the satellite hung up"
        return event

    async def until(self, kind: type[RunPipeline]) -> None:
        while not kind.is_type((await self.next()).type):
            pass

    async def take_text(self) -> str:
        text = await recognised(self.running)
        self.texts.append(text)
        await self.client.write_event(Transcript(text=text).event())
        return text


async def recognised(running: Running) -> str:
    async with AsyncTcpClient(HOST, running.ports[1]) as client:
        await client.write_event(Transcribe(language="en").event())
        await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
        async with asyncio.timeout(PATIENCE_S):
            event = await client.read_event()
    assert event is not None
    return Transcript.from_event(event).text


@contextlib.asynccontextmanager
async def attached(running: Running) -> AsyncIterator[Hub]:
    async with AsyncTcpClient(HOST, running.ports[0]) as client:
        await client.write_event(RunSatellite().event())
        await asyncio.to_thread(eventually, lambda: running.satellite.is_attached, "it is attached")
        yield Hub(running, client)


async def ask(port: int, question: Eventable) -> Event:
    async with AsyncTcpClient(HOST, port) as client:
        await client.write_event(question.event())
        async with asyncio.timeout(PATIENCE_S):
            event: Event | None = await client.read_event()
    assert event is not None
    return event


def play(scene: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(scene())


def test_it_says_where_it_stands_and_that_it_is_two_services(running: Running) -> None:
    async def scene() -> None:
        satellite = Info.from_event(await ask(running.ports[0], Describe()))
        assert satellite.satellite is not None
        assert (satellite.satellite.name, satellite.satellite.area) == ("Kitchen", "Kitchen")
        assert not satellite.asr
        recogniser = Info.from_event(await ask(running.ports[1], Describe()))
        assert recogniser.satellite is None
        assert [program.requires_external_vad for program in recogniser.asr] == [False]
        pong = await ask(running.ports[0], Ping(text="x"))
        assert Pong.from_event(pong).text == "x"

    play(scene)


def test_each_command_runs_a_pipeline_and_is_handed_out_once(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            for n in range(3):
                assert running.accept(f"command {n}", f"s{n}")
                await hub.until(RunPipeline)
                await hub.take_text()
                assert await recognised(running) == ""
            assert hub.texts == ["command 0", "command 1", "command 2"]
        assert running.lost == []

    play(scene)


def test_commands_in_quick_succession_wait_for_each_other(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            for n in range(3):
                assert running.accept(f"command {n}", f"s{n}")
            for _ in range(3):
                await hub.until(RunPipeline)
                await hub.take_text()
            assert hub.texts == ["command 0", "command 1", "command 2"]

    play(scene)


def test_without_a_home_assistant_nothing_is_taken_over(running: Running) -> None:
    async def scene() -> None:
        assert not running.accept("turn on the light")
        async with attached(running) as hub:
            await hub.client.write_event(PauseSatellite().event())
            await asyncio.to_thread(
                eventually, lambda: not running.satellite.is_attached, "it is paused"
            )
            assert not running.accept("turn on the light")
        assert running.lost == []

    play(scene)


def test_a_command_that_is_not_asked_for_in_time_is_lost_and_never_fires() -> None:
    async def scene() -> None:
        with serving(replace(OPTIONS, ttl_s=0.2)) as running:
            async with attached(running) as hub:
                assert running.accept("open the garage", "late")
                await hub.until(RunPipeline)
                await asyncio.to_thread(eventually, lambda: running.lost == ["late"], "it is lost")
                assert await recognised(running) == ""
                assert running.accept("close the garage", "next")
                await hub.until(RunPipeline)
                assert await recognised(running) == "close the garage"

    play(scene)


def test_what_was_waiting_when_home_assistant_went_away_is_told(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            assert running.accept("one", "s1")
            await hub.until(RunPipeline)
            assert running.accept("two", "s2")
        await asyncio.to_thread(eventually, lambda: running.lost == ["s1", "s2"], "both are told")
        async with attached(running):
            assert await recognised(running) == ""

    play(scene)


def test_a_text_that_was_handed_out_is_not_reported_lost(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            assert running.accept("one", "s1")
            await hub.until(RunPipeline)
            assert await recognised(running) == "one"
        await asyncio.to_thread(
            eventually, lambda: not running.satellite.is_attached, "it is detached"
        )
        assert running.lost == []

    play(scene)


def test_a_newer_home_assistant_takes_the_place_of_an_older_one(running: Running) -> None:
    async def scene() -> None:
        async with attached(running), attached(running) as newer:
            await asyncio.sleep(0)
            assert running.accept("one")
            await newer.until(RunPipeline)
            assert await newer.take_text() == "one"

    play(scene)


def test_another_host_gets_no_text() -> None:
    async def scene() -> None:
        with serving(replace(OPTIONS, host="0.0.0.0")) as running:  # noqa: S104 - two loopback hosts
            async with attached(running) as hub:
                assert running.accept("unlock the door")
                await hub.until(RunPipeline)
                reader, writer = await asyncio.open_connection(
                    HOST, running.ports[1], local_addr=("127.0.0.2", 0)
                )
                start = AudioStart(rate=16_000, width=2, channels=1).event()
                writer.write(framing.encode(start))
                async with asyncio.timeout(PATIENCE_S):
                    event = await framing.read_event(reader)
                writer.close()
                assert event is not None
                assert Transcript.from_event(event).text == ""
                assert await hub.take_text() == "unlock the door"

    play(scene)


def test_a_port_that_is_taken_is_named(running: Running) -> None:
    second = Satellite(replace(OPTIONS, port=running.ports[0]), on_lost=lambda _: None)
    with pytest.raises(WyomingError, match="satellite_port"):
        second.start()


def test_bytes_that_are_no_events_end_one_connection_and_no_other(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            _, writer = await asyncio.open_connection(HOST, running.ports[0])
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await writer.drain()
            assert running.accept("one")
            await hub.until(RunPipeline)
            assert await hub.take_text() == "one"
            writer.close()

    play(scene)
