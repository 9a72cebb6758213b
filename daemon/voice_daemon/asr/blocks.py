"""Attention and the layers of Whisper's encoder and decoder, with the caller's keys and values.

Pre-norm transformer blocks; attention is fused, and several projections are one product.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import mlx.core as mx
from mlx import nn

from voice_daemon.asr.cpu_kernels import attention, gelu

KeyValue = mx.array
"""Keys and values in one array, (B, 2 H, T, D): the keys of all heads, then their values."""
LAYER_GROUPS: Final = 4
"""Parts in which an encoder's layers are computed: a GPU begins with one while the next is
prepared, and long work goes by turns of one."""


def groups(n_layers: int) -> list[slice]:
    """The layers of each group."""
    size = -(-n_layers // LAYER_GROUPS)
    return [slice(first, min(first + size, n_layers)) for first in range(0, n_layers, size)]


def in_time(*parts: KeyValue | None) -> KeyValue:
    """Keys and values one behind the other."""
    return mx.concatenate([part for part in parts if part is not None], axis=2)


def between(past: KeyValue | None, after: KeyValue, new: KeyValue) -> KeyValue:
    """New keys and values between what lies before and after them."""
    return in_time(past, new, after)


def written(buffer: KeyValue, at: mx.array, new: KeyValue) -> KeyValue:
    """`buffer` with what stands from `at` (1,) on replaced: in place where nobody else holds it."""
    return mx.slice_update(buffer, new, at, axes=(2,))


def first_keys(layers: Sequence[KeyValue], end: int) -> tuple[KeyValue, ...]:
    """Views of the first `end` keys and values of every layer."""
    return tuple(layer[:, :, :end] for layer in layers)


class MultiHeadAttention(nn.Module):
    """Multi-head attention whose keys and values the caller may supply."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)
        self._joint: tuple[mx.array, mx.array] | None = None

    def __call__(self, x: mx.array, *, mask: str | None = None) -> tuple[mx.array, KeyValue]:
        """Self-attention over (B, T, C) alone -> ((B, T, C), its keys and values)."""
        q, keys_values = self.project_all(x)
        return self.attend(q, keys_values, mask=mask), keys_values

    def join(self) -> None:
        """Compute queries, keys and values in one product from now on, unless quantised."""
        parts = (self.query, self.key, self.value)
        if any(type(part) is not nn.Linear for part in parts):
            return
        weight = mx.concatenate([part.weight for part in parts])
        # Whisper's keys have no bias: zeros stand for it in the one product.
        bias = mx.concatenate([self.query.bias, mx.zeros_like(self.query.bias), self.value.bias])
        # Views, so that the weights are held once.
        self.query.weight, self.key.weight, self.value.weight = mx.split(weight, 3)
        self._joint = (weight.T, bias)
        mx.eval(self._joint, self.parameters())

    def split(self, x: mx.array, n_together: int = 1) -> mx.array:
        """(B, T, n C) -> (B, n H, T, D)."""
        batch, length, width = x.shape
        heads = n_together * self.n_head
        return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)

    def project_all(self, x: mx.array) -> tuple[mx.array, KeyValue]:
        """Queries (B, H, T, D) of (B, T, C), and its keys and values."""
        if self._joint is None:
            return self.split(self.query(x)), self.project(x)
        weight, bias = self._joint
        q, keys_values = mx.split(self.split(mx.addmm(bias, x, weight), 3), [self.n_head], axis=1)
        return q, keys_values

    def project(self, x: mx.array) -> KeyValue:
        """Keys and values of (B, T, C)."""
        return mx.concatenate([self.split(self.key(x)), self.split(self.value(x))], axis=1)

    def attend(
        self, q: mx.array, keys_values: KeyValue, *, mask: mx.array | str | None = None
    ) -> mx.array:
        """Fused attention of queries (B, H, L, D) over the given keys -> (B, L, C).

        An array `mask` is added to the scores before the softmax.
        """
        k, v = mx.split(keys_values, 2, axis=1)
        scale = 1.0 / math.sqrt(q.shape[-1])
        mixed = attention(q, k, v, scale=scale, mask=mask)
        batch, heads, length, depth = mixed.shape
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(batch, length, heads * depth))


def head_scores(q: mx.array, keys_values: KeyValue, heads: mx.array) -> mx.array:
    """Scaled attention scores before the softmax for some heads: -> (n_heads, L, T) float32.

    The fused attention returns no weights, so the few alignment heads are computed apart.
    """
    scale = 1.0 / math.sqrt(q.shape[-1])
    k = keys_values[0, heads].astype(mx.float32)
    return (q[0, heads] * scale).astype(mx.float32) @ k.swapaxes(1, 2)


class EncoderBlock(nn.Module):
    """One pre-norm encoder layer: self-attention, then a two-layer perceptron."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        self.mlp1 = nn.Linear(n_state, 4 * n_state)
        self.mlp2 = nn.Linear(4 * n_state, n_state)
        self.mlp_ln = nn.LayerNorm(n_state)

    def __call__(self, x: mx.array) -> tuple[mx.array, KeyValue]:
        """(B, T, C) -> (B, T, C) and the layer's keys and values."""
        attended, keys_values = self.attn(self.attn_ln(x))
        return self._perceptron(x + attended), keys_values

    def with_context(
        self, x: mx.array, context: Callable[[KeyValue], KeyValue], mask: mx.array
    ) -> tuple[mx.array, KeyValue]:
        """Run (B, T, C) with its keys put into a context.

        Returns the frames and all keys and values.
        """
        q, new = self.attn.project_all(self.attn_ln(x))
        everything = context(new)
        return self._perceptron(x + self.attn.attend(q, everything, mask=mask)), everything

    def _perceptron(self, x: mx.array) -> mx.array:
        """(B, T, C) -> (B, T, C): the second, residual half of the block."""
        return x + self.mlp2(gelu(self.mlp1(self.mlp_ln(x))))


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
        context: Callable[[KeyValue], KeyValue],
        cross: KeyValue,
        *,
        mask: mx.array | str | None,
        cross_mask: mx.array | None,
        heads: mx.array | None,
    ) -> tuple[mx.array, KeyValue, mx.array | None]:
        """(1, L, C) -> (1, L, C), the self-attention cache, the heads' cross scores.

        `context` puts the tokens' keys among those of the tokens before them.
        """
        q, new = self.attn.project_all(self.attn_ln(x))
        grown = context(new)
        x = x + self.attn.attend(q, grown, mask=mask)
        # Queries alone: the audio's keys and values were projected once, for all tokens.
        q = self.cross_attn.split(self.cross_attn.query(self.cross_attn_ln(x)))
        x = x + self.cross_attn.attend(q, cross, mask=cross_mask)
        x = x + self.mlp2(gelu(self.mlp1(self.mlp_ln(x))))
        scores = None if heads is None else head_scores(q, cross, heads)
        return x, grown, scores
