"""Many continuations of one beginning in one call of Whisper's decoder.

The hypotheses take the place of the sequence's positions over one set of cross-attention keys, so
that the audio's keys are read once for all of them; each has a row in the self-attention's cache.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.blocks import KeyValue, first_keys, in_time
from voice_daemon.asr.cpu_kernels import gelu
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.model import CrossKeys, TextDecoder
from voice_daemon.asr.sampler import LogProbs
from voice_daemon.asr.shapes import row_bucket

Caches = tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Branches:
    """Continuations of the same length."""

    caches: Caches
    """Self-attention keys and values a layer, each (B, 2 H, length, D)."""
    hidden: mx.array
    """(B, C) that the next tokens are predicted from."""
    logprobs: NDArray[np.float32]
    """(B, n_vocab) of them, for the tokens that were asked for."""


class BranchingDecoder:
    """Decodes a text at once, and then continuations of its beginnings."""

    def __init__(self, model: WhisperModel, logprobs: LogProbs | None = None) -> None:
        """`logprobs`: the projection as the model's greedy decoder computes it, if it is there."""
        self._decoder: TextDecoder = model.decoder
        self.logprobs: LogProbs = logprobs or self._by_device

    def read(
        self, cross: CrossKeys, opening: Sequence[int], tokens: Sequence[int]
    ) -> tuple[Caches, NDArray[np.float32]]:
        """Read a forced text -> its caches, and what comes next after each of its beginnings.

        The log-probabilities are (len(tokens) + 1, n_vocab), the first before the first token.
        """
        out = self._decoder(mx.array([*opening, *tokens]), cross)
        hidden = out.hidden[0, len(opening) - 1 :]
        return out.cache.exact(), self.logprobs(hidden)

    def step(
        self,
        cross: CrossKeys,
        tokens: Sequence[int],
        caches: Caches,
        parents: Sequence[int],
        among: Collection[int] | None = None,
    ) -> Branches:
        """Append a token to some rows of `caches`, in one call for all.

        `among`: the tokens that may come next, where not all do.
        """
        decoder, n_rows = self._decoder, len(tokens)
        place = caches[0].shape[2]
        # Rows that only fill up the shape repeat the first one.
        n_spare = row_bucket(n_rows) - n_rows if decoder.few_shapes else 0
        kept = mx.array([*parents, *[parents[0]] * n_spare])
        written = mx.array([*tokens, *[tokens[0]] * n_spare])
        x = (decoder.token_embedding(written) + decoder.positional_embedding[place])[:, None]
        grown: list[KeyValue] = []
        for block, cache, audio in zip(decoder.blocks, caches, cross.layers, strict=True):
            q, new = block.attn.project_all(block.attn_ln(x))  # (B, .., 1, D)
            grown.append(in_time(cache[kept], new))
            x = x + block.attn.attend(q, grown[-1])
            q = block.cross_attn.split(block.cross_attn.query(block.cross_attn_ln(x)))
            # (B, H, 1, D) -> (1, H, B, D): the hypotheses as queries of one sequence.
            heard = block.cross_attn.attend(q.transpose(2, 1, 0, 3), audio, mask=cross.mask)
            x = x + heard.transpose(1, 0, 2)
            x = x + block.mlp2(gelu(block.mlp1(block.mlp_ln(x))))
        hidden = decoder.ln(x)[:n_rows, 0]
        return Branches(tuple(grown), hidden, self.logprobs(hidden, among))

    def _by_device(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        del among
        scores = self._decoder.logits(hidden[None])
        return np.array(scores - mx.logsumexp(scores, axis=-1, keepdims=True))


def beginning(caches: Caches, length: int) -> Caches:
    """The caches of the first `length` tokens."""
    return first_keys(caches, length)


def together(a: Caches, b: Caches) -> Caches:
    """The rows of `b` behind those of `a`; all of one length."""
    return tuple(mx.concatenate([*pair]) for pair in zip(a, b, strict=True))
