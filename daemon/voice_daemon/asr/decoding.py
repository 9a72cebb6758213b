"""Greedy decoding of one window with verified draft tokens, and language detection.

Offline decoding and streaming both use it. Draft tokens are speculative decoding without a
second model (Leviathan et al., arXiv 2211.17192): the last step's text is the draft.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.alignatt import MEDIAN_WIDTH, attended_frames, peaks, repeats_that_move_on
from voice_daemon.asr.cooperative import Steps, eager
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.model import CrossKeys, DecoderOutput, TextCache
from voice_daemon.asr.sampler import Sampled, Watched, token_sampler

RESUME_WITHIN = 8
"""Tokens ahead in a draft among which the newest one is looked for after a difference."""
VERIFIED_AT_ONCE = 12
"""Draft tokens that are verified in one pass after a difference; most differ again sooner."""


class DraftTail:
    """Draft tokens that are left once decoding differed from them.

    Two decodes of the same audio differ in a word and then agree again: where the newest token
    stands a little further on in the draft, the tokens behind it are worth verifying.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)

    def after(self, token: int) -> list[int]:
        """Tokens that may follow `token`; [] where the draft does not have it nearby."""
        nearby = self._tokens[:RESUME_WITHIN]
        if token not in nearby:
            return []
        self._tokens = self._tokens[nearby.index(token) + 1 :]
        return self._tokens[:VERIFIED_AT_ONCE]

    def drop(self, n_tokens: int) -> None:
        """Forget the first `n_tokens`, which were verified."""
        self._tokens = self._tokens[n_tokens:]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        length += 1
    return length


Task = Literal["transcribe", "translate"]

MAX_REPEATS = 3
"""A run of tokens this many times in a row beyond the first is a loop, unless it was spoken."""
MAX_RUN_TOKENS = 8
"""Tokens of the longest run that is looked for."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Tokens that the greedy loop added after its prefix, and their alignment."""

    tokens: tuple[int, ...]
    """New tokens, end-of-text excluded."""
    logprobs: tuple[float, ...]
    ended: bool
    """True when the model said end-of-text, False when a limit or a loop stopped it."""
    looped: bool
    """True when the tokens went round while the attention stood still; those rounds are cut."""
    no_speech_prob: float
    """Probability of <|nospeech|> after <|sot|>; 0 where it was not asked for."""
    scores: mx.array
    """(n_heads, n_text + n_new, n_frames) alignment scores of every text token, the prefix's
    own text first; n_frames as asked for. (0, ..) without alignment heads."""


class GreedyDecoder:
    """The greedy loop over one set of cross-attention keys."""

    def __init__(self, model: WhisperModel) -> None:
        self._model = model
        self._sampler = token_sampler(model)
        self._full_stop = model.tokenizer.encode(".")[0]

    def logprobs(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        """See `TokenSampler.logprobs`."""
        return self._sampler.logprobs(hidden, among)

    def decode_steps(
        self,
        cross: CrossKeys,
        initial_tokens: Sequence[int],
        text: Sequence[int] = (),
        *,
        draft: Sequence[int] = (),
        max_tokens: int,
        n_frames: int,
        want_no_speech: bool = False,
    ) -> Steps[Decoded]:
        """Continue `initial_tokens + text` greedily over encoded audio, a step for each call.

        `initial_tokens` is everything up to the first text token (its last element predicts it)
        and `text` the forced prefix. `draft` is verified in the same parallel pass: its longest
        prefix that greedy decoding agrees with costs one pass instead of one a token, and the
        result does not depend on it. Alignment scores are cut to `n_frames` encoder frames.
        """
        decoder = self._model.decoder
        draft = list(draft)[:max_tokens]
        start = len(initial_tokens) + len(text)
        out = decoder(mx.array([*initial_tokens, *text, *draft]), cross)
        # Row i predicts token i + 1: the last forced token's row gives the first new one.
        rows = range(start - 1, start + len(draft))
        watched = self._no_speech(initial_tokens) if want_no_speech else ()
        first = self._sampler.sample(out.hidden, rows, at_start=not text, watched=watched)
        agreed = common_prefix(first.tokens, draft)
        run = _Run(first, agreed + 1, eot=self._model.tokenizer.eot)
        scores = [_rows(out, len(initial_tokens) - 1, start + agreed, n_frames)]
        cache = out.cache.first(start + agreed)
        rest = DraftTail(draft[agreed:])
        run.leave_loop(scores, n_forced=len(text), n_frames=n_frames)
        while not run.stopped(max_tokens):
            yield
            tail = rest.after(run.tokens[-1])[: max_tokens - len(run.tokens) - 1]
            out, n_read = self._continue(run, tail, cache, cross)
            # Of the rows read one is the next token itself; the others were the tail's.
            rest.drop(n_read - 1 if tail else 0)
            scores.append(_rows(out, 0, n_read, n_frames))
            cache = out.cache.first(cache.n_tokens + n_read)
            run.leave_loop(scores, n_forced=len(text), n_frames=n_frames)
        # A draft may have brought more than was asked for.
        found = run.found(max_tokens)
        return Decoded(
            tokens=found,
            logprobs=tuple(run.logprobs[: len(found)]),
            ended=run.ended,
            looped=run.looped,
            no_speech_prob=first.watched[0] if first.watched else 0.0,
            scores=_stack(scores, len(text) + len(found), n_frames),
        )

    decode = eager(decode_steps)

    def _continue(
        self, run: _Run, tail: Sequence[int], cache: TextCache, cross: CrossKeys
    ) -> tuple[DecoderOutput, int]:
        """Add the next token, and those of `tail` that greedy decoding agrees with.

        Returns the decoder's output and how many of its rows count.
        """
        decoder = self._model.decoder
        # A full stop is the likeliest next token, and reading two costs what one does.
        ahead = list(tail) or [self._full_stop]
        out = decoder(mx.array([run.tokens[-1], *ahead]), cross, cache=cache)
        if tail:
            sampled = self._sampler.sample(out.hidden, range(len(ahead) + 1), at_start=False)
            n_read = common_prefix(sampled.tokens, ahead) + 1
            run.add(Sampled(sampled.tokens[:n_read], sampled.logprobs[:n_read], []))
            return out, n_read
        run.add(self._sampler.sample(out.hidden, [0], at_start=False))
        if run.tokens[-1] != self._full_stop:
            return out, 1
        run.add(self._sampler.sample(out.hidden, [1], at_start=False))
        return out, 2

    def _no_speech(self, initial_tokens: Sequence[int]) -> Watched:
        """The row and token of <|nospeech|>: the model predicts it right after <|sot|>."""
        tokenizer = self._model.tokenizer
        # Not the first row: a prompt stands before <|sot|>.
        return ((list(initial_tokens).index(tokenizer.sot), tokenizer.no_speech),)


class _Run:
    """Tokens as they are sampled, and the reasons to stop."""

    def __init__(self, sampled: Sampled, n_tokens: int, *, eot: int) -> None:
        self.tokens, self.logprobs = sampled.tokens[:n_tokens], sampled.logprobs[:n_tokens]
        self._eot = eot
        self._judge_from = 0
        self.looped = False

    @property
    def ended(self) -> bool:
        return self.tokens[-1] == self._eot

    def add(self, sampled: Sampled) -> None:
        self.tokens += sampled.tokens
        self.logprobs += sampled.logprobs

    def leave_loop(
        self, scores: Sequence[mx.array | None], *, n_forced: int, n_frames: int
    ) -> None:
        """Cut off the rounds of a loop; a repetition that somebody speaks stays.

        The attention alone tells them apart: it moves on through the audio with what is said,
        and stands still or jumps back where the model has lost its place.
        """
        width = repeated_run(self.tokens)
        if not width or len(self.tokens) < self._judge_from:
            return
        first = len(self.tokens) - width * (MAX_REPEATS + 1)
        stacked = _stack(scores, n_forced + len(self.tokens), n_frames)
        n_spoken = 1
        if stacked.shape[0]:
            frames = attended(stacked, since=n_forced + first)
            n_spoken = repeats_that_move_on(frames.tolist(), width)
        if n_spoken > MAX_REPEATS:
            # The rows' statistics cost more than a token: the next round is soon enough.
            self._judge_from = len(self.tokens) + width
            return
        self.looped = True
        end = first + width * n_spoken
        self.tokens, self.logprobs = self.tokens[:end], self.logprobs[:end]

    def stopped(self, max_tokens: int) -> bool:
        return self.ended or len(self.tokens) >= max_tokens or self.looped

    def found(self, max_tokens: int) -> tuple[int, ...]:
        return tuple(self.tokens[:-1] if self.ended else self.tokens[:max_tokens])


def repeated_run(tokens: Sequence[int]) -> int:
    """Tokens of the shortest run that the text ends in `MAX_REPEATS` times more than once, or 0."""
    # The shortest first: "no no no no" is a run of one, not of two.
    for width in range(1, MAX_RUN_TOKENS + 1):
        need = width * (MAX_REPEATS + 1)
        if len(tokens) >= need:
            tail = list(tokens[-need:])
            if tail == tail[:width] * (MAX_REPEATS + 1):
                return width
    return 0


def _rows(out: DecoderOutput, first: int, end: int, n_frames: int) -> mx.array | None:
    return None if out.cross_qk is None else out.cross_qk[:, first:end, :n_frames]


def _stack(rows: Sequence[mx.array | None], n_tokens: int, n_frames: int) -> mx.array:
    """Join score rows, one for every text token (the row that predicted it)."""
    present = [row for row in rows if row is not None]
    if not present:
        return mx.zeros((0, n_tokens, n_frames))
    return mx.concatenate(present, axis=1)[:, :n_tokens]


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """The most probable language of some audio."""

    language: str
    """A Whisper language code."""
    probability: float
    """Among the languages that the model knows."""
    no_speech_prob: float
    """Probability that nobody speaks in the audio, where the language is worth nothing."""


def detect_language(model: WhisperModel, cross: CrossKeys) -> DetectedLanguage:
    """Detect the language of encoded audio by one decoder call on <|sot|>."""
    tokenizer = model.tokenizer
    out = model.decoder(mx.array([tokenizer.sot]), cross)
    probabilities = np.array(mx.softmax(model.decoder.logits(out.hidden)[0]))
    codes = list(tokenizer.languages)
    known = probabilities[[tokenizer.languages[code] for code in codes]]
    best = int(known.argmax())
    return DetectedLanguage(
        language=codes[best],
        probability=float(known[best] / known.sum()),
        no_speech_prob=float(probabilities[tokenizer.no_speech]),
    )


def attended(
    scores: mx.array, *, since: int = 0, smoothing: int = MEDIAN_WIDTH
) -> NDArray[np.int64]:
    """Most attended frames of a decoder's scores, as `alignatt.attended_frames` finds them.

    On a GPU the statistics over all tokens are computed there, where the scores are: the rows of
    new tokens alone come back.
    """
    if mx.default_device() == mx.Device(mx.cpu):
        return attended_frames(np.array(scores), since=since, smoothing=smoothing)
    return attended_on_device(scores, since=since, smoothing=smoothing)


def attended_on_device(scores: mx.array, *, since: int, smoothing: int) -> NDArray[np.int64]:
    """The same, with MLX's operations before the median filter."""
    weights = mx.softmax(scores, axis=-1)
    if not smoothing or weights.shape[1] == 1:
        return peaks(np.array(weights[:, since:]), smoothing=0)
    weights = weights - weights.mean(axis=1, keepdims=True)
    deviation = mx.sqrt(mx.square(weights).mean(axis=1, keepdims=True))
    return peaks(np.array(weights[:, since:] / (deviation + 1e-6)), smoothing=smoothing)
