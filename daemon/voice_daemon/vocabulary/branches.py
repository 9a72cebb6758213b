"""Many continuations of one text in few calls of Whisper's decoder.

The continuations are a tree whose trunk is the text. A call reads any number of new tokens over
one set of cross-attention keys, so that the audio's keys and the weights are read once for all of
them; a mask lets each attend to the tokens that it continues, and to no others.
"""

from collections.abc import Collection, Sequence

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.blocks import KeyValue, in_time
from voice_daemon.asr.cpu_kernels import gelu
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.model import CrossKeys, TextDecoder
from voice_daemon.asr.sampler import LogProbs
from voice_daemon.asr.shapes import CACHE_KEYS, HIDDEN, rounded_up, row_bucket


class BranchingDecoder:
    """Reads texts as trunks of trees."""

    def __init__(self, model: WhisperModel, logprobs: LogProbs | None = None) -> None:
        """`logprobs`: the projection as the model's greedy decoder computes it, if it is there."""
        self.decoder: TextDecoder = model.decoder
        self.logprobs: LogProbs = logprobs or self._by_device

    def read(
        self,
        cross: CrossKeys,
        opening: Sequence[int],
        tokens: Sequence[int],
        among: Collection[int] | None = None,
    ) -> "TokenTree":
        """Read a forced text in one call; `among` as in `TokenTree.grow`."""
        return TokenTree(self, cross, opening, tokens, among)

    def _by_device(
        self, hidden: mx.array, among: Collection[int] | None = None
    ) -> NDArray[np.float32]:
        del among
        scores = self.decoder.logits(hidden[None])
        return np.array(scores - mx.logsumexp(scores, axis=-1, keepdims=True))


class TokenTree:
    """A text and continuations of its beginnings.

    A place is where a next token is predicted: place k of the trunk is behind its first k tokens,
    and every token that is grown has the next free number.
    """

    def __init__(
        self,
        branching: BranchingDecoder,
        cross: CrossKeys,
        opening: Sequence[int],
        tokens: Sequence[int],
        among: Collection[int] | None,
    ) -> None:
        self._branching, self._cross = branching, cross
        decoder = branching.decoder
        out = decoder(mx.array([*opening, *tokens]), cross)
        self._layers: list[KeyValue] = [*out.cache.exact()]
        self._hidden = [out.hidden[0, len(opening) - 1 :]]
        self._seen = [tuple(range(len(opening) + k)) for k in range(len(tokens) + 1)]
        """Keys that each place attends to, in the order of their tokens."""
        self.trunk: NDArray[np.float32] = branching.logprobs(self._hidden[0], among)
        """(len(tokens) + 1, n_vocab) log-probabilities of what comes next."""

    @property
    def n_places(self) -> int:
        """Places so far."""
        return len(self._seen)

    def grow(
        self,
        tokens: Sequence[int],
        parents: Sequence[int],
        among: Collection[int] | None = None,
    ) -> NDArray[np.float32]:
        """Append each token to the text that ends at its parent's place, in one call for all.

        A parent may be a place of this call, if it stands before its child. Returns the
        (n, n_vocab) log-probabilities of what comes next, of the tokens `among` which that is.
        """
        decoder = self._branching.decoder
        n_rows, n_held = len(tokens), self._layers[0].shape[2]
        # Rows that only fill up the shape repeat the first one.
        n_spare = row_bucket(n_rows) - n_rows if decoder.few_shapes else 0
        for at, parent in enumerate(parents):
            self._seen.append((*self._seen[parent], n_held + at))
        seen = self._seen[-n_rows:]
        written = mx.array([*tokens, *[tokens[0]] * n_spare])
        places = mx.array([len(keys) - 1 for keys in seen] + [len(seen[0]) - 1] * n_spare)
        hidden = self._through_layers(written, places, self._mask(seen, n_held, n_spare))[:n_rows]
        self._hidden.append(hidden)
        return self._branching.logprobs(hidden, among)

    def logprobs(self, places: Sequence[int]) -> NDArray[np.float32]:
        """(n, n_vocab) of some places, over the whole vocabulary."""
        return self._branching.logprobs(mx.concatenate(self._hidden)[mx.array([*places])])

    def _mask(self, seen: Sequence[Sequence[int]], n_held: int, n_spare: int) -> mx.array:
        """(n_rows, n_keys) to add to the scores: what a row does not continue is hidden."""
        n_rows = len(seen) + n_spare
        mask = np.full((n_rows, self._n_keys(n_held + n_rows)), HIDDEN, dtype=np.float32)
        for row, keys in enumerate([*seen, *[seen[0]] * n_spare]):
            mask[row, list(keys)] = 0.0
        return mx.array(mask).astype(self._layers[0].dtype)

    def _n_keys(self, n_keys: int) -> int:
        """Keys of a call; few different numbers where each new one has a price."""
        few = self._branching.decoder.few_shapes
        return rounded_up(n_keys, CACHE_KEYS) if few else n_keys

    def _through_layers(self, tokens: mx.array, places: mx.array, mask: mx.array) -> mx.array:
        """(n,) tokens -> (n, C) hidden states; every layer keeps their keys."""
        decoder, n_keys = self._branching.decoder, mask.shape[1]
        x = (decoder.token_embedding(tokens) + decoder.positional_embedding[places])[None]
        audio = zip(decoder.blocks, self._cross.layers, strict=True)
        for at, (block, heard) in enumerate(audio):
            q, new = block.attn.project_all(block.attn_ln(x))
            self._layers[at] = in_time(self._layers[at], new)
            held = self._layers[at]
            n_blank = n_keys - held.shape[2]
            if n_blank:
                held = mx.pad(held, [(0, 0), (0, 0), (0, n_blank), (0, 0)])
            x = x + block.attn.attend(q, held, mask=mask)
            q = block.cross_attn.split(block.cross_attn.query(block.cross_attn_ln(x)))
            x = x + block.cross_attn.attend(q, heard, mask=self._cross.mask)
            x = x + block.mlp2(gelu(block.mlp1(block.mlp_ln(x))))
        hidden: mx.array = decoder.ln(x)[0]
        return hidden
