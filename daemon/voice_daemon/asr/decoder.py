"""Whisper's text decoder as an MLX module.

Owns its arithmetic and nothing else: caches are passed in and returned, no module keeps state
between calls. Knows nothing of files, tokens' meaning or streaming.

The maths is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (arXiv 2212.04356): pre-norm transformer blocks with learned positions, which
attend to the encoded audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
from mlx import nn

from voice_daemon.asr.attention import MultiHeadAttention, head_scores
from voice_daemon.asr.cpu_kernels import gelu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_daemon.asr.attention import KeyValue
    from voice_daemon.asr.checkpoints.load import ModelDimensions


class DecoderBlock(nn.Module):
    """One pre-norm decoder layer: causal self-attention, cross-attention, perceptron."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        self.cross_attn = MultiHeadAttention(n_state, n_head)
        self.cross_attn_ln = nn.LayerNorm(n_state)
        self.mlp1 = nn.Linear(n_state, 4 * n_state)
        self.mlp2 = nn.Linear(4 * n_state, n_state)
        self.mlp_ln = nn.LayerNorm(n_state)

    def __call__(
        self,
        x: mx.array,
        past: KeyValue | None,
        cross: KeyValue,
        *,
        cross_mask: mx.array | None,
        heads: mx.array | None,
    ) -> tuple[mx.array, KeyValue, mx.array | None]:
        """(1, L, C) -> (1, L, C), the grown self-attention cache, the heads' cross scores."""
        h = self.attn_ln(x)
        k, v = self.attn.project(h)
        if past is not None:
            k = mx.concatenate([past[0], k], axis=2)
            v = mx.concatenate([past[1], v], axis=2)
        mask = "causal" if x.shape[1] > 1 else None
        x = x + self.attn.attend(self.attn.split(self.attn.query(h)), (k, v), mask=mask)
        q = self.cross_attn.split(self.cross_attn.query(self.cross_attn_ln(x)))
        x = x + self.cross_attn.attend(q, cross, mask=cross_mask)
        x = x + self.mlp2(gelu(self.mlp1(self.mlp_ln(x))))
        scores = None if heads is None else head_scores(q, cross[0], heads)
        return x, (k, v), scores


@dataclass(frozen=True, slots=True)
class CrossKeys:
    """Encoded audio as the decoder attends to it."""

    layers: tuple[KeyValue, ...]
    """Keys and values a decoder layer, (1, H, n_keys, D); audio first, silence after it."""
    mask: mx.array | None = None
    """(1, 1, 1, n_keys), added to the scores; None where every key stands for one frame."""


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """What one decoder call returns."""

    hidden: mx.array
    """(1, L, C) after the last layer norm; `TextDecoder.logits` turns it into logits."""
    cache: tuple[KeyValue, ...]
    """Self-attention keys and values a layer, grown by L tokens."""
    cross_qk: mx.array | None
    """(n_alignment_heads, L, n_frames) float32 scores before the softmax, or None."""


class TextDecoder(nn.Module):
    """Tokens and encoded audio -> logits, with an explicit cache."""

    def __init__(
        self, dims: ModelDimensions, alignment_heads: Sequence[tuple[int, int]] = ()
    ) -> None:
        super().__init__()
        width = dims.n_text_state
        self.token_embedding = nn.Embedding(dims.n_vocab, width)
        self.positional_embedding = mx.zeros((dims.n_text_ctx, width))
        self.blocks = [DecoderBlock(width, dims.n_text_head) for _ in range(dims.n_text_layer)]
        self.ln = nn.LayerNorm(width)
        self._heads = [
            mx.array(sorted(head for layer, head in alignment_heads if layer == index))
            if any(layer == index for layer, _ in alignment_heads)
            else None
            for index in range(dims.n_text_layer)
        ]

    def cross_keys(self, audio: mx.array) -> CrossKeys:
        """Cross-attention keys and values of encoded audio (1, T, C), a layer each."""
        return CrossKeys(tuple(block.cross_attn.project(audio) for block in self.blocks))

    def __call__(
        self,
        tokens: mx.array,
        cross: CrossKeys,
        *,
        cache: Sequence[KeyValue] | None = None,
    ) -> DecoderOutput:
        """(L,) token ids after `cache` -> hidden states, the grown cache, alignment scores.

        The alignment heads' scores come back in (layer, head) order. Raises ValueError past
        the model's text context.
        """
        offset = 0 if cache is None else cache[0][0].shape[2]
        length = tokens.shape[0]
        if offset + length > self.positional_embedding.shape[0]:
            raise ValueError(f"{offset + length} tokens exceed the decoder's context")
        x = self.token_embedding(tokens) + self.positional_embedding[offset : offset + length]
        x = x[None]
        grown, scores = [], []
        for index, block in enumerate(self.blocks):
            past = None if cache is None else cache[index]
            x, layer, qk = block(
                x, past, cross.layers[index], cross_mask=cross.mask, heads=self._heads[index]
            )
            grown.append(layer)
            if qk is not None:
                scores.append(qk)
        cross_qk = mx.concatenate(scores, axis=0) if scores else None
        return DecoderOutput(self.ln(x), tuple(grown), cross_qk)

    def logits(self, hidden: mx.array) -> mx.array:
        """(1, L, C) -> (L, n_vocab) float32: the vocabulary projection is the embedding."""
        logits: mx.array = self.token_embedding.as_linear(hidden)[0]
        return logits.astype(mx.float32)
