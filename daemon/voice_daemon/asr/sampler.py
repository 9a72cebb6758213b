"""Samples the next token from hidden states, under Whisper's suppression rules.

Owns those rules and the choice of how the largest matrix of the model, the vocabulary
projection, is read.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol

import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

from voice_daemon.asr.cpu_kernels import compiled
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.shapes import sample_bucket

COMMON: Final = 8192
"""Tokens that most of a probability is on: the ids are in the order of frequency."""
UNSEEN: Final = -1e9
"""Log-probability of a token that was not looked at."""

Watched = tuple[tuple[int, int], ...]
"""Rows of the hidden states, and a token at each."""


class Sampled(NamedTuple):
    """The chosen tokens, one for each row asked for."""

    tokens: list[int]
    logprobs: list[float]
    watched: list[float]
    """Probabilities of the watched tokens, before any rule."""


class LogProbs(Protocol):
    """The projection of hidden states as log-probabilities: see `TokenSampler.logprobs`."""

    def __call__(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        """See `TokenSampler.logprobs`."""


class TokenSampler(Protocol):
    """Chooses greedily from hidden states."""

    def sample(
        self, hidden: mx.array, rows: Sequence[int], *, at_start: bool, watched: Watched = ()
    ) -> Sampled:
        """Choose at some rows of (1, L, C).

        `at_start` says that the first of the rows chooses the first token of the text. The
        probabilities of the `watched` come along.
        """

    def logprobs(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        """(n, C) hidden states -> (n, n_vocab) log-probabilities, before any rule.

        Where only some tokens matter, those `among` which they are, the others may be `UNSEEN`
        and these a little too probable: a large matrix need not be read whole.
        """


def token_sampler(model: WhisperModel) -> TokenSampler:
    """The sampler that suits the device and the weights."""
    never, at_start = _masks(model)
    plain = isinstance(model.decoder.token_embedding, nn.Embedding)
    if plain and model.dtype == mx.float32 and mx.default_device() == mx.Device(mx.cpu):
        # Quantised or half-size weights numpy would have to expand first.
        return NumpySampler(model.decoder.token_embedding.weight, never, at_start)
    return MlxSampler(model, never, at_start)


def _masks(model: WhisperModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whisper's suppression as additive masks (n_vocab,): for any token, for the first."""
    tokenizer = model.tokenizer
    never = np.zeros(model.dims.n_vocab, dtype=np.float32)
    # All that is numbered behind end-of-text is a special token or a timestamp, and no text.
    never[tokenizer.eot + 1 :] = -np.inf
    never[list(model.suppress_tokens)] = -np.inf
    # Whatever a model's own list says, a text must be able to end.
    never[tokenizer.eot] = 0.0
    at_start = never.copy()
    at_start[[*tokenizer.encode(" "), tokenizer.eot]] = -np.inf
    return never, at_start


class MlxSampler:
    """Samples on the device, with one synchronisation a call."""

    def __init__(
        self, model: WhisperModel, never: NDArray[np.float32], at_start: NDArray[np.float32]
    ) -> None:
        self._decoder = model.decoder
        self._never = mx.array(never)
        self._at_start = mx.array(at_start)
        mx.eval(self._never, self._at_start)
        self._choose = compiled(self._chosen, model.dtype)

    def sample(
        self, hidden: mx.array, rows: Sequence[int], *, at_start: bool, watched: Watched = ()
    ) -> Sampled:
        """See `TokenSampler`."""
        read = [*rows, *(row for row, _ in watched)]
        # -1: the best one is wanted.
        wanted = [-1] * len(rows) + [token for _, token in watched]
        # Rows that fill the size up; nobody looks at what is chosen there.
        spare = [0] * (sample_bucket(len(read)) - len(read) if self._decoder.few_shapes else 0)
        chosen = self._choose(
            hidden[:, mx.array(read + spare)], mx.array(wanted + spare), int(at_start)
        )
        mx.eval(chosen)
        tokens, logprobs = np.array(chosen)[:, : len(read)]
        return Sampled(
            tokens[: len(rows)].astype(int).tolist(),
            logprobs[: len(rows)].tolist(),
            np.exp(logprobs[len(rows) :]).tolist(),
        )

    def _chosen(self, hidden: mx.array, wanted: mx.array, at_start: int) -> mx.array:
        """(1, n, C) -> (2, n) float32: the tokens, those `wanted` or the best, and their logprobs.

        One array, as every transfer is a wait of its own.
        """
        logits = self._decoder.logits(hidden)
        allowed = logits + self._never
        if at_start:
            allowed = mx.concatenate([logits[:1] + self._at_start, allowed[1:]])
        tokens = mx.where(wanted < 0, mx.argmax(allowed, axis=-1), wanted)
        logprobs = mx.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
        return mx.stack([tokens.astype(mx.float32), logprobs - mx.logsumexp(logits, axis=-1)])

    def logprobs(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        """See `TokenSampler`; a GPU reads it whole as quickly."""
        del among
        logits = self._decoder.logits(hidden[None])
        return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


class NumpySampler:
    """The projection by numpy's BLAS on a transposed copy of the embedding.

    On a CPU a token costs what reading this matrix costs: MLX reads it three times as slowly
    for one row, and the untransposed layout twice as slowly.
    """

    def __init__(
        self,
        embedding: mx.array,
        never: NDArray[np.float32],
        at_start: NDArray[np.float32],
    ) -> None:
        self._rows = np.array(embedding, copy=False)
        self._table = np.ascontiguousarray(self._rows.T)
        self.never, self.at_start = never, at_start

    def sample(
        self, hidden: mx.array, rows: Sequence[int], *, at_start: bool, watched: Watched = ()
    ) -> Sampled:
        """See `TokenSampler`."""
        read = [*rows, *(row for row, _ in watched)]
        logits = self._logits(np.array(hidden[0])[read])
        sampled = Sampled([], [], [])
        for index, row in enumerate(logits[: len(rows)]):
            mask = self.at_start if at_start and index == 0 else self.never
            best = int((row + mask).argmax())
            sampled.tokens.append(best)
            # From the row as it is: what a rule forbids makes nothing else surer.
            sampled.logprobs.append(float(row[best]) - _total(row))
        for (_, token), row in zip(watched, logits[len(rows) :], strict=True):
            sampled.watched.append(float(np.exp(row[token] - _total(row))))
        return sampled

    def logprobs(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        """See `TokenSampler`."""
        rows = np.array(hidden, copy=False)
        if among is None:
            return _normalised(self._logits(rows))
        rare = np.array(sorted(token for token in among if token >= COMMON), dtype=np.intp)
        common = rows @ self._table[:, :COMMON]
        seen = _normalised(np.concatenate([common, rows @ self._rows[rare].T], axis=-1))
        found = np.full((len(rows), len(self._rows)), UNSEEN, dtype=np.float32)
        found[:, :COMMON], found[:, rare] = np.split(seen, [common.shape[-1]], axis=-1)
        return found

    def _logits(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_rows, C) -> (n_rows, n_vocab)."""
        logits: NDArray[np.float32] = hidden @ self._table
        return logits


def _normalised(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, k) logits -> log-probabilities, in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def _total(logits: NDArray[np.float32]) -> float:
    """Log of the sum of the exponentials of (n_vocab,)."""
    # Taken out first: exponentials of logits as they are overflow.
    top = logits.max()
    return float(top + np.log(np.exp(logits - top).sum()))
