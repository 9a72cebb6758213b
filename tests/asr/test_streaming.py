"""Streaming an utterance: what is committed, drafted, finalised and final."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.asr import (
    DecodingTask,
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    WhisperModel,
    generate_streaming,
)
from voice_daemon.asr.alignatt import DraftWord, cut_point
from voice_daemon.asr.incremental_encoder import SilenceCache
from voice_daemon.asr.types import text_of, word_times

RATE = 16_000
CONFIG = StreamingConfig()


@pytest.fixture(scope="module")
def results(tiny: WhisperModel, command_speech: NDArray[np.float32]) -> tuple[StreamingResult, ...]:
    """The bundled clip streamed at the default steps."""
    return tuple(generate_streaming(tiny, command_speech))


def words_of(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def test_committed_text_only_grows(results: tuple[StreamingResult, ...]) -> None:
    *partials, _ = results
    for earlier, later in itertools.pairwise(partials):
        assert later.text.startswith(earlier.text)
        assert later.tokens[: len(earlier.tokens)] == earlier.tokens


def test_words_are_committed_while_they_are_spoken(
    results: tuple[StreamingResult, ...], command_speech: NDArray[np.float32]
) -> None:
    *partials, final = results
    assert "turn on" in " ".join(words_of(partials[-1].text))
    assert final.audio_duration == pytest.approx(len(command_speech) / RATE)
    assert 0 < partials[-1].progress <= 1


def test_the_final_reads_as_one_offline_decode(
    tiny: WhisperModel,
    results: tuple[StreamingResult, ...],
    command_speech: NDArray[np.float32],
) -> None:
    final = results[-1]
    assert final.is_final
    assert words_of(final.text) == words_of(DecodingTask(tiny).run(command_speech).text)
    assert final.revised == (not final.text.startswith(results[-2].text))
    assert 0.5 < final.confidence <= 1
    assert final.no_speech_prob < 0.5


def test_word_times_rise_and_lie_in_the_audio(results: tuple[StreamingResult, ...]) -> None:
    final = results[-1]
    ends = [word.end_s for word in final.words]
    assert ends == sorted(ends)
    assert all(0 <= word.start_s <= word.end_s for word in final.words)
    assert ends[-1] <= final.audio_duration + 0.1
    assert " ".join(word.text for word in final.words) == final.text


def test_a_step_without_enough_new_audio_does_nothing(
    tiny: WhisperModel, silence: SilenceCache
) -> None:
    decoder = StreamingDecoder(tiny, CONFIG, silence=silence)
    decoder.feed(np.zeros(7999, dtype=np.float32))
    assert decoder.step() == []


@pytest.mark.parametrize(
    ("threshold", "committed"), [(CONFIG.no_speech_threshold, ""), (1.0, "you")]
)
def test_what_whisper_reads_in_silence_is_not_committed(
    tiny: WhisperModel, silence: SilenceCache, threshold: float, committed: str
) -> None:
    config = replace(CONFIG, no_speech_threshold=threshold)
    decoder = StreamingDecoder(tiny, config, silence=silence)
    hush = np.random.default_rng(1).normal(0, 1e-4, RATE // 2).astype(np.float32)
    for _ in range(6):
        decoder.feed(hush)
        decoder.step()
    assert decoder.text.lower() == committed


def test_partials_can_be_turned_off(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, replace(CONFIG, emit_partial=False), silence=silence)
    decoder.feed(command_speech)
    assert decoder.step() == []
    assert "kitchen lights" in decoder.finish().text.lower()


@pytest.mark.parametrize("n_samples", [0, 100, 399, 5000])
def test_hardly_any_audio_is_no_error(
    tiny: WhisperModel, silence: SilenceCache, n_samples: int
) -> None:
    decoder = StreamingDecoder(tiny, CONFIG, silence=silence)
    decoder.feed(np.zeros(n_samples, dtype=np.float32))
    assert decoder.finish().is_final


def test_int16_and_float_audio_read_alike(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, CONFIG, silence=silence)
    decoder.feed(command_speech)
    as_float = decoder.finish()
    decoder.reset()
    decoder.feed((command_speech * 32767).astype(np.int16))
    assert decoder.finish().text == as_float.text


def test_a_spoken_prefix_is_no_part_of_the_text(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, CONFIG, silence=silence)
    decoder.reset(spoken_prefix="Hey Jarvis.")
    for first in range(0, len(command_speech), 8000):
        decoder.feed(command_speech[first : first + 8000])
        for result in decoder.step():
            assert "jarvis" not in result.text.lower()
    assert words_of(decoder.finish().text) == ["turn", "on", "the", "kitchen", "lights"]


def test_finishing_early_does_not_disturb_what_follows(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, CONFIG, silence=silence)
    half = len(command_speech) // 2
    decoder.feed(command_speech[:half])
    decoder.step()
    before = decoder.text
    assert decoder.finish().is_final
    decoder.feed(command_speech[half:])
    decoder.step()
    assert decoder.text.startswith(before)
    assert "kitchen lights" in decoder.finish().text.lower()


@pytest.mark.slow  # two windows' worth of speech; test_sliding_window has the parts
def test_long_speech_is_finalised_window_by_window(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, replace(CONFIG, slide_s=6.0, window_s=9.0), silence=silence)
    text = ""
    for _ in range(4):
        for first in range(0, len(command_speech), 16_000):
            decoder.feed(command_speech[first : first + 16_000])
            for result in decoder.step():
                assert result.text.startswith(text)
                text = result.text
                assert result.audio_position <= result.audio_duration
    final = decoder.finish()
    assert words_of(final.text).count("kitchen") == 4
    assert words_of(text).count("kitchen") >= 3
    assert [word.end_s for word in final.words] == sorted(word.end_s for word in final.words)
    assert final.words[-1].end_s > 3 * len(command_speech) / RATE


def test_more_than_a_window_at_once_loses_nothing(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, replace(CONFIG, slide_s=6.0, window_s=9.0), silence=silence)
    decoder.feed(np.tile(command_speech, 4))
    assert len(decoder.step()) > 1
    assert words_of(decoder.finish().text).count("lights") == 4


def word(text: str, frame: int) -> DraftWord:
    return DraftWord(text, (1,), frame, frame, 0.9)


def test_a_window_is_cut_in_its_longest_pause() -> None:
    words = [word(" one", 400), word(" two", 500), word(" three", 700), word(" four", 740)]
    assert cut_point(words, first_frame=0, end_frame=1000) == (2, 600)


def test_a_sentence_end_counts_as_a_pause() -> None:
    words = [word(" one", 400), word(".", 400), word(" Two", 420), word(" three", 445)]
    assert cut_point(words, first_frame=0, end_frame=1000)[0] == 2


def test_a_window_without_a_boundary_is_cut_before_its_margin() -> None:
    assert cut_point([], first_frame=1000, end_frame=2000) == (0, 1850)


def test_punctuation_joins_the_word_before_it_in_the_word_times() -> None:
    words = [word(" lights", 50), word(".", 52)]
    assert [w.text for w in word_times(words)] == ["lights."]
    assert text_of(words) == "lights."


def test_a_phrase_that_was_spoken_is_far_more_probable_than_its_neighbours(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, CONFIG)
    # "Hey Jarvis, turn on ...": the phrase at the beginning, and the words behind it.
    decoder.feed(command_speech[: 3 * RATE])
    final = decoder.finish()
    assert decoder.phrase_logprob(final, "hey jarvis") > -4
    assert decoder.phrase_logprob(final, "turn on") > -4
    assert decoder.phrase_logprob(final, "hey mycroft") < -8
    assert decoder.phrase_logprob(final, "okay house") < -8
