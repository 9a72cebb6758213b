"""Streaming recognition of one utterance: audio in, committed words and a draft out.

Owns what is committed, what is draft and what is settled. `text` only grows until the final,
which is a free decode of the whole utterance (of the newest window, in long speech: what lies
before it was settled by a free decode of its own). One thread uses a decoder; the model is
shared. Knows nothing of microphones, sessions or MQTT.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from voice_daemon.asr.acoustic import silent_window
from voice_daemon.asr.commits import DraftWord, committable, cut_point, leaves_out
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.results import (
    StreamingConfig,
    StreamingResult,
    completeness,
    text_of,
    tokens_of,
    word_times,
)
from voice_daemon.asr.window import Reading, Window
from voice_daemon.events import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from voice_daemon.asr.acoustic import SilentWindow
    from voice_daemon.asr.whisper import WhisperModel

__all__ = ["StreamingConfig", "StreamingDecoder", "StreamingResult", "generate_streaming"]


class StreamingDecoder:
    """Streams one utterance: `feed` audio, `step` for partials, `finish`, then `reset`."""

    def __init__(
        self,
        model: WhisperModel,
        config: StreamingConfig | None = None,
        *,
        silence: SilentWindow | None = None,
        greedy: GreedyDecoder | None = None,
    ) -> None:
        """`silence` and `greedy` are shared by the decoders of one model: see `another`."""
        self._model = model
        self._config = config or StreamingConfig()
        self._rules = replace(self._config.rules, frame_threshold=self._config.frame_threshold)
        self._silence = silence or silent_window(model)
        self._greedy = greedy or GreedyDecoder(model)
        self._window = Window(model, self._config, silence=self._silence, greedy=self._greedy)
        self._window_samples = round(self._config.window_s * SAMPLE_RATE)
        self.reset()

    def reset(self, *, spoken_prefix: str = "") -> None:
        """Begin a new utterance.

        `spoken_prefix` is a phrase that the audio begins with and that is no part of the text,
        such as the wake word: the model is told that it was said, and writes what follows.
        """
        prefix = spoken_prefix.strip()
        self._window.reset()
        self._spoken = tuple(self._model.tokenizer.encode(f" {prefix}")) if prefix else ()
        self._settled: tuple[DraftWord, ...] = ()
        self._committed: list[DraftWord] = []
        self._n_behind = 0
        self._draft: tuple[DraftWord, ...] = ()
        self._newest: Reading | None = None
        self._waiting: list[NDArray[np.float32]] = []
        self._fed_samples = 0
        self._stepped_samples = 0

    def another(self, config: StreamingConfig) -> StreamingDecoder:
        """Make a decoder for an utterance beside this one's; what a model needs once is shared."""
        return StreamingDecoder(self._model, config, silence=self._silence, greedy=self._greedy)

    @property
    def text(self) -> str:
        """The committed text."""
        return text_of(self._committed)

    def feed(self, samples: NDArray[np.float32] | NDArray[np.int16]) -> None:
        """Append (n,) samples at 16 kHz: float32 in [-1, 1] or int16; any n."""
        if samples.dtype == np.int16:
            samples = samples.astype(np.float32) / 32768.0
        self._waiting.append(samples.astype(np.float32, copy=False))
        self._fed_samples += len(samples)

    def step(self) -> list[StreamingResult]:
        """One step over what was fed: [] until `min_chunk_duration` of new audio is there.

        More audio than the window holds takes a step for each windowful.
        """
        new = self._fed_samples - self._stepped_samples
        if not self._config.emit_partial:
            return []
        if new < round(self._config.min_chunk_duration * SAMPLE_RATE):
            return []
        results = []
        while self._waiting:
            self._take_audio()
            self._stepped_samples = self._fed_samples - sum(map(len, self._waiting))
            if self._window.encode() > self._window.first_frame:
                self._advance()
                results.append(self.snapshot())
        return results

    def snapshot(self) -> StreamingResult:
        """What the last step left, without computing anything."""
        draft = "".join(word.text for word in self._draft)
        return replace(
            self._result(self._committed),
            audio_position=self._stepped_samples / SAMPLE_RATE,
            draft=draft if self._committed else draft.lstrip(),
            **_trust(self._newest),
        )

    def finish(self) -> StreamingResult:
        """The final: a free decode of everything fed, verified against what was streamed.

        The utterance stays as it was: more may be fed and stepped, which makes this stale.
        """
        while self._waiting:
            self._take_audio()
        if self._window.encode(everything=True) == self._window.first_frame:
            return replace(self._result(self._settled), is_final=True)
        reading = self._free_reading()
        words = (*self._settled, *reading.words)
        return replace(
            self._result(words),
            is_final=True,
            revised=not text_of(words).startswith(self.text),
            completeness=completeness(words),
            **_trust(reading),
        )

    def _take_audio(self) -> None:
        """Move audio into the window, settling its older part when it is full."""
        room = self._window_samples - self._window.n_samples
        if room <= 0:
            self._settle()
            room = self._window_samples - self._window.n_samples
        audio = np.concatenate(self._waiting)
        self._window.feed(audio[:room])
        self._waiting = [audio[room:]] if len(audio) > room else []

    def _advance(self) -> None:
        """Decode on from the committed text, commit what is safe, draft the rest."""
        forced = self._forced()
        reading = self._window.read(
            forced,
            guess=tokens_of(self._draft),
            # Once something is committed, somebody has spoken.
            want_no_speech=not self._committed,
        )
        n_safe = 0
        if not reading.looped and self._window.language_decided:
            n_safe = committable(
                reading.words,
                content_frames=self._window.end_frame,
                last_frame=self._committed[-1].frame if self._committed else 0,
                ended=reading.ended,
                rules=self._rules,
            )
        self._committed.extend(reading.words[:n_safe])
        self._draft = reading.words[n_safe:]
        self._newest = reading

    def _settle(self) -> None:
        """Read the window once more, freely, and drop its older part for good."""
        self._window.encode(everything=True)
        words = self._free_reading().words
        n_words, frame = cut_point(
            words, first_frame=self._window.first_frame, end_frame=self._window.end_frame
        )
        self._settled += words[:n_words]
        self._n_behind = sum(word.frame < frame for word in self._committed)
        self._draft = ()
        self._spoken = ()
        self._window.trim(frame)

    def _free_reading(self) -> Reading:
        """Decode the encoded window without forcing what was committed.

        A loop, and a reading that jumps over a sentence, give way to what was streamed.
        """
        in_window = self._committed[self._n_behind :]
        streamed = (*in_window, *self._draft)
        reading = self._window.read(self._spoken, guess=tokens_of(streamed), want_no_speech=True)
        if in_window and (reading.looped or leaves_out(reading.words, streamed)):
            return replace(reading, words=streamed)
        return reading

    def _forced(self) -> tuple[int, ...]:
        return (*self._spoken, *tokens_of(self._committed[self._n_behind :]))

    def _result(self, words: Sequence[DraftWord]) -> StreamingResult:
        times = word_times(words)
        duration = self._fed_samples / SAMPLE_RATE
        end = times[-1].end_s if times else 0.0
        return StreamingResult(
            text=text_of(words),
            tokens=tokens_of(words),
            is_final=False,
            start_time=times[0].start_s if times else 0.0,
            end_time=end,
            progress=min(1.0, end / duration) if duration else 0.0,
            audio_position=duration,
            audio_duration=duration,
            words=times,
            language=self._window.language,
        )


def _trust(reading: Reading | None) -> dict[str, Any]:
    """Give what a reading says about itself, as fields of a result."""
    if reading is None:
        return {}
    return {
        "ended": reading.ended,
        "confidence": reading.confidence,
        "no_speech_prob": reading.no_speech_prob,
    }


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
