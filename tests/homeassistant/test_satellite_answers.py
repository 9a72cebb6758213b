"""What Home Assistant has a satellite say, and pipelines with and without speech."""

from __future__ import annotations

import asyncio

import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.snd import Played
from wyoming.tts import Synthesize

from rigs.brokers import HOST, eventually
from support.satellite import (
    PATIENCE_S,
    Running,
    ask,
    attached,
    play,
    recognised,
)
from voice_daemon.homeassistant import commands
from voice_daemon.homeassistant.commands import SETTLED
from voice_daemon.sound.sounds import voice_program


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


def test_where_no_pipeline_runs_without_speech_one_is_run_with_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "BEGINS_S", 0.01)

    async def scene() -> None:
        async with attached(running) as hub:
            assert running.accept("one", "s1")
            await hub.until(RunPipeline)
            ping = Ping.from_event(await hub.until(Ping))
            await hub.client.write_event(Pong(text=ping.text).event())
            for text in ("one", "two"):
                event = await hub.until(RunPipeline)
                assert RunPipeline.from_event(event).end_stage is PipelineStage.TTS
                assert await hub.take_text() == text
                await hub.end(speaks=True)
                if text == "one":
                    assert running.accept("two", "s2")
        assert running.reported == []

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
