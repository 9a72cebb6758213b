"""Which message belongs to which spoken command, and how long it was waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tools.bench.latency import table
from tools.bench.latency_match import Heard, Spoken, match
from tools.bench.latency_simulated import COMPUTING, simulate
from tools.bench.systems.offline import Offline
from voice_daemon.asr import WhisperModel, load_model
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.demo.report import CLIP_WORDS, N_WAKE_WORDS
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models import resolve
from voice_daemon.session.options import PipelineOptions

BEGAN_S = 1000.0
IDLE_S = BEGAN_S + BLOCK_SAMPLES / SAMPLE_RATE


def spoken(wake_end_s: float, gap_ms: float = 0) -> Spoken:
    return Spoken("w", "c", gap_ms, wake_end_s, wake_end_s + 0.5, wake_end_s + 1.5, "Turn it on.")


def message(at_s: float, leaf: str, body: object, *, retained: bool = False) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    topic = f"voice/latency/{leaf}"
    return {"at_s": BEGAN_S + at_s, "topic": topic, "text": text, "retained": retained}


def idle() -> dict[str, Any]:
    return message(IDLE_S - BEGAN_S, "state", "idle")


def command(at_s: float) -> list[dict[str, Any]]:
    return [
        message(at_s, "wake", {"wake_word": "alexa"}),
        message(at_s + 0.7, "transcript/partial", {"text": "", "draft": "Turn"}),
        message(at_s + 1.0, "transcript/partial", {"text": "Turn", "draft": " it"}),
        message(at_s + 2.0, "transcript/final", {"text": "Turn it on."}),
    ]


def test_every_delay_counts_from_the_words_it_shows() -> None:
    (heard,) = match([{"ready": True}, idle(), *command(3.0)], [spoken(3.0)])
    delays = {name: round(value or 0, 6) for name, value in heard.delays_s().items()}
    assert delays == {"wake": 0.0, "first text": 0.2, "committed": 0.5, "final": 0.5}
    assert heard.is_whole


def test_a_message_counts_for_the_command_that_was_spoken_last() -> None:
    first, second = match([idle(), *command(3.0), *command(13.0)], [spoken(3.0), spoken(13.0)])
    assert (first.final_s, second.final_s) == (5.0, 15.0)


def test_what_was_retained_before_is_of_no_command() -> None:
    old = message(3.2, "transcript/final", {"text": "Old."}, retained=True)
    (heard,) = match([idle(), old], [spoken(3.0)])
    assert heard == Heard(spoken(3.0))


def test_a_final_with_other_words_is_not_whole() -> None:
    other = [*command(3.0)[:-1], message(5.0, "transcript/final", {"text": "Turn it."})]
    (heard,) = match([idle(), *other], [spoken(3.0)])
    assert not heard.is_whole


def test_the_table_has_a_row_for_each_gap_and_one_for_all() -> None:
    messages = [idle(), *command(3.0), *command(13.0)]
    heard = match(messages, [spoken(3.0), spoken(13.0, gap_ms=150)])
    heard.append(Heard(spoken(20.0, gap_ms=150)))
    rows = table(heard).rows
    assert [row[:4] for row in rows] == [
        ("0 ms", "1", "0", "0"),
        ("150 ms", "2", "1", "0"),
        ("all", "3", "1", "0"),
    ]
    assert [row[-1] for row in rows] == ["1/1", "1/2", "2/3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return load_model(resolve("tiny.en", models_dir=tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def clip() -> NDArray[np.float32]:
    """The bundled command, and quiet behind it until it has ended."""
    return np.concatenate((load_audio(DEMO_CLIP), np.zeros(SAMPLE_RATE, np.float32)))


def delays_s(
    model: WhisperModel, clip: NDArray[np.float32], compute_s: Callable[[], float]
) -> dict[str, float]:
    """Let a pipeline hear the clip, and say how long each message was waited for."""
    said = Spoken(
        wake_clip="demo",
        command_clip="demo",
        gap_ms=0,
        wake_end_s=CLIP_WORDS[N_WAKE_WORDS - 1].end_s,
        first_word_end_s=CLIP_WORDS[N_WAKE_WORDS].end_s,
        speech_end_s=CLIP_WORDS[-1].end_s,
        offline=" ".join(word.text for word in CLIP_WORDS[N_WAKE_WORDS:]),
    )
    (heard,) = simulate(to_int16(clip), [said], model=model, word="hey_jarvis", compute_s=compute_s)
    assert heard.is_whole
    delays = {name: value for name, value in heard.delays_s().items() if value is not None}
    assert set(delays) == {"wake", "first text", "committed", "final"}
    return delays


@pytest.fixture(scope="module")
def rules_s(model: WhisperModel, clip: NDArray[np.float32]) -> dict[str, float]:
    """By a clock that counts audio alone: what the rules wait for, the same on every machine."""
    return delays_s(model, clip, COMPUTING["audio"])


def test_the_bundled_command_is_shown_while_it_is_spoken(rules_s: dict[str, float]) -> None:
    assert rules_s["wake"] < 0.3
    assert rules_s["first text"] < 0.3
    assert rules_s["committed"] < CLIP_WORDS[-1].end_s - CLIP_WORDS[N_WAKE_WORDS].end_s
    assert rules_s["final"] < PipelineOptions().silence_ms / 1000


def test_what_is_waited_for_beyond_is_less_than_one_reading(
    model: WhisperModel, clip: NDArray[np.float32], rules_s: dict[str, float]
) -> None:
    offline = Offline(model)
    offline.start(step_s=None, language="en")
    offline.feed(clip)
    offline.finish()  # the first reading warms up
    began_s = time.process_time()
    offline.finish()
    reading_s = time.process_time() - began_s
    computed_s = delays_s(model, clip, COMPUTING["computing"])
    for name in ("wake", "first text", "final"):
        assert computed_s[name] - rules_s[name] < reading_s / 2, name
