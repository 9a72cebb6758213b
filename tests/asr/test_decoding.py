"""Offline decoding, beside an independent implementation on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from faster_whisper import WhisperModel as FasterWhisper
from numpy.typing import NDArray

from voice_daemon.asr import DecodingOptions, DecodingTask, GreedyDecoder, WhisperModel
from voice_daemon.asr.decoding import repeated_run
from voice_daemon.asr.features import log_mel_spectrogram
from voice_daemon.asr.model import CrossKeys, DecoderOutput, TextDecoder
from voice_daemon.asr.offline import N_SAMPLES
from voice_daemon.errors import ModelError


@pytest.fixture(scope="module")
def cross(tiny: WhisperModel, command_speech: NDArray[np.float32]) -> CrossKeys:
    """Cross-attention keys of the clip through the padded encoder."""
    padded = np.pad(command_speech, (0, N_SAMPLES - len(command_speech)))
    mel = mx.array(log_mel_spectrogram(padded, tiny.dims.n_mels))
    return tiny.decoder.cross_keys(tiny.encoder(mel[None]))


def test_the_clip_reads_as_it_was_spoken(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    result = DecodingTask(tiny).run(command_speech)
    assert "turn on the kitchen lights" in result.text.lower()
    assert result.avg_logprob > -0.5
    assert result.no_speech_prob < 0.5
    assert list(result.frames) == sorted(result.frames)


def test_the_text_equals_faster_whispers_on_the_same_weights(
    tiny: WhisperModel, tiny_folder: Path, command_speech: NDArray[np.float32]
) -> None:
    peer = FasterWhisper(str(tiny_folder), device="cpu", compute_type="float32")
    segments, _ = peer.transcribe(
        command_speech,
        language="en",
        beam_size=1,
        temperature=0.0,
        without_timestamps=True,
        condition_on_previous_text=False,
        vad_filter=False,
    )
    expected = "".join(segment.text for segment in segments).strip()
    assert DecodingTask(tiny).run(command_speech).text == expected


def test_a_draft_changes_the_cost_and_not_the_result(tiny: WhisperModel, cross: CrossKeys) -> None:
    greedy = GreedyDecoder(tiny)
    initial_tokens = tiny.initial_tokens("en", "transcribe")
    plain = greedy.decode(cross, initial_tokens, max_tokens=40, n_frames=150)
    assert plain.ended
    right = list(plain.tokens)
    nearly_right = (
        [*right[:2], 262, *right[2:]],
        [*right[:2], *right[3:]],
        [*right[:1], 262, *right[2:4], 262, *right[5:], *right],
        [*right, 262],
    )
    for draft in (right, right[:3], [*right[:2], 262, 262], [262] * 5, *nearly_right):
        drafted = greedy.decode(cross, initial_tokens, draft=draft, max_tokens=40, n_frames=150)
        assert drafted.tokens == plain.tokens
        assert drafted.ended
        np.testing.assert_allclose(drafted.logprobs, plain.logprobs, atol=1e-3)
        np.testing.assert_allclose(drafted.scores, plain.scores, atol=1e-2)


def test_a_draft_is_resumed_after_the_word_that_differs(
    tiny: WhisperModel, cross: CrossKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_calls = 0
    call = TextDecoder.__call__

    def counted(decoder: TextDecoder, *args: Any, **options: Any) -> DecoderOutput:
        nonlocal n_calls
        n_calls += 1
        return call(decoder, *args, **options)

    def passes(draft: list[int]) -> int:
        before = n_calls
        found = greedy.decode(cross, initial_tokens, draft=draft, max_tokens=40, n_frames=150)
        assert list(found.tokens) == right
        return n_calls - before

    greedy, initial_tokens = GreedyDecoder(tiny), tiny.initial_tokens("en", "transcribe")
    right = list(greedy.decode(cross, initial_tokens, max_tokens=40, n_frames=150).tokens)
    monkeypatch.setattr(TextDecoder, "__call__", counted)
    assert passes(right) == 1
    assert passes([262, *right[1:]]) <= 3 < passes([262])


def test_a_forced_text_is_continued(tiny: WhisperModel, cross: CrossKeys) -> None:
    greedy = GreedyDecoder(tiny)
    initial_tokens = tiny.initial_tokens("en", "transcribe")
    whole = greedy.decode(cross, initial_tokens, max_tokens=40, n_frames=150)
    rest = greedy.decode(cross, initial_tokens, whole.tokens[:4], max_tokens=40, n_frames=150)
    assert rest.tokens == whole.tokens[4:]
    assert rest.scores.shape[1] == len(whole.tokens)


def test_the_token_limit_stops_without_an_end(tiny: WhisperModel, cross: CrossKeys) -> None:
    decoded = GreedyDecoder(tiny).decode(
        cross, tiny.initial_tokens("en", "transcribe"), max_tokens=2, n_frames=150
    )
    assert len(decoded.tokens) == 2
    assert not decoded.ended


def test_more_than_the_window_is_refused(tiny: WhisperModel) -> None:
    with pytest.raises(ValueError, match="480001 samples"):
        DecodingTask(tiny).run(np.zeros(N_SAMPLES + 1, dtype=np.float32))


def test_an_english_model_refuses_to_translate(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    with pytest.raises(ModelError, match="English-only"):
        DecodingTask(tiny, DecodingOptions(task="translate")).run(command_speech)


def test_a_run_said_four_times_is_noticed() -> None:
    assert repeated_run([5, 5, 5, 5]) == 1
    assert repeated_run([9, *[1, 2, 3] * 4]) == 3
    assert repeated_run([5, 5, 5]) == 0
    assert repeated_run([1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 2, 4]) == 0
