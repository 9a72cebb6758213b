"""Streaming recognition of one utterance: audio in, committed words and a draft out.

Owns the committed words, the draft and the finalised ones. `text` only grows until the final,
which is a free decode of the whole utterance (of the newest window, in long speech: what lies
before it was finalised by a free decode of its own as the window slid on). One thread uses a
decoder; the model is shared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any, cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.alignatt import DraftWord, committable
from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.features import float_samples
from voice_daemon.asr.final_cost import FinalCost
from voice_daemon.asr.incremental_encoder import SilenceCache, silent_window
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.sampler import LogProbs
from voice_daemon.asr.types import (
    FinalReading,
    StreamingConfig,
    StreamingResult,
    completeness,
    text_of,
    tokens_of,
    word_times,
)
from voice_daemon.asr.window import FinalisedPrefix, Streamed, Window, WindowDecode, slide_steps
from voice_daemon.events import SAMPLE_RATE

SLIDING_TURN_S = 0.5
"""Seconds of audio for each turn of sliding the window."""

WARMED_STEPS_S = (*(0.1, 0.25, 0.5) * 4, 2.0)
"""Audio between the steps whose shapes are met in the warm-up; more follows where one was late."""
PHRASE_PLACES = 3
"""Places of a text in which a phrase of several tokens is tried."""

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
        cost: FinalCost | None = None,
    ) -> None:
        """All but `config` is shared by the decoders of one model: see `another`."""
        self._model = model
        self._config = config or StreamingConfig()
        self._rules = replace(self._config.rules, frame_threshold=self._config.frame_threshold)
        self._silence = silence or silent_window(model)
        self._greedy = greedy or GreedyDecoder(model)
        self._cost = cost or FinalCost()
        self._window = Window(model, self._config, silence=self._silence, greedy=self._greedy)
        self._window_samples = round(self._config.window_s * SAMPLE_RATE)
        self._slide_samples = round(self._config.slide_s * SAMPLE_RATE)
        self._turn_samples = round(SLIDING_TURN_S * SAMPLE_RATE)
        self.reset()

    def reset(self, *, spoken_prefix: str = "") -> None:
        """Begin a new utterance.

        `spoken_prefix` is a phrase that the audio begins with and that is no part of the text,
        such as the wake word: the model is told that it was said, and writes what follows.
        """
        prefix = spoken_prefix.strip().rstrip(".,!?")
        self._window.reset()
        encode = self._model.tokenizer.encode
        # After a full stop a model may well write nothing yet; behind a comma more must come.
        self._spoken, self._called = (
            tuple(encode(f" {prefix}{sign}")) if prefix else () for sign in ".,"
        )
        self._finalised: tuple[DraftWord, ...] = ()
        self._committed: list[DraftWord] = []
        self._n_behind = 0
        self._sliding: Steps[FinalisedPrefix] | None = None
        self._untaken_turns = 0.0
        self._draft: tuple[DraftWord, ...] = ()
        self._newest: WindowDecode | None = None
        self._waiting: list[NDArray[np.float32]] = []
        self._fed_samples = 0
        self._stepped_samples = 0

    def another(self, config: StreamingConfig) -> StreamingDecoder:
        """Make a decoder for an utterance beside this one's; what a model needs once is shared."""
        return StreamingDecoder(
            self._model, config, silence=self._silence, greedy=self._greedy, cost=self._cost
        )

    @property
    def logprobs(self) -> LogProbs:
        """The projection as the greedy decoder computes it: see `GreedyDecoder.logprobs`."""
        return self._greedy.logprobs

    @property
    def text(self) -> str:
        """The committed text."""
        return text_of(self._committed)

    def meet_shapes(self, within_s: float) -> None:
        """Compute once at each size that an utterance can come to, the shortest first.

        For back ends that pay for each new one; stops after `within_s`. The decoder is as new.
        """
        deadline_s = time.monotonic() + within_s
        met: set[int] = set()
        for step_s in cycle(WARMED_STEPS_S):
            tone = 0.1 * np.sin(0.05 * np.arange(round(step_s * SAMPLE_RATE)))
            self._window.feed(tone.astype(np.float32))
            self._window.meet_shapes(met)
            if self._window.n_samples >= self._window_samples or time.monotonic() > deadline_s:
                break
        self.reset()

    def feed(
        self, samples: NDArray[np.float32] | NDArray[np.int16], *, rate_hz: int = SAMPLE_RATE
    ) -> None:
        """Append (n,) samples at 16 kHz: float32 in [-1, 1] or int16; any n.

        Raises `AudioFormatError` for anything else.
        """
        audio = float_samples(samples, rate_hz=rate_hz)
        self._waiting.append(audio)
        self._fed_samples += len(audio)

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
        """The state after the last step, without computing anything."""
        draft = "".join(word.text for word in self._draft)
        result = self._result(self._committed)
        times = word_times((*self._committed, *self._draft))
        return replace(
            result,
            draft_words=times[len(result.words) :],
            audio_position=self._stepped_samples / SAMPLE_RATE,
            draft=draft if self._committed else draft.lstrip(),
            **_trust(self._newest),
        )

    def learn_final_cost(self) -> None:
        """Take down what finals cost, by that of the audio fed; each kind was met before."""
        self._take_all()
        for live in (False, True):
            _, took_s = self._read_everything(live=live)
            self._cost.learn(took_s, n_frames=self._window.n_for_final(live=live), live=live)

    def finish(self, *, within_s: float = 0.0) -> StreamingResult:
        """The final: a free decode of everything fed, verified against what was streamed.

        It is read beside live silence where that is ready within `within_s`. The utterance stays
        as it was: more may be fed and stepped, which makes this stale.
        """
        self._take_all()
        live = self._cost.allows_live(
            n_frames=self._window.n_for_final(live=True), within_s=within_s
        )
        final, took_s = self._read_everything(live=live)
        self._cost.took(took_s, n_frames=self._window.n_for_final(live=live), live=live)
        return final

    def _read_everything(self, *, live: bool) -> tuple[StreamingResult, float]:
        """Read the final; give it and the seconds that it took."""
        begun_s = time.monotonic()
        final = self._read_freely(live=live)
        return final, time.monotonic() - begun_s

    def _read_freely(self, *, live: bool) -> StreamingResult:
        # Nothing behind the part that was finalised already.
        if self._window.encode(everything=True, live=live) == self._window.first_frame:
            return replace(self._result(self._finalised), is_final=True)
        streamed = self._streamed()
        free = self._window.decode(
            self._spoken, draft=tokens_of(streamed.words), want_no_speech=True
        )
        free = at_once(self._window.read_on_steps(free, end_frame=self._window.end_frame))
        verified = streamed.verify(free)
        words = (*self._finalised, *verified.words)
        return replace(
            self._result(words),
            is_final=True,
            revised=not text_of(words).startswith(self.text),
            completeness=completeness(words),
            **_trust(verified),
        )

    def final_reading(self, final: StreamingResult) -> FinalReading | None:
        """Give the encoded audio of `final`, the result of `finish`; stale once more is fed.

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

    def phrase_logprob(self, final: StreamingResult, phrase: str) -> float:
        """Give the log-probability of a phrase in the place where it fits `final` best.

        `final`: the result of `finish`. Each place is behind some of its tokens, which may have
        been read in the phrase's stead; what follows does not count.
        """
        opening = self._model.initial_tokens(final.language, "transcribe")
        best = -math.inf
        free = self._forced_logprobs([*opening, *final.tokens], len(final.tokens) + 1)
        # A model may write a name in any of these, and each is another row of tokens.
        for spelling in {phrase.title(), phrase.capitalize(), phrase.lower()}:
            first, *others = self._model.tokenizer.encode(f" {spelling}")
            # Where its first token does not fit, the phrase does not: the others are read in few
            # places.
            for place in np.argsort(-free[:, first])[:PHRASE_PLACES]:
                logprob = float(free[place, first])
                if others and logprob > best:
                    tokens = [*opening, *final.tokens[:place], first, *others[:-1]]
                    rows = self._forced_logprobs(tokens, len(others))
                    logprob += float(rows[np.arange(len(others)), others].sum())
                best = max(best, logprob)
        return best

    def _forced_logprobs(self, tokens: Sequence[int], n_rows: int) -> NDArray[np.float32]:
        """Read tokens in the window's audio -> (n_rows, n_vocab), what follows the last of them."""
        hidden = self._model.decoder(mx.array(list(tokens)), self._window.cross).hidden[0]
        return self._greedy.logprobs(hidden[-n_rows:])

    def _take_all(self) -> None:
        while self._waiting:
            self._take_audio()

    def _take_audio(self) -> None:
        """Move audio into the window, sliding it on as it fills."""
        room = self._window_samples - self._window.n_samples
        if room <= 0:
            self._slide()
            room = self._window_samples - self._window.n_samples
        audio = np.concatenate(self._waiting)
        self._window.feed(audio[:room])
        self._waiting = [audio[room:]] if len(audio) > room else []
        if self._sliding or self._window.n_samples >= self._slide_samples:
            self._untaken_turns += min(room, len(audio)) / self._turn_samples
            self._slide(int(self._untaken_turns))
            # The rest of a turn is kept: audio that is fed in small pieces adds up to whole ones.
            self._untaken_turns %= 1

    def _advance(self) -> None:
        """Decode on from the committed text, commit what is safe, draft the rest."""
        forced = self._forced()
        decoded = self._window.decode(
            forced,
            # Most of the last step's draft still holds, and is verified in one call.
            draft=tokens_of(self._draft),
            # Once something is committed, somebody has spoken.
            want_no_speech=not self._committed,
        )
        n_safe = 0
        # Whisper reads "you" in silence; asked whether anybody speaks, it knows better.
        somebody_speaks = decoded.no_speech_prob <= self._config.no_speech_threshold
        if somebody_speaks and not decoded.looped and self._window.language_decided:
            n_safe = committable(
                decoded.words,
                content_frames=self._window.end_frame,
                last_frame=self._committed[-1].frame if self._committed else 0,
                ended=decoded.ended,
                rules=self._rules,
            )
        self._committed.extend(decoded.words[:n_safe])
        self._draft = decoded.words[n_safe:]
        self._newest = decoded

    def _slide(self, n_turns: float = math.inf) -> None:
        """Take `n_turns` of sliding the window; all that are left by default."""
        if self._sliding is None:
            self._sliding = slide_steps(self._window, self._streamed())
        done = 0
        while done < n_turns:
            try:
                next(self._sliding)
            except StopIteration as end:
                self._sliding = None
                self._move_on(end.value)
                return
            done += 1

    def _move_on(self, prefix: FinalisedPrefix) -> None:
        """Let go of the finalised part, and go on in the window behind it."""
        self._finalised += prefix.words
        # What was committed stays in `text`, though the finalised words may say it better.
        self._n_behind = sum(word.frame < prefix.frame for word in self._committed)
        self._draft = tuple(word for word in self._draft if word.frame >= prefix.frame)
        # The wake phrase was in the part that is gone.
        self._spoken = self._called = ()
        self._window.slide(prefix.frame, prefix.encoder)

    def _streamed(self) -> Streamed:
        """Collect the words that streaming over this window produced so far."""
        committed = tuple(self._committed[self._n_behind :])
        looped = self._newest is not None and self._newest.looped
        return Streamed(self._spoken, committed, self._draft, looped=looped)

    def _forced(self) -> tuple[int, ...]:
        """Text tokens that every step decodes on from: what is committed never changes."""
        return (*self._called, *tokens_of(self._committed[self._n_behind :]))

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


def _trust(decoded: WindowDecode | None) -> dict[str, Any]:
    """Fields of a result that say how far to trust it."""
    if decoded is None:
        return {}
    return {
        "ended": decoded.ended,
        "confidence": decoded.confidence,
        "no_speech_prob": decoded.no_speech_prob,
    }


def generate_streaming(
    model: WhisperModel,
    audio: NDArray[np.float32]
    | NDArray[np.int16]
    | Iterable[NDArray[np.float32]]
    | Iterable[NDArray[np.int16]],
    config: StreamingConfig | None = None,
    *,
    rate_hz: int = SAMPLE_RATE,
) -> Iterator[StreamingResult]:
    """Stream a whole (n_samples,) array, or blocks as they come; the last result is final.

    float32 in [-1, 1] or int16, at 16 kHz; raises `AudioFormatError` for anything else.
    """
    config = config or StreamingConfig()
    blocks = audio
    if not isinstance(audio, Iterable) or isinstance(audio, (np.ndarray, str, bytes)):
        # Refused before the decoder is made, which takes as long as a step of 30 s.
        whole = float_samples(cast("NDArray[np.float32]", audio), rate_hz=rate_hz)
        blocks = _blocks(whole, round(config.min_chunk_duration * SAMPLE_RATE))
    decoder = StreamingDecoder(model, config)
    for block in blocks:
        decoder.feed(block, rate_hz=rate_hz)
        yield from decoder.step()
    yield decoder.finish()


def _blocks(audio: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """Part (n_samples,) into blocks of `size` samples."""
    for first in range(0, len(audio), size):
        yield audio[first : first + size]
