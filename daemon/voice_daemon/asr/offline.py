"""Offline decoding of audio of any length: Whisper's window moved along the pauses.

The reference that streaming is measured against. Audio up to 30 s is one decode; longer audio
is read window by window, each beginning where the last one was cut between two words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_daemon.asr.acoustic import FRAME_SAMPLES
from voice_daemon.asr.commits import DraftWord, cut_point
from voice_daemon.asr.decoding import N_SAMPLES, DecodingOptions, DecodingTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from voice_daemon.asr.decoding import DecodingResult
    from voice_daemon.asr.whisper import WhisperModel


def decode_windows(
    model: WhisperModel, samples: NDArray[np.float32], options: DecodingOptions | None = None
) -> Iterator[tuple[DecodingResult, tuple[DraftWord, ...]]]:
    """Decode (n_samples,) float32 window by window, padded encoder and all.

    Yields each window's result and the words kept of it, their frames counted from the first
    sample. A model without alignment heads gives words that all lie at their window's end.
    """
    task = DecodingTask(model, options)
    first = 0
    while True:
        window = samples[first : first + N_SAMPLES]
        result = task.run(window)
        n_frames = len(window) // FRAME_SAMPLES
        words = result_words(model, result, first_frame=first // FRAME_SAMPLES, n_frames=n_frames)
        if first + N_SAMPLES >= len(samples):
            yield result, words
            return
        start = first // FRAME_SAMPLES
        n_words, frame = cut_point(words, first_frame=start, end_frame=start + n_frames)
        yield result, words[:n_words]
        first = frame * FRAME_SAMPLES


def result_words(
    model: WhisperModel, result: DecodingResult, *, first_frame: int = 0, n_frames: int = 0
) -> tuple[DraftWord, ...]:
    """The words of one decoded window, with the frames they attend to."""
    frames = [first_frame + frame for frame in result.frames]
    words = []
    at = 0
    for text, tokens in model.tokenizer.split_words(result.tokens, language=result.language):
        attended = frames[at : at + len(tokens)] or [first_frame + n_frames]
        at += len(tokens)
        words.append(DraftWord(text, tokens, min(attended), max(attended), 1.0))
    return tuple(words)
