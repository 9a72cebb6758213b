"""Real speech through the real recogniser, by real sockets, for the package's own client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from wyoming.audio import AudioStart

from rigs.wyoming_servers import Heard, Served, connected, dictate, hear_out, say, serving
from voice_daemon.config import Settings
from voice_daemon.runtime.build import load_transcriber, transcription_service
from voice_daemon.session.transcription import TranscriptionService

REAL_TIME_S = 0.064
"""Between chunks, as a microphone would deliver them."""


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> TranscriptionService:
    settings = Settings()
    transcriber = load_transcriber(settings.asr, tmp_path_factory.mktemp("models"))
    return transcription_service(transcriber, settings)


@pytest.fixture
def served(recogniser: TranscriptionService) -> Iterator[Served]:
    with serving(recogniser) as served:
        yield served


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = soundfile.read(demo_clip, dtype="int16")[0]
    return samples


def words(text: str) -> list[str]:
    return text.lower().replace(",", "").replace(".", "").split()


COMMAND = ["hey", "jarvis", "turn", "on", "the", "kitchen", "lights"]


def test_speech_is_transcribed_while_it_is_spoken(
    served: Served, speech: NDArray[np.int16]
) -> None:
    heard = served.run(dictate(served.port, speech, pace_s=REAL_TIME_S))
    assert heard.kinds == ["transcript-start", "transcript-chunk", "transcript", "transcript-stop"]
    assert len(heard.chunks) > 1
    assert words(heard.text) == COMMAND


def test_a_file_sent_at_once_gives_the_same_text(served: Served, speech: NDArray[np.int16]) -> None:
    assert words(served.run(dictate(served.port, speech)).text) == COMMAND


def test_any_rate_will_do(served: Served, speech: NDArray[np.int16]) -> None:
    async def at_44100() -> Heard:
        async with connected(served.port) as client:
            await say(client, soxr.resample(speech, 16_000, 44_100), rate=44_100)
            return await hear_out(client)

    assert words(served.run(at_44100()).text) == COMMAND


@pytest.mark.parametrize("loudness", [0, 3, 1000])
def test_silence_and_noise_are_an_empty_transcript(served: Served, loudness: int) -> None:
    noise = np.random.default_rng(3).normal(0, loudness, 64_000).astype(np.int16)
    assert served.run(dictate(served.port, noise)).text == ""


def test_six_clients_at_once_all_get_their_own_text_in_fair_turns(
    served: Served, speech: NDArray[np.int16]
) -> None:
    """Every other one says the command alone, so that a text in the wrong place would show."""
    command = speech[26_000:]
    clips = [speech if number % 2 else command for number in range(6)]

    async def all_at_once() -> list[Heard]:
        return await asyncio.gather(*(dictate(served.port, clip) for clip in clips))

    heard = served.run(all_at_once())
    for number, one in enumerate(heard):
        wanted = COMMAND if number % 2 else COMMAND[2:]
        assert words(one.text) == wanted
        assert "".join(one.chunks) == one.text
    assert len(set(served.order)) == 6
    # While a job waits for its next turn, each other job takes one step at most.
    for job in set(served.order):
        scheduler = [at for at, served_job in enumerate(served.order) if served_job is job]
        for before, after in pairwise(scheduler):
            between = Counter(served.order[before + 1 : after])
            assert max(between.values(), default=0) <= 1


def test_a_client_killed_in_mid_stream_takes_nothing_from_another(
    served: Served, speech: NDArray[np.int16]
) -> None:
    async def kill_one() -> str:
        killed = connected(served.port)
        await killed.connect()
        other = asyncio.create_task(dictate(served.port, speech, pace_s=REAL_TIME_S))
        upload = asyncio.create_task(say(killed, speech, pace_s=REAL_TIME_S))
        await asyncio.sleep(1.5)
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        assert killed._writer is not None
        killed._writer.transport.abort()
        return (await other).text

    assert words(served.run(kill_one())) == COMMAND
    assert not served.scheduler._jobs


def test_a_client_that_only_opens_its_mouth_costs_no_steps(
    served: Served, speech: NDArray[np.int16]
) -> None:
    async def wait_beside() -> str:
        async with connected(served.port) as silent:
            await silent.write_event(AudioStart(16_000, 2, 1).event())
            return (await dictate(served.port, speech)).text

    assert words(served.run(wait_beside())) == COMMAND
    assert len(set(served.order)) <= 2
