"""A satellite that serves, and Home Assistant's side of it, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, Eventable
from wyoming.ping import Ping
from wyoming.pipeline import RunPipeline
from wyoming.satellite import RunSatellite
from wyoming.snd import Played
from wyoming.tts import Synthesize

from rigs.brokers import HOST, eventually
from support.transcripts import final_of
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import ErrorRaised, TranscriptFinal
from voice_daemon.homeassistant import commands
from voice_daemon.homeassistant.answers import Answers
from voice_daemon.homeassistant.satellite import Satellite
from voice_daemon.homeassistant.services import SatelliteOptions
from voice_daemon.homeassistant.timers import Timers
from voice_daemon.sound.output import Loudspeaker, Sound

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


class Desk(Loudspeaker):
    """A speaker whose sounds end when the test says so."""

    def __init__(self) -> None:
        super().__init__("default")
        self.playing: list[tuple[Iterable[Sound], Callable[[bool], None]]] = []
        self.failures: list[Callable[[VoiceDaemonError], None]] = []
        self.rings = self.questions = 0

    def play(
        self,
        sounds: Iterable[Sound],
        *,
        done: Callable[[bool], None] = lambda _: None,
        failed: Callable[[VoiceDaemonError], None] = lambda _: None,
    ) -> None:
        self.playing.append((sounds, done))
        self.failures.append(failed)

    def ring(self) -> None:
        self.rings += 1

    def listen(self) -> None:
        self.questions += 1

    def hear(self, *, to_the_end: bool = True) -> int:
        """Play what waits; return how many samples it has."""
        eventually(lambda: self.playing, "there is something to play")
        sounds, done = self.playing.pop(0)
        n_samples = sum(len(sound.samples) for sound in sounds)
        done(to_the_end)
        return n_samples


@dataclass
class Running:
    """A satellite that serves, and what it could not carry out."""

    satellite: Satellite
    reports: list[ErrorRaised]
    noted: list[tuple[str, str]]
    ports: tuple[int, int]
    desk: Desk

    @property
    def reported(self) -> list[tuple[str, str | None]]:
        return [
            (report.code.removeprefix("satellite."), report.session_id) for report in self.reports
        ]

    def accept(self, text: str, session_id: str = "s1") -> bool:
        return self.satellite.accept(command(text, session_id))


def command(text: str, session_id: str = "s1") -> TranscriptFinal:
    return replace(final_of(session_id), text=text)


@contextlib.contextmanager
def serving(options: SatelliteOptions, *, speaks: bool = False) -> Iterator[Running]:
    """Serve for the length of a block; a text that was taken settles sooner than is safe."""
    reports: list[ErrorRaised] = []
    noted: list[tuple[str, str]] = []
    desk = Desk()
    satellite = Satellite(
        options,
        note=lambda *how: noted.append(how),
        report=reports.append,
        answers=Answers(desk if speaks else None, listen=desk.listen),
        timers=Timers(None, ring=desk.ring, report=reports.append),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "SETTLES_S", 0.02)
        ports = satellite.start()
        try:
            yield Running(satellite, reports, noted, ports, desk)
        finally:
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

    async def until(self, kind: type[RunPipeline | Played | Ping]) -> Event:
        while not kind.is_type((event := await self.next()).type):
            pass
        return event

    async def say(self, *, n_samples: int = 22_050, text: str = "") -> None:
        """Send an answer as Home Assistant does, or an announcement: no text."""
        if text:
            await self.client.write_event(Synthesize(text=text).event())
        await self.client.write_event(AudioStart(rate=22_050, width=2, channels=1).event())
        for at in range(0, n_samples, 1024):
            audio = bytes(2 * min(1024, n_samples - at))
            chunk = AudioChunk(rate=22_050, width=2, channels=1, audio=audio)
            await self.client.write_event(chunk.event())
        await self.client.write_event(AudioStop().event())

    async def take_text(self) -> str:
        text = await recognised(self.running)
        self.texts.append(text)
        await self.client.write_event(Transcript(text=text).event())
        return text

    async def end(self, *, speaks: bool) -> None:
        """Carry the text out: an answer follows, where there is to be one."""
        if speaks:
            await self.client.write_event(Synthesize(text="Done.").event())


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
        hub = Hub(running, client)
        assert Played.is_type((await hub.next()).type), "no earlier answer is spoken any more"
        yield hub


async def ask(port: int, question: Eventable) -> Event:
    async with AsyncTcpClient(HOST, port) as client:
        await client.write_event(question.event())
        async with asyncio.timeout(PATIENCE_S):
            event: Event | None = await client.read_event()
    assert event is not None
    return event


def play(scene: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(scene())
