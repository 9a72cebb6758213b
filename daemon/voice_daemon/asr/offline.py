"""Offline decoding of audio of any length: Whisper's window moved along the pauses.

The reference that streaming is measured against. Audio up to 30 s is one decode; longer audio
is read window by window, each beginning where the last one was cut between two words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.alignatt import LEAST_REST_FRAMES, DraftWord, cut_point
from voice_daemon.asr.decoding import Decoded, GreedyDecoder, Task, attended, detect_language
from voice_daemon.asr.features import checked_samples, log_mel_spectrogram
from voice_daemon.asr.incremental_encoder import FRAME_SAMPLES
from voice_daemon.asr.load import WhisperModel
from voice_daemon.errors import AudioFormatError
from voice_daemon.events import SAMPLE_RATE

N_SAMPLES = 480_000
"""Samples in Whisper's window of 30 s at 16 kHz."""
LEAST_REST_SAMPLES = LEAST_REST_FRAMES * FRAME_SAMPLES


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """Settings of offline decoding; the defaults are Whisper's greedy ones without timestamps."""

    task: Task = "transcribe"
    language: str | None = "en"
    """A Whisper language code, or None to detect it."""
    prompt: str = ""
    """Names and words to expect, given to the model as earlier text."""
    sample_len: int | None = None
    """Most tokens to decode; None: half the text context."""


@dataclass(frozen=True, slots=True)
class DecodingResult:
    """One decoded window."""

    text: str
    tokens: tuple[int, ...]
    language: str
    avg_logprob: float
    no_speech_prob: float
    frames: tuple[int, ...] = field(default=())
    """The encoder frame (20 ms) that each token attends to most; empty without heads."""
    looped: bool = False
    """True when decoding stopped at a loop, and what lies behind the last frame was not read."""


class DecodingTask:
    """Offline decoding of one window of at most 30 s, as Whisper does it: the reference path."""

    def __init__(self, model: WhisperModel, options: DecodingOptions | None = None) -> None:
        self._model = model
        self._options = options or DecodingOptions()
        self._decoder = GreedyDecoder(model)

    def run(self, samples: NDArray[np.float32], *, rate_hz: int = SAMPLE_RATE) -> DecodingResult:
        """Decode (n_samples,) float32 in [-1, 1] at 16 kHz, zero-padded to 30 s.

        Raises `AudioFormatError` for anything else, longer audio included.
        """
        if len(checked_samples(samples, rate_hz=rate_hz)) > N_SAMPLES:
            raise AudioFormatError(
                "audio.too_long",
                f"{len(samples)} samples exceed the window of {N_SAMPLES} (30 s)",
                remedy="decode longer audio with `decode_windows`",
            )
        model, options = self._model, self._options
        padded = np.zeros(N_SAMPLES, dtype=np.float32)
        padded[: len(samples)] = samples
        mel = log_mel_spectrogram(padded, model.dims.n_mels)
        audio = model.encoder(mx.array(mel).astype(model.dtype)[None])
        cross = model.decoder.cross_keys(audio)
        language = options.language or detect_language(model, cross).language
        initial_tokens = model.initial_tokens(language, options.task, options.prompt)
        n_frames = max(1, min(len(samples) // FRAME_SAMPLES, model.dims.n_audio_ctx))
        # As in OpenAI's code: the other half is for the text before.
        max_tokens = options.sample_len or model.dims.n_text_ctx // 2
        decoded = self._decoder.decode(
            cross,
            initial_tokens,
            max_tokens=min(max_tokens, model.dims.n_text_ctx - len(initial_tokens)),
            n_frames=n_frames,
            want_no_speech=True,
        )
        return self._result(decoded, language)

    def _result(self, decoded: Decoded, language: str) -> DecodingResult:
        text = self._model.tokenizer.decode(decoded.tokens)
        aligned = decoded.scores.shape[0] > 0 and bool(decoded.tokens)
        frames = attended(decoded.scores).tolist() if aligned else []
        return DecodingResult(
            text=text.strip(),
            tokens=decoded.tokens,
            language=language,
            avg_logprob=float(np.mean(decoded.logprobs)) if decoded.logprobs else 0.0,
            no_speech_prob=decoded.no_speech_prob,
            frames=tuple(frames),
            looped=decoded.looped,
        )


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
        behind_loop = words[-1].frame * FRAME_SAMPLES if result.looped and words else first
        # Read on behind a loop where that goes forward, and something is left.
        if min(behind_loop - first, len(samples) - behind_loop) >= LEAST_REST_SAMPLES:
            yield result, words
            first = behind_loop
            continue
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
