"""A Wyoming server on a real socket, and the `wyoming` package's own client talking to it.

The test's thread is the model thread: it takes the clients' turns while they run on another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event

from support.fakes import FakeTranscriber, FakeVad, Scene
from voice_daemon.session.interfaces import Transcriber
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.scheduler import ComputeJob, RoundRobin
from voice_daemon.session.transcription import TranscriptionService
from voice_daemon.wyoming.server import WyomingServer
from voice_daemon.wyoming.stream import Limits

HOST = "127.0.0.1"
PATIENCE_S = 120.0
CHUNK_SAMPLES = 1024
COMMAND = "turn on the kitchen lights"

T = TypeVar("T")


def spoken(text: str = COMMAND) -> Scene:
    return Scene().silence(600).say(text).silence(900)


def fake_recogniser(
    words: list[str], new: Callable[[str | None], Transcriber] | None = None
) -> TranscriptionService:
    """A recogniser of scenes with these words."""
    return TranscriptionService(
        model="tiny.en",
        languages=("en", "de"),
        streams=True,
        step_s=0.5,
        options=PipelineOptions(),
        new_transcriber=new or (lambda _language: FakeTranscriber(words=words)),
        new_vad=FakeVad,
    )


@dataclass(slots=True)
class Served:
    """A server, and the order in which its clients were served."""

    port: int
    scheduler: RoundRobin
    order: list[ComputeJob] = field(default_factory=list)

    def run(self, clients: Coroutine[object, object, T]) -> T:
        """Run clients on a loop of their own, and their steps here, until they are done."""
        done: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                done.append(asyncio.run(_patiently(clients)))
            except BaseException as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            self.take_turns()
            self.scheduler.wait(0.005)
        self.take_turns()
        if failed:
            raise failed[0]
        return done[0]

    def take_turns(self) -> None:
        """Take every step that is due."""
        while (job := self.scheduler.step()) is not None:
            self.order.append(job)


async def _patiently(work: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE_S):
        return await work


@contextmanager
def serving(recogniser: TranscriptionService, *, limits: Limits | None = None) -> Iterator[Served]:
    scheduler = RoundRobin()
    server = WyomingServer(HOST, 0, scheduler=scheduler, limits=limits)
    port = server.start(recogniser)
    try:
        yield Served(port, scheduler)
    finally:
        server.stop(10)


@dataclass(frozen=True, slots=True)
class Heard:
    """All that a client was told about one utterance."""

    events: tuple[Event, ...]

    @property
    def kinds(self) -> list[str]:
        """The types of the events, without repetition."""
        return list(dict.fromkeys(event.type for event in self.events))

    @property
    def chunks(self) -> list[str]:
        return [e.data["text"] for e in self.events if TranscriptChunk.is_type(e.type)]

    @property
    def text(self) -> str:
        """The plain transcript, of which there is one."""
        (text,) = [e.data["text"] for e in self.events if Transcript.is_type(e.type)]
        return str(text)

    @property
    def error(self) -> str | None:
        """The code of the error that ended the connection."""
        return next((e.data["code"] for e in self.events if Error.is_type(e.type)), None)


def connected(port: int) -> AsyncTcpClient:
    return AsyncTcpClient(HOST, port)


async def hear_out(client: AsyncTcpClient) -> Heard:
    """Collect events up to the end of an utterance or of the connection."""
    events: list[Event] = []
    while (event := await client.read_event()) is not None:
        events.append(event)
        if event.type == "transcript-stop":
            break
    return Heard(tuple(events))


async def say(
    client: AsyncTcpClient,
    samples: NDArray[np.int16],
    *,
    pace_s: float = 0,
    rate: int = 16_000,
) -> None:
    """Send audio as a client does that has it all, or with `pace_s` between chunks."""
    await client.write_event(AudioStart(rate, 2, 1).event())
    for first in range(0, samples.size, CHUNK_SAMPLES):
        chunk = samples[first : first + CHUNK_SAMPLES]
        await client.write_event(AudioChunk(rate, 2, 1, chunk.tobytes()).event())
        await asyncio.sleep(pace_s)
    await client.write_event(AudioStop().event())


async def dictate(
    port: int, samples: NDArray[np.int16], *, language: str | None = "en", pace_s: float = 0
) -> Heard:
    """Have one utterance transcribed over a connection of its own."""
    async with connected(port) as client:
        await client.write_event(Transcribe(language=language).event())
        hearing = asyncio.create_task(hear_out(client))
        await say(client, samples, pace_s=pace_s)
        return await hearing
