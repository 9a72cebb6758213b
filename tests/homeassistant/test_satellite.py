"""The satellite as Home Assistant meets it, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.snd import Played
from wyoming.tts import Synthesize

from rigs.brokers import HOST, eventually
from support.transcripts import final_of
from voice_daemon.errors import WyomingError
from voice_daemon.events import ErrorRaised, TranscriptFinal
from voice_daemon.homeassistant import commands
from voice_daemon.homeassistant.answers import Answers
from voice_daemon.homeassistant.commands import DUPLICATE, SENT, SETTLED, WAITING
from voice_daemon.homeassistant.satellite import Satellite
from voice_daemon.homeassistant.services import SatelliteOptions
from voice_daemon.homeassistant.timers import Timers
from voice_daemon.sound.output import Loudspeaker, Sound
from voice_daemon.sound.voice import voice_program
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


class Desk(Loudspeaker):
    """A speaker whose sounds end when the test says so."""

    def __init__(self) -> None:
        super().__init__("default")
        self.playing: list[tuple[Iterable[Sound], Callable[[bool], None]]] = []
        self.rings = self.questions = 0

    def play(
        self, sounds: Iterable[Sound], *, done: Callable[[bool], None] = lambda _: None
    ) -> None:
        self.playing.append((sounds, done))

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


@pytest.fixture(autouse=True)
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a text that was taken settle sooner than is safe for a real light."""
    monkeypatch.setattr(commands, "SETTLES_S", 0.02)


@pytest.fixture
def running() -> Iterator[Running]:
    with serving(OPTIONS) as made:
        yield made


@pytest.fixture
def speaking() -> Iterator[Running]:
    """A satellite that has a speaker."""
    with serving(OPTIONS, speaks=True) as made:
        yield made


@contextlib.contextmanager
def serving(options: SatelliteOptions, *, speaks: bool = False) -> Iterator[Running]:
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
    ports = satellite.start()
    yield Running(satellite, reports, noted, ports, desk)
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
            await asyncio.to_thread(
                eventually, lambda: ("s2", SETTLED) in running.noted, "the last is carried out"
            )
        assert running.reported == []

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
        assert running.reported == []

    play(scene)


def test_a_command_that_is_not_asked_for_in_time_is_lost_and_never_fires() -> None:
    async def scene() -> None:
        with serving(replace(OPTIONS, ttl_s=0.2)) as running:
            async with attached(running) as hub:
                assert running.accept("open the garage", "late")
                await hub.until(RunPipeline)
                await asyncio.to_thread(eventually, lambda: running.reported, "it is lost")
                assert running.reported == [("not_run", "late")]
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
        await asyncio.to_thread(eventually, lambda: len(running.reports) == 2, "both are told")
        assert running.reported == [("not_run", "s1"), ("not_run", "s2")]
        async with attached(running):
            assert await recognised(running) == ""

    play(scene)


@pytest.mark.parametrize("speaks", [True, False])
@pytest.mark.parametrize(
    ("ends", "reported"),
    [("lost", [("unconfirmed", "s1")]), ("failed", [("unconfirmed", "s1")]), ("done", [])],
)
def test_a_text_that_was_handed_out_is_in_doubt_until_it_was_carried_out(
    ends: str, reported: list[tuple[str, str]], *, speaks: bool
) -> None:
    async def scene(running: Running) -> None:
        async with attached(running) as hub:
            assert running.accept("one", "s1")
            await hub.until(RunPipeline)
            assert await hub.take_text() == "one"
            if ends == "failed":
                await hub.client.write_event(Error(text="no agent", code="intent-failed").event())
            elif ends == "done":
                await hub.end(speaks=speaks)
                expected = [("s1", how) for how in (WAITING, SENT, SETTLED)]
                await asyncio.to_thread(eventually, lambda: running.noted == expected, "it is over")
        await asyncio.to_thread(
            eventually, lambda: not running.satellite.is_attached, "it is detached"
        )
        await asyncio.to_thread(eventually, lambda: running.reported == reported, "it is told")

    with serving(OPTIONS, speaks=speaks) as running:
        asyncio.run(scene(running))


def test_a_command_that_another_satellite_heard_too_is_left_to_it(speaking: Running) -> None:
    async def scene() -> None:
        async with attached(speaking) as hub:
            assert speaking.accept("one", "s1")
            await hub.until(RunPipeline)
            await hub.client.write_event(Error(text="twice", code=DUPLICATE).event())
            expected = [("s1", WAITING), ("s1", SETTLED)]
            await asyncio.to_thread(eventually, lambda: speaking.noted == expected, "it is left")
            assert await recognised(speaking) == ""
        assert speaking.reported == []

    play(scene)


def test_a_newer_home_assistant_takes_the_place_of_an_older_one(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as older, attached(running) as newer:
            async with asyncio.timeout(PATIENCE_S):
                assert await older.client.read_event() is None
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
    second = Satellite(
        replace(OPTIONS, port=running.ports[0]),
        note=lambda *_: None,
        report=lambda _: None,
        answers=Answers(None, listen=lambda: None),
        timers=Timers(None, ring=lambda: None, report=lambda _: None),
    )
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


def test_an_announcement_is_played_whole_and_its_end_is_told_when_it_is_over(
    speaking: Running,
) -> None:
    async def scene() -> None:
        async with attached(speaking) as hub:
            await hub.say(n_samples=30_000)
            assert await asyncio.to_thread(speaking.desk.hear) == 30_000
            await hub.until(Played)
            assert speaking.desk.questions == 0

    play(scene)


@pytest.mark.parametrize(
    ("text", "heard", "questions"),
    [
        ("Which room? ", "whole", 1),
        ("Turned on the light.", "whole", 0),
        ("Which room?", "cut", 0),
    ],
)
def test_a_question_is_followed_by_a_session_once_it_was_heard(
    speaking: Running,
    text: str,
    heard: str,
    questions: int,
) -> None:
    async def scene() -> None:
        async with attached(speaking) as hub:
            await hub.say(text=text)
            await asyncio.to_thread(lambda: speaking.desk.hear(to_the_end=heard == "whole"))
            await hub.until(Played)
            assert speaking.desk.questions == questions
            await hub.say()
            await asyncio.to_thread(speaking.desk.hear)
            assert speaking.desk.questions == questions

    play(scene)


needs_voice = pytest.mark.skipif(voice_program() is None, reason="the system has no voice")


@needs_voice
def test_the_systems_own_voice_speaks_for_the_home_assistant_that_runs_it(
    running: Running,
) -> None:
    async def scene() -> None:
        info = Info.from_event(await ask(running.ports[1], Describe()))
        assert [voice.languages for program in info.tts for voice in program.voices] == [["en"]]
        async with attached(running), AsyncTcpClient(HOST, running.ports[1]) as client:
            await client.write_event(Synthesize(text="--version and -f are words here").event())
            async with asyncio.timeout(PATIENCE_S):
                kinds: list[str] = []
                audio = b""
                while not kinds or not AudioStop.is_type(kinds[-1]):
                    event = await client.read_event()
                    assert event is not None
                    kinds.append(event.type)
                    audio += event.payload or b""
        assert AudioStart.is_type(kinds[0])
        seconds = len(audio) / 2 / 22_050
        assert 1 < seconds < 10
        assert any(audio)

    play(scene)


def test_an_answer_whose_sound_fails_is_spoken_by_the_system(speaking: Running) -> None:
    async def scene() -> None:
        async with attached(speaking) as hub:
            await hub.client.write_event(Error(text="no text was said", code="stt").event())
            await hub.client.write_event(Synthesize(text="It is noon.").event())
            await hub.client.write_event(Error(text="the voice is broken", code="tts").event())
            await asyncio.to_thread(eventually, lambda: speaking.desk.playing, "it is spoken")
            assert len(speaking.desk.playing) == 1

    play(scene)


def test_without_a_speaker_the_end_of_a_sound_is_told_at_once(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            await hub.say()
            await hub.until(Played)

    play(scene)


def test_the_pipeline_runs_to_its_speech_only_where_there_is_a_speaker(
    running: Running, speaking: Running
) -> None:
    async def scene() -> None:
        stages = []
        for made in (running, speaking):
            async with attached(made) as hub:
                assert made.accept("one")
                event = await hub.until(RunPipeline)
                stages.append(RunPipeline.from_event(event).end_stage)
                await hub.take_text()
        assert stages == [PipelineStage.HANDLE, PipelineStage.TTS]

    play(scene)


@pytest.mark.parametrize("version", ["2026.11", "2026.2"])
def test_a_pipeline_without_speech_is_run_without_and_the_command_runs_once(
    speaking: Running, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "BEGINS_S", 0.01)

    async def scene() -> None:
        async with attached(speaking) as hub:
            assert speaking.accept("one", "s1")
            event = await hub.until(RunPipeline)
            assert RunPipeline.from_event(event).end_stage is PipelineStage.TTS
            if version == "2026.11":
                refused = Error(text="no text-to-speech", code="validation-error")
                await hub.client.write_event(refused.event())
            else:  # it says nothing, and reads on
                ping = Ping.from_event(await hub.until(Ping))
                await hub.client.write_event(Pong(text=ping.text).event())
            for n, text in enumerate(("one", "two"), start=1):
                event = await hub.until(RunPipeline)
                assert RunPipeline.from_event(event).end_stage is PipelineStage.HANDLE
                assert await hub.take_text() == text
                assert await recognised(speaking) == ""
                if n == 1:
                    assert speaking.accept("two", "s2")
            await asyncio.to_thread(
                eventually, lambda: ("s2", SETTLED) in speaking.noted, "both are carried out"
            )
        assert speaking.reported == []

    play(scene)


def test_a_pipeline_that_has_begun_is_waited_for(
    speaking: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second request would end the first, and the command with it."""
    monkeypatch.setattr(commands, "BEGINS_S", 0.01)

    async def scene() -> None:
        async with attached(speaking) as hub:
            assert speaking.accept("one", "s1")
            ping = Ping.from_event(await hub.until(Ping))
            await hub.client.write_event(Transcribe(language="en").event())
            await hub.client.write_event(Pong(text=ping.text).event())
            await asyncio.sleep(0.1)
            assert await hub.take_text() == "one"
            await hub.end(speaks=True)
            assert speaking.accept("two", "s2")
            event = await hub.until(RunPipeline)
            assert RunPipeline.from_event(event).end_stage is PipelineStage.TTS

    play(scene)


def test_home_assistant_going_away_in_the_middle_ends_the_sound(speaking: Running) -> None:
    async def scene() -> None:
        async with attached(speaking) as hub:
            await hub.client.write_event(Synthesize(text="Which room?").event())
            await hub.client.write_event(AudioStart(rate=22_050, width=2, channels=1).event())
            audio = bytes(2048)
            chunk = AudioChunk(rate=22_050, width=2, channels=1, audio=audio)
            await hub.client.write_event(chunk.event())
        assert await asyncio.to_thread(speaking.desk.hear) == 1024
        assert speaking.desk.questions == 0

    play(scene)
