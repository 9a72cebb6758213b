"""The newest audio of one utterance, decoding over it, and sliding it along long speech.

Owns the utterance's encoding, its language and the place of its window in the utterance: all
frames that leave here count from the utterance's first sample, also after the window slid on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.alignatt import (
    LEAST_REST_FRAMES,
    DraftWord,
    before_loop_end,
    cut_point,
    leaves_out,
)
from voice_daemon.asr.cooperative import Steps, at_once, grouped
from voice_daemon.asr.decoding import Decoded, GreedyDecoder, attended, detect_language
from voice_daemon.asr.incremental_encoder import FRAMES_PER_SECOND, IncrementalEncoder, SilenceCache
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.model import CrossKeys
from voice_daemon.asr.shapes import LEAST_ROWS, row_bucket
from voice_daemon.asr.types import StreamingConfig, tokens_of

TOKENS_PER_SECOND = 12
"""No language is spoken faster in Whisper's tokens; more is a loop."""
READINGS_ON = 8
"""Times that reading begins again behind a loop: each costs an encoding of what is left."""
WARMED_LENGTHS = (32, 64, 96, 128)
"""Tokens of a start, a prompt and a text whose shapes are met in the warm-up."""
LANGUAGE_FRAMES = 2 * FRAMES_PER_SECOND
"""Speech on which a language is decided for the whole utterance."""
NO_SPEECH = 0.5
"""Audio in which nobody speaks with this probability says nothing about the language, unless
the language is as probable as `SURE`. Measured with base: silence 0.8, with a language of 0.4
to 0.6; speech after seconds of silence 0.1 to 0.7, with its language above 0.9."""
SURE = 0.8


@dataclass(frozen=True, slots=True)
class WindowDecode:
    """Result of decoding the window once."""

    words: tuple[DraftWord, ...]
    """The words after the forced ones."""
    ended: bool
    looped: bool
    confidence: float
    """Geometric mean probability of the new tokens; 0 without any."""
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class _Request:
    """Parameters of one decode of an encoded window."""

    forced: tuple[int, ...]
    draft: tuple[int, ...]
    want_no_speech: bool
    first_frame: int
    """The utterance's frame that the encoded window begins with."""


class Window:
    """The newest audio of one utterance, at most Whisper's window of it."""

    def __init__(
        self,
        model: WhisperModel,
        config: StreamingConfig,
        *,
        silence: SilenceCache,
        greedy: GreedyDecoder,
    ) -> None:
        self._model = model
        self._config = config
        self._greedy = greedy
        self._encoder = IncrementalEncoder(
            model,
            silence,
            refresh_frames=round(config.refresh_s * FRAMES_PER_SECOND),
            padding_frames=round(config.padding_s * FRAMES_PER_SECOND),
        )
        self.reset()

    def reset(self) -> None:
        """Forget the utterance."""
        self._encoder.reset()
        self._prompt = self._config.prompt
        self._detected = ""
        self._silent_frames = 0
        self.first_frame = 0
        """The utterance's frame that the window begins with."""
        self.end_frame = 0
        """The frame after the last that was encoded."""

    @property
    def n_samples(self) -> int:
        """Samples in the window."""
        return self._encoder.n_samples

    @property
    def cross(self) -> CrossKeys:
        """The encoded audio, as the decoder attends to it."""
        return self._encoder.cross

    @property
    def few_shapes(self) -> bool:
        """True on a GPU: see `shapes`."""
        return self._model.decoder.few_shapes

    @property
    def language(self) -> str:
        """The configured language, else the one detected so far; "" before."""
        return self._fixed_language or self._detected

    @property
    def _final_padding_frames(self) -> int:
        return round(self._config.final_padding_s * FRAMES_PER_SECOND)

    @property
    def language_decided(self) -> bool:
        """False while more speech may still change the language."""
        if self._fixed_language:
            return True
        return self.end_frame >= self._silent_frames + LANGUAGE_FRAMES

    @property
    def _fixed_language(self) -> str:
        """The language where there is nothing to detect, else ""."""
        if self._config.language not in {None, "auto"}:
            return str(self._config.language)
        return "" if self._model.tokenizer.is_multilingual else "en"

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Append (n,) float32 samples in [-1, 1]."""
        self._encoder.feed(samples)

    def n_for_final(self, *, live: bool) -> int:
        """Frames that a final encodes, beside live silence or not."""
        return self._encoder.n_to_encode(live=live, padding_frames=self._final_padding_frames)

    def encode(self, *, everything: bool = False, live: bool = False) -> int:
        """Encode what is new, or all of it for a final; returns `end_frame`.

        `live`: everything, beside live silence.
        """
        padding = self._final_padding_frames if everything else None
        # Asked before the audio grows: the step that completes `LANGUAGE_FRAMES` still detects.
        undecided = not self.language_decided or not self.language
        if live:
            n_frames = self._encoder.encode_beside_live_silence()
        else:
            n_frames = self._encoder.encode(everything=everything, padding_frames=padding)
        self.end_frame = self.first_frame + n_frames
        if undecided and n_frames:
            self._detect_language()
        return self.end_frame

    def meet_shapes(self, met: set[int]) -> None:
        """Encode what is new as in a step, and read it at each length; finals and slides as well.

        `met` holds the sizes of finals (negative) and of keys that were met before.
        """
        if not met:
            self._encoder.encode_beside_live_silence()
            self._read_at_each_length(met)
        self._encoder.encode()
        self._read_at_each_length(met)
        n_rows = row_bucket(self._encoder.n_frames + self._final_padding_frames)
        if -n_rows not in met:
            met.add(-n_rows)
            self._encoder.encode(everything=True, padding_frames=self._final_padding_frames)
            self._read_at_each_length(met)
            # As a window that slid begins: all of it at once, with no keys from before.
            self._encoder.behind(0).encode()

    def _read_at_each_length(self, met: set[int]) -> None:
        n_keys = self.cross.joint.shape[2]
        if n_keys in met:
            return
        met.add(n_keys)
        decoder = self._model.decoder
        for length in WARMED_LENGTHS:
            forced = decoder(mx.zeros((length,), dtype=mx.int32), self.cross)
            # One or two new tokens, and a draft: what `row_bucket` makes of a step's calls.
            for n_more in (2, LEAST_ROWS):
                more = decoder(mx.zeros((n_more,), dtype=mx.int32), self.cross, cache=forced.cache)
                mx.eval(more.hidden)

    def decode(
        self,
        forced: Sequence[int] = (),
        *,
        draft: Sequence[int] = (),
        want_no_speech: bool = False,
    ) -> WindowDecode:
        """Decode greedily after the `forced` text tokens.

        `draft` only saves time. A prompt is left out where it does harm: for the rest of the
        utterance once it has bred a loop, and where nobody seems to speak, which is where its
        own words come back as text.
        """
        return at_once(
            self.decode_steps(self._encoder, forced, draft=draft, want_no_speech=want_no_speech)
        )

    def decode_steps(
        self,
        encoder: IncrementalEncoder,
        forced: Sequence[int] = (),
        *,
        draft: Sequence[int] = (),
        want_no_speech: bool = True,
        first_frame: int | None = None,
    ) -> Steps[WindowDecode]:
        """`decode` over any encoding, a step for each call of the decoder.

        `first_frame` is the encoding's place in the utterance where it is not the window's.
        """
        request = _Request(
            tuple(forced),
            tuple(draft),
            want_no_speech=want_no_speech,
            # Taken down now: the window may slide on between two steps.
            first_frame=self.first_frame if first_frame is None else first_frame,
        )
        if self._prompt:
            prompted = yield from self._decode_after(self._prompt, encoder, request)
            if prompted.looped:
                self._prompt = ""
            elif prompted.no_speech_prob <= NO_SPEECH:
                return prompted
        return (yield from self._decode_after("", encoder, request))

    def read_on_steps(self, decoded: WindowDecode, *, end_frame: int) -> Steps[WindowDecode]:
        """Read what was said behind a loop, up to `end_frame`, as an utterance of its own.

        The decoder does not leave a loop by itself. It begins again where the text was still
        sure, without the text so far, which would lead it back. A step for each group
        of layers and for each call.
        """
        read: tuple[DraftWord, ...] = ()
        newest, frame, confidence = decoded, self.first_frame, decoded.confidence
        for _ in range(READINGS_ON):
            if not newest.looped:
                break
            n_sure, sure_to = before_loop_end(newest.words)
            # Where the attention stands still, something must move on.
            frame = max(sure_to, frame + LEAST_REST_FRAMES)
            if end_frame - frame < LEAST_REST_FRAMES:
                newest = replace(newest, looped=False)
                break
            encoder = self._encoder.behind(frame - self.first_frame)
            yield from encoder.encode_steps(
                everything=True, padding_frames=self._final_padding_frames
            )
            rest = yield from self.decode_steps(encoder, first_frame=frame)
            if rest.no_speech_prob > NO_SPEECH:
                newest = replace(newest, looped=False)
                break
            read, newest = (*read, *newest.words[:n_sure]), rest
            confidence = min(confidence, rest.confidence)
        return replace(
            newest,
            words=(*read, *newest.words),
            confidence=confidence,
            no_speech_prob=decoded.no_speech_prob,
        )

    def encode_anew_steps(self) -> Steps[IncrementalEncoder]:
        """Encode all audio so far as for a final, a step for each group of layers.

        Meanwhile the window may be fed, encoded and decoded as ever.
        """
        encoder = self._encoder.behind(0)
        yield from encoder.encode_steps(everything=True, padding_frames=self._final_padding_frames)
        return encoder

    def encode_from_steps(self, frame: int) -> Steps[IncrementalEncoder]:
        """Encode the audio from `frame` on at its new place, in steps: see `slide`."""
        encoder = self._encoder.behind(frame - self.first_frame)
        yield from encoder.encode_steps()
        return encoder

    def slide(self, frame: int, encoder: IncrementalEncoder) -> None:
        """Forget the audio before `frame`, where `encoder` begins: `encode_from_steps` made it."""
        self._encoder = encoder
        self.first_frame = frame
        encoder.drop_older()

    def _decode_after(
        self, prompt: str, encoder: IncrementalEncoder, request: _Request
    ) -> Steps[WindowDecode]:
        forced = request.forced
        n_frames = max(1, encoder.n_frames)
        initial_tokens = self._model.initial_tokens(self.language, self._config.task, prompt)
        room = self._model.dims.n_text_ctx - len(initial_tokens) - len(forced) - 1
        # Some more than the rate, or half a second of audio could not hold a word.
        by_rate = 8 + TOKENS_PER_SECOND * n_frames // FRAMES_PER_SECOND - len(forced)
        decoded = yield from self._greedy.decode_steps(
            encoder.cross,
            initial_tokens,
            forced,
            draft=request.draft,
            max_tokens=max(1, min(room, by_rate)),
            n_frames=n_frames,
            want_no_speech=request.want_no_speech,
        )
        return WindowDecode(
            words=self._words(
                decoded, n_frames, first_frame=request.first_frame, n_forced=len(forced)
            ),
            ended=decoded.ended,
            looped=decoded.looped,
            confidence=float(np.exp(np.mean(decoded.logprobs))) if decoded.logprobs else 0.0,
            no_speech_prob=decoded.no_speech_prob,
        )

    def _detect_language(self) -> None:
        detected = detect_language(self._model, self._encoder.cross)
        self._detected = detected.language
        if detected.no_speech_prob > NO_SPEECH and detected.probability < SURE:
            self._silent_frames = self.end_frame

    def _words(
        self, decoded: Decoded, n_frames: int, *, first_frame: int, n_forced: int
    ) -> tuple[DraftWord, ...]:
        """Group the new tokens into words, with the frames they attend to."""
        if decoded.scores.shape[0] and decoded.tokens:
            frames = first_frame + attended(
                decoded.scores, since=n_forced, smoothing=self._config.smoothing
            )
        else:
            # Without alignment heads nothing is known to be safe: all lies at the audio's end.
            frames = np.full(len(decoded.tokens), first_frame + n_frames)
        words: list[DraftWord] = []
        at = 0
        for text, tokens in self._model.tokenizer.split_words(
            decoded.tokens, language=self.language
        ):
            end = at + len(tokens)
            words.append(
                DraftWord(
                    text=text,
                    tokens=tokens,
                    first_frame=int(frames[at:end].min()),
                    frame=int(frames[at:end].max()),
                    # A word is no surer than the least sure of its tokens.
                    probability=float(np.exp(min(decoded.logprobs[at:end]))),
                )
            )
            at = end
        return tuple(words)


CALLS_A_TURN = 6
"""Calls of the decoder in a turn."""
GPU_CALLS_A_TURN = 1
"""The same where a call costs much beside the encoder, so that no step is much longer."""


@dataclass(frozen=True, slots=True)
class FinalisedPrefix:
    """The older part of a window, finalised, and the encoding of the rest."""

    words: tuple[DraftWord, ...]
    """Words of the part, which are final."""
    frame: int
    """The frame of the utterance that the new window begins with."""
    encoder: IncrementalEncoder
    """The new window's."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Words that streaming over a window produced while it was spoken."""

    spoken: tuple[int, ...]
    """Tokens of a phrase that the audio begins with and that is no part of the text."""
    committed: tuple[DraftWord, ...]
    draft: tuple[DraftWord, ...]
    looped: bool = False
    """True when the draft ends in a loop: it may hold words that nobody said."""

    @property
    def words(self) -> tuple[DraftWord, ...]:
        """Committed and draft words."""
        return (*self.committed, *self.draft)

    def verify(self, free: WindowDecode) -> WindowDecode:
        """Take a free decode, unless it loops or skips a sentence that was streamed."""
        # A draft that ends in a loop is not to be trusted; what was committed before it is.
        heard = self.committed if self.looped else self.words
        loops = free.looped and not self.looped
        if self.committed and (loops or leaves_out(free.words, heard)):
            return replace(free, words=heard)
        return free


def slide_steps(window: Window, streamed: Streamed) -> Steps[FinalisedPrefix]:
    """Finalise the older part of `window`, which goes on meanwhile; a step is a turn's work."""
    first_frame = window.first_frame
    anew = yield from window.encode_anew_steps()
    end_frame = first_frame + anew.n_frames
    yield
    n_calls = GPU_CALLS_A_TURN if window.few_shapes else CALLS_A_TURN
    free = yield from grouped(
        # What was streamed is the draft: where the free decode agrees with it, it costs one call.
        window.decode_steps(anew, streamed.spoken, draft=tokens_of(streamed.words)),
        n_calls,
    )
    free = yield from grouped(window.read_on_steps(free, end_frame=end_frame), n_calls)
    words = streamed.verify(free).words
    n_words, frame = cut_point(words, first_frame=first_frame, end_frame=end_frame)
    yield
    encoder = yield from window.encode_from_steps(frame)
    return FinalisedPrefix(words[:n_words], frame, encoder)
