"""The attention that Whisper's encoder and decoder share, and the scores of single heads.

Keys and values come from the caller, so that they can be cached. Knows nothing of either side.
"""

from __future__ import annotations

import math

import mlx.core as mx
from mlx import nn

from voice_daemon.asr.cpu_kernels import attention

KeyValue = tuple[mx.array, mx.array]
"""Keys and values, each (B, H, T, D)."""


class MultiHeadAttention(nn.Module):
    """Multi-head attention whose keys and values the caller may supply."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def __call__(self, x: mx.array, *, mask: str | None = None) -> tuple[mx.array, KeyValue]:
        """Self-attention over (B, T, C) alone -> ((B, T, C), its keys and values)."""
        keys_values = self.project(x)
        return self.attend(self.split(self.query(x)), keys_values, mask=mask), keys_values

    def split(self, x: mx.array) -> mx.array:
        """(B, T, C) -> (B, H, T, D)."""
        batch, length, width = x.shape
        return x.reshape(batch, length, self.n_head, width // self.n_head).transpose(0, 2, 1, 3)

    def project(self, x: mx.array) -> KeyValue:
        """Keys and values of (B, T, C), each (B, H, T, D)."""
        return self.split(self.key(x)), self.split(self.value(x))

    def attend(
        self, q: mx.array, keys_values: KeyValue, *, mask: mx.array | str | None = None
    ) -> mx.array:
        """Fused attention of queries (B, H, L, D) over the given keys -> (B, L, C).

        An array `mask` is added to the scores before the softmax.
        """
        k, v = keys_values
        scale = 1.0 / math.sqrt(q.shape[-1])
        mixed = attention(q, k, v, scale=scale, mask=mask)
        batch, heads, length, depth = mixed.shape
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(batch, length, heads * depth))


def head_scores(q: mx.array, k: mx.array, heads: mx.array) -> mx.array:
    """Scaled attention scores before the softmax for some heads: -> (n_heads, L, T) float32.

    The fused attention returns no weights, so the few alignment heads are computed apart.
    """
    scale = 1.0 / math.sqrt(q.shape[-1])
    return (q[0, heads] * scale).astype(mx.float32) @ k[0, heads].astype(mx.float32).swapaxes(1, 2)
