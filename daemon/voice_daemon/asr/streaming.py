"""Streaming recognition of one utterance: audio in, committed words and a draft out.

Owns what is committed, what is draft and what is settled. `text` only grows until the final,
which is a free decode of the whole utterance (of the newest window, in long speech: what lies
before it was settled by a free decode of its own). One thread uses a decoder; the model is
shared. Knows nothing of microphones, sessions or MQTT.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.alignatt import DraftWord, committable
from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.incremental_encoder import SilenceCache, silent_window
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.types import (
    FinalReading,
    StreamingConfig,
    StreamingResult,
    completeness,
    text_of,
    tokens_of,
    word_times,
)
from voice_daemon.asr.window import Settled, Streamed, Window, WindowDecode, settling
from voice_daemon.events import SAMPLE_RATE

SETTLING_TURN_S = 0.5
"""Audio for each turn of settling."""

__all__ = ["StreamingConfig", "StreamingDecoder", "StreamingResult", "generate_streaming"]


class StreamingDecoder:
    """Streams one utterance: `feed` audio, `step` for partials, `finish`, then `reset`."""

    def __init__(
        self,
        model: WhisperModel,
        config: StreamingConfig | None = None,
        *,
        silence: SilenceCache | None = None,
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
        self._settle_samples = round(self._config.settle_s * SAMPLE_RATE)
        self._turn_samples = round(SETTLING_TURN_S * SAMPLE_RATE)
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
        self._settling: Steps[Settled] | None = None
        self._untaken_turns = 0.0
        self._draft: tuple[DraftWord, ...] = ()
        self._newest: WindowDecode | None = None
        self._waiting: list[NDArray[np.float32]] = []
        self._fed_samples = 0
        self._stepped_samples = 0

    def another(self, config: StreamingConfig) -> StreamingDecoder:
        """Make a decoder for an utterance beside this one's; what a model needs once is shared."""
        return StreamingDecoder(self._model, config, silence=self._silence, greedy=self._greedy)

    @property
    def logprobs(self) -> Callable[[mx.array], NDArray[np.float32]]:
        """The projection as the greedy decoder computes it: see `GreedyDecoder.logprobs`."""
        return self._greedy.logprobs

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
        streamed = self._streamed()
        free = self._window.read(self._spoken, guess=tokens_of(streamed.words), want_no_speech=True)
        reading = streamed.or_instead(free)
        words = (*self._settled, *reading.words)
        return replace(
            self._result(words),
            is_final=True,
            revised=not text_of(words).startswith(self.text),
            completeness=completeness(words),
            **_trust(reading),
        )

    def final_reading(self, final: StreamingResult) -> FinalReading | None:
        """What `final`, the result of `finish`, was read from; fed or stepped on, it is stale.

        None where older audio was dropped, or where the text is a translation.
        """
        if self._window.first_frame or not final.tokens or self._config.task != "transcribe":
            return None
        opening = self._model.initial_tokens(final.language, "transcribe")
        return FinalReading(
            text=final.text,
            tokens=final.tokens,
            opening=(*opening, *self._spoken),
            cross=self._window.cross,
            language=final.language,
        )

    def _take_audio(self) -> None:
        """Move audio into the window, settling its older part as it fills."""
        room = self._window_samples - self._window.n_samples
        if room <= 0:
            self._settle()
            room = self._window_samples - self._window.n_samples
        audio = np.concatenate(self._waiting)
        self._window.feed(audio[:room])
        self._waiting = [audio[room:]] if len(audio) > room else []
        if self._settling or self._window.n_samples >= self._settle_samples:
            self._untaken_turns += min(room, len(audio)) / self._turn_samples
            self._settle(int(self._untaken_turns))
            self._untaken_turns %= 1

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
        # Whisper reads "you" in silence; asked whether anybody speaks, it knows better.
        somebody_speaks = reading.no_speech_prob <= self._config.no_speech_threshold
        if somebody_speaks and not reading.looped and self._window.language_decided:
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

    def _settle(self, n_turns: float = math.inf) -> None:
        """Take `n_turns` at dropping the older part of the window; all that are left by default."""
        if self._settling is None:
            self._settling = settling(
                self._window, self._streamed(), n_layers=self._model.dims.n_audio_layer
            )
        done = 0
        while done < n_turns:
            try:
                next(self._settling)
            except StopIteration as end:
                self._settling = None
                self._drop(end.value)
                return
            done += 1

    def _drop(self, settled: Settled) -> None:
        """Let go of what was settled, and go on in the window behind it."""
        self._settled += settled.words
        self._n_behind = sum(word.frame < settled.frame for word in self._committed)
        self._draft = tuple(word for word in self._draft if word.frame >= settled.frame)
        self._spoken = ()
        self._window.move(settled.frame, settled.acoustic)

    def _streamed(self) -> Streamed:
        """Collect what the window said so far."""
        return Streamed(self._spoken, tuple(self._committed[self._n_behind :]), self._draft)

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


def _trust(reading: WindowDecode | None) -> dict[str, Any]:
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
