"""Streaming recognition of one utterance: audio in, committed words and a draft out.

Owns the utterance: its audio context, its committed tokens and the draft. `text` only grows
until the final, which is one free decode of the whole utterance. One thread uses a decoder;
the model is shared. Knows nothing of microphones, sessions or MQTT.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from voice_daemon.asr.acoustic import (
    FRAME_SAMPLES,
    FRAMES_PER_SECOND,
    AcousticContext,
    SilentWindow,
    silent_window,
)
from voice_daemon.asr.alignatt import attended_frames
from voice_daemon.asr.commits import CommitRules, DraftWord, committable
from voice_daemon.asr.decoding import Decoded, GreedyDecoder, Task, detect_language
from voice_daemon.events import SAMPLE_RATE, Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from voice_daemon.asr.whisper import WhisperModel

TOKENS_PER_SECOND = 12
"""No language is spoken faster in Whisper's tokens; more is a loop."""


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    """How to stream. Durations are seconds of audio, thresholds encoder frames of 20 ms."""

    frame_threshold: int = 25
    """Frames that must lie between a committed word and the end of the audio."""
    min_chunk_duration: float = 0.5
    """Audio between two steps."""
    emit_partial: bool = True
    """False: `step` computes nothing, and only the final is produced."""
    language: str | None = "en"
    """A Whisper language code; None or "auto" detects it."""
    task: Task = "transcribe"
    prompt: str = ""
    """Names to expect, given to the model as earlier text."""
    refresh_s: float = 1.0
    """The newest audio that is encoded anew at every step; older keys are kept."""
    padding_s: float = 0.2
    """Silence encoded behind the audio at every step."""
    final_padding_s: float = 0.5
    """The same for the final."""
    rules: CommitRules = field(default_factory=CommitRules)


@dataclass(frozen=True, slots=True)
class StreamingResult:
    """What is known after a step, or the final."""

    text: str
    """Committed so far, without a leading space; append-only until the final replaces it."""
    tokens: tuple[int, ...]
    is_final: bool
    start_time: float
    """Seconds from the first sample fed to the first word of `text`."""
    end_time: float
    """The same to the end of its last word."""
    progress: float
    """`end_time` over `audio_duration`, 0..1."""
    audio_position: float
    """Seconds of audio that this result has seen."""
    audio_duration: float
    """Seconds of audio fed."""
    draft: str = ""
    """The replaceable tail up to the end of the audio, with its leading space."""
    words: tuple[Word, ...] = ()
    language: str = "en"
    revised: bool = False
    """In a final: True when its text does not merely extend the committed text."""
    confidence: float = 0.0
    """Geometric mean token probability."""
    no_speech_prob: float = 0.0


class StreamingDecoder:
    """Streams one utterance: `feed` audio, `step` for partials, `finish`, then `reset`."""

    def __init__(
        self,
        model: WhisperModel,
        config: StreamingConfig | None = None,
        *,
        silence: SilentWindow | None = None,
    ) -> None:
        """`silence` may be shared by the decoders of one model: it is what warm-up builds."""
        self._model = model
        self._config = config or StreamingConfig()
        self._greedy = GreedyDecoder(model)
        self._acoustic = AcousticContext(
            model,
            silence or silent_window(model),
            refresh_frames=round(self._config.refresh_s * FRAMES_PER_SECOND),
            padding_frames=round(self._config.padding_s * FRAMES_PER_SECOND),
        )
        self._rules = replace(self._config.rules, frame_threshold=self._config.frame_threshold)
        self.reset()

    def reset(self, *, spoken_prefix: str = "") -> None:
        """Begin a new utterance.

        `spoken_prefix` is a phrase that the audio begins with and that is no part of the text,
        such as the wake word: the model is told that it was said, and writes what follows.
        """
        prefix = spoken_prefix.strip()
        self._acoustic.reset()
        self._spoken = tuple(self._model.tokenizer.encode(f" {prefix}")) if prefix else ()
        self._committed: list[DraftWord] = []
        self._draft: tuple[DraftWord, ...] = ()
        self._stepped_samples = 0
        self._language: str | None = None

    @property
    def text(self) -> str:
        """The committed text."""
        return _join(self._committed)

    def feed(self, samples: NDArray[np.float32] | NDArray[np.int16]) -> None:
        """Append (n,) samples at 16 kHz: float32 in [-1, 1] or int16; any n."""
        if samples.dtype == np.int16:
            samples = samples.astype(np.float32) / 32768.0
        self._acoustic.feed(samples.astype(np.float32, copy=False))

    def step(self) -> list[StreamingResult]:
        """One step over what was fed: [] until `min_chunk_duration` of new audio is there."""
        new = self._acoustic.n_samples - self._stepped_samples
        if not self._config.emit_partial:
            return []
        if new < round(self._config.min_chunk_duration * SAMPLE_RATE):
            return []
        self._stepped_samples = self._acoustic.n_samples
        n_frames = self._acoustic.encode()
        if n_frames == 0:
            return []
        decoded = self._decode(n_frames, guess=_tokens(self._draft), text=self._forced())
        words = self._words(decoded, n_frames, n_forced=len(self._forced()))
        n_safe = 0
        if not decoded.looped:
            last = self._committed[-1].frame if self._committed else 0
            n_safe = committable(
                words,
                content_frames=n_frames,
                last_frame=last,
                ended=decoded.ended,
                rules=self._rules,
            )
        self._committed.extend(words[:n_safe])
        self._draft = tuple(words[n_safe:])
        return [self._result()]

    def snapshot(self) -> StreamingResult:
        """What the last step left, without computing anything."""
        return self._result()

    def finish(self) -> StreamingResult:
        """The final: a free decode of everything fed, verified against what was streamed.

        The utterance stays as it was: more may be fed and stepped, which makes this stale.
        """
        n_frames = self._acoustic.encode(
            everything=True, padding_frames=round(self._config.final_padding_s * FRAMES_PER_SECOND)
        )
        if n_frames == 0:
            return self._result(words=(), is_final=True)
        committed = self.text
        guess = (*_tokens(self._committed), *_tokens(self._draft))
        decoded = self._decode(n_frames, guess=guess, text=self._spoken, want_no_speech=True)
        words = self._words(decoded, n_frames, n_forced=len(self._spoken))
        text = _join(words)
        return self._result(
            words=words,
            is_final=True,
            revised=not text.startswith(committed),
            confidence=float(np.exp(np.mean(decoded.logprobs))) if decoded.logprobs else 0.0,
            no_speech_prob=decoded.no_speech_prob,
        )

    def _forced(self) -> tuple[int, ...]:
        return (*self._spoken, *_tokens(self._committed))

    def _decode(
        self,
        n_frames: int,
        *,
        guess: Sequence[int],
        text: Sequence[int],
        want_no_speech: bool = False,
    ) -> Decoded:
        opening = self._model.opening(self._language_code(), self._config.task, self._config.prompt)
        room = self._model.dims.n_text_ctx - len(opening) - len(text) - 1
        by_rate = 8 + TOKENS_PER_SECOND * n_frames // FRAMES_PER_SECOND - len(text)
        return self._greedy.decode(
            self._acoustic.cross,
            opening,
            text,
            guess=guess,
            max_tokens=max(1, min(room, by_rate)),
            n_frames=max(1, n_frames),
            want_no_speech=want_no_speech,
        )

    def _language_code(self) -> str:
        if self._config.language not in {None, "auto"}:
            return str(self._config.language)
        if self._language is None:
            self._language = detect_language(self._model, self._acoustic.cross)
        return self._language

    def _words(self, decoded: Decoded, n_frames: int, *, n_forced: int) -> list[DraftWord]:
        """The new tokens grouped into words, with the frames they attend to."""
        aligned = decoded.scores.shape[0] > 0 and bool(decoded.tokens)
        if aligned:
            frames = attended_frames(decoded.scores)[n_forced:]
        else:
            frames = np.full(len(decoded.tokens), n_frames)
        words: list[DraftWord] = []
        at = 0
        previous = [word.tokens for word in self._draft]
        for text, tokens in self._model.tokenizer.split_words(
            decoded.tokens, language=self._language_code()
        ):
            end = at + len(tokens)
            words.append(
                DraftWord(
                    text=text,
                    tokens=tokens,
                    frame=int(frames[at:end].max()),
                    probability=float(np.exp(min(decoded.logprobs[at:end]))),
                    agreed=len(words) < len(previous) and previous[len(words)] == tokens,
                )
            )
            at = end
        return words

    def _result(
        self,
        *,
        words: Sequence[DraftWord] | None = None,
        is_final: bool = False,
        revised: bool = False,
        confidence: float = 0.0,
        no_speech_prob: float = 0.0,
    ) -> StreamingResult:
        shown = self._committed if words is None else words
        times = word_times(shown)
        duration = self._acoustic.n_samples / SAMPLE_RATE
        end = times[-1].end_s if times else 0.0
        draft = "" if is_final else "".join(word.text for word in self._draft)
        return StreamingResult(
            text=_join(shown),
            tokens=_tokens(shown),
            is_final=is_final,
            start_time=times[0].start_s if times else 0.0,
            end_time=end,
            progress=min(1.0, end / duration) if duration else 0.0,
            audio_position=duration if is_final else self._stepped_samples / SAMPLE_RATE,
            audio_duration=duration,
            draft=draft if self._committed else draft.lstrip(),
            words=times,
            language=self._language_code() if self._acoustic.n_frames else "",
            revised=revised,
            confidence=confidence,
            no_speech_prob=no_speech_prob,
        )


def word_times(words: Sequence[DraftWord]) -> tuple[Word, ...]:
    """Words with their times; punctuation joins the word before it.

    A word ends at the frame that its last token attends to, and begins where the word before
    it ended, at most a second earlier.
    """
    times: list[Word] = []
    end_s = 0.0
    for word in words:
        if word.is_punctuation and times:
            last = times[-1]
            times[-1] = Word(last.text + word.text.strip(), last.start_s, last.end_s)
            continue
        start_s = end_s
        end_s = max(start_s, (word.frame + 1) * FRAME_SAMPLES / SAMPLE_RATE)
        times.append(Word(word.text.strip(), max(start_s, end_s - 1.0), end_s))
    return tuple(times)


def generate_streaming(
    model: WhisperModel,
    audio: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    config: StreamingConfig | None = None,
) -> Iterator[StreamingResult]:
    """Stream a whole (n_samples,) array, or blocks as they come; the last result is final."""
    config = config or StreamingConfig()
    decoder = StreamingDecoder(model, config)
    size = round(config.min_chunk_duration * SAMPLE_RATE)
    blocks = _blocks(audio, size) if isinstance(audio, np.ndarray) else audio
    for block in blocks:
        decoder.feed(block)
        yield from decoder.step()
    yield decoder.finish()


def _blocks(audio: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(audio), size):
        yield audio[first : first + size]


def _tokens(words: Iterable[DraftWord]) -> tuple[int, ...]:
    return tuple(token for word in words for token in word.tokens)


def _join(words: Iterable[DraftWord]) -> str:
    return "".join(word.text for word in words).strip()
