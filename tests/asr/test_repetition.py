"""What somebody says over and over stays, what a model that lost its place repeats does not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from voice_daemon.asr import (
    DecodingOptions,
    DecodingTask,
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    WhisperModel,
    alignatt,
    decoding,
    generate_streaming,
)
from voice_daemon.asr.alignatt import DraftWord, before_loop_end, repeats_that_move_on
from voice_daemon.asr.window import Streamed, WindowDecode

CLIPS = Path(__file__).parent / "clips"
WAKE_WORD_SAMPLES = 26_000
ONE_STEP = StreamingConfig(min_chunk_duration=10.0)
Samples = NDArray[np.float32]


def clip(name: str) -> Samples:
    """(n,) float32 of a synthetic clip."""
    samples: Samples = sf.read(CLIPS / f"{name}.flac", dtype="float32")[0]
    return samples


def times_said(word: str, text: str) -> int:
    return len(re.findall(rf"\b{word}\b", text.lower()))


def final_of(model: WhisperModel, samples: Samples, config: StreamingConfig) -> StreamingResult:
    *_, final = generate_streaming(model, samples, config)
    return final


@pytest.mark.parametrize("config", [StreamingConfig(), ONE_STEP])
def test_what_follows_a_digit_said_six_times_is_in_the_final(
    tiny: WhisperModel, config: StreamingConfig
) -> None:
    final = final_of(tiny, clip("five_said_six_times"), config)
    assert times_said("5", final.text) >= 6
    assert final.text.endswith("1, 2.")


@pytest.mark.parametrize("config", [StreamingConfig(), ONE_STEP])
def test_a_word_said_eight_times_is_written_eight_times(
    tiny: WhisperModel, config: StreamingConfig
) -> None:
    assert times_said("stop", final_of(tiny, clip("stop_said_eight_times"), config).text) == 8


@pytest.mark.slow  # an unguarded loop is a long one
def test_a_loop_is_cut_where_the_attention_stands_still(
    tiny: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = clip("go_said_twelve_times")
    guarded = DecodingTask(tiny).run(samples)
    assert guarded.looped
    assert 8 <= times_said("go", guarded.text) <= 12
    monkeypatch.setattr(decoding, "repeated_run", lambda _: 0)
    unguarded = DecodingTask(tiny, DecodingOptions(sample_len=80)).run(samples)
    assert times_said("go", unguarded.text) >= 40


def test_speech_behind_a_loop_is_read(tiny: WhisperModel) -> None:
    final = final_of(tiny, behind_a_loop(), ONE_STEP)
    assert times_said("go", final.text) >= 8
    assert re.search(r"1,? 2\.?$", final.text)
    frames = [word.end_s for word in final.words]
    assert frames == sorted(frames)


def behind_a_loop() -> Samples:
    """Speech that the model loops over, then speech that it understands."""
    loop, code = clip("go_said_twelve_times"), 8 * clip("five_said_six_times")
    return np.concatenate([loop, np.zeros(8000, dtype=np.float32), code])


@pytest.mark.parametrize("config", [StreamingConfig(), ONE_STEP])
def test_a_command_said_right_behind_a_loop_is_whole(
    tiny: WhisperModel, command_speech: Samples, config: StreamingConfig
) -> None:
    loop = clip("go_said_twelve_times")
    final = final_of(tiny, np.concatenate([loop, command_speech[WAKE_WORD_SAMPLES:]]), config)
    assert times_said("go", final.text) >= 8
    assert final.text.lower().endswith("turn on the kitchen lights.")


@pytest.mark.parametrize(
    ("said", "n_sure", "frame"),
    [
        ("go 10 , 35 go 20 , 46 go 30 , 55 go 40 , 70 go 60 , 52", 7, 45),  # the last left already
        ("la 17 la 33 la 43 la 68 la 163 la 175 la 185 la 195", 4, 74),  # it jumped ahead
        ("go 25 go 25 go 25", 1, 25),  # it stands still
        ("go 10 go 20 go 30 go 30 go 70", 3, 35),
        ("go 25 , 90", 2, 90),
        ("", 0, 0),
    ],
)
def test_a_loop_is_left_where_the_text_was_sure(said: str, n_sure: int, frame: int) -> None:
    parts = said.split()
    places = zip(parts[::2], map(int, parts[1::2]), strict=True)
    words = [DraftWord(text, (1,), place, place, 1.0) for text, place in places]
    assert before_loop_end(words) == (n_sure, frame)


def test_noise_behind_a_loop_adds_no_words(tiny: WhisperModel) -> None:
    loop = clip("go_said_twelve_times")
    noise = np.random.default_rng(3).normal(0.0, 0.003, 3 * 16_000).astype(np.float32)
    final = final_of(tiny, np.concatenate([loop, noise]), ONE_STEP)
    assert set(re.findall(r"\w+", final.text.lower())) == {"go"}


def test_speech_without_repetition_never_looks_at_the_attention(
    tiny: WhisperModel, command_speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    monkeypatch.setattr(decoding, "attended", looked.append)
    decoder = StreamingDecoder(tiny)
    decoder.feed(command_speech)
    decoder.step()
    assert decoder.finish().text
    assert looked == []


@pytest.mark.parametrize(
    ("frames", "n_spoken"),
    [
        ([59, 79, 90, 105], 4),  # one token a word, each further on
        ([128, 128, 129, 141, 130, 142, 130, 142], 2),  # two tokens a word, at the audio's end
        ([105, 115, 116, 128, 117, 129, 117, 129], 2),  # spoken, then standing
        ([25, 25, 25, 25], 1),
        ([10, 20, 30, 40, 10, 20, 30, 40, 10, 20, 30, 40, 10, 20, 30, 40], 1),  # jumps back
        ([10, 30, 20, 45], 4),  # wanders by a word, but goes on
        ([80, 60, 40, 20], 1),
    ],
)
def test_repetitions_are_told_by_their_frames(frames: list[int], n_spoken: int) -> None:
    assert repeats_that_move_on(frames, len(frames) // 4) == n_spoken


def test_a_draft_that_looped_is_no_witness_of_words_left_out() -> None:
    def words(n_words: int) -> tuple[DraftWord, ...]:
        return tuple(DraftWord(" go", (1,), 10 * n, 10 * n, 1.0) for n in range(n_words))

    n_many = alignatt.MANY_WORDS + 6
    free = WindowDecode(words(9), ended=True, looped=False, confidence=1.0, no_speech_prob=0.0)
    streamed = Streamed((), words(9), words(n_many))
    assert streamed.verify(free).words == streamed.words
    looped = Streamed((), words(9), words(n_many), looped=True)
    assert looped.verify(free) is free
