"""The endpoint comparison on cases small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tools.bench.endpoint import Comparison, Result, as_often, rules
from tools.bench.pauses import OURS, Ear, is_plain, pause_at, plain_silence
from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import Transcript, Word
from voice_daemon.models import resolve

SECOND = 16_000


def result(*, cut: float, wait_ms: float, plain: bool = True) -> Result:
    return Result("", plain, 10, 0, {"500": cut, "700": cut}, wait_ms, wait_ms)


def test_a_rule_is_measured_by_the_silence_that_cuts_as_often() -> None:
    plain = [result(cut=60, wait_ms=500), result(cut=20, wait_ms=700)]
    rule = result(cut=30, wait_ms=550, plain=False)
    assert as_often(rule, [*plain, rule]) == pytest.approx(650)
    assert as_often(result(cut=10, wait_ms=500, plain=False), plain) is None


def test_the_pause_goes_where_it_is_quietest_between_two_words() -> None:
    samples = np.full(4 * SECOND, 1000, np.int16)
    samples[2 * SECOND : 2 * SECOND + 800] = 10
    words = tuple(Word("word", end_s - 0.5, end_s) for end_s in (1.0, 2.0, 3.0, 4.0))
    read = Transcript(
        text="", revised=False, language="en", words=words, confidence=1.0, no_speech_prob=0.0
    )
    at = pause_at(read, samples)
    assert at is not None
    assert 2 * SECOND <= at < 2 * SECOND + 800
    assert pause_at(replace(read, words=words[:2]), samples) is None


def test_every_rule_keeps_to_the_users_silence() -> None:
    ours = [options for options in rules().values() if not is_plain(options)]
    assert OURS in ours
    assert {options.silence_ms for options in ours} == {OURS.silence_ms}


def test_the_bundled_command_ends_sooner_by_the_sentence(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = load_model(resolve("tiny.en", models_dir=tmp_path_factory.mktemp("models")))
    comparison = Comparison(Ear(WhisperTranscriber(model)), [500.0])
    comparison.add(to_int16(load_audio(DEMO_CLIP)[int(1.3 * SECOND) :]))
    plain = comparison.judge("plain", plain_silence(OURS.silence_ms))
    ours = comparison.judge("ours", OURS)
    assert (plain.clips, plain.cut, ours.cut) == (1, 0, 0)
    assert ours.mean_wait_ms < plain.mean_wait_ms
    assert plain.cut_in_pause == ours.cut_in_pause == {"500": 0.0}
