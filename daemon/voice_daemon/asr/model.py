"""Whisper's audio encoder as an MLX module, whole or beside a window of cached silence.

Owns its arithmetic and nothing else: caches are passed in and returned. Knows nothing of the
decoder, of files or of streaming.

The maths is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (arXiv 2212.04356): a two-layer convolutional stem on the log-mel spectrogram,
sinusoidal positions, pre-norm transformer blocks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from mlx import nn

from voice_daemon.asr.attention import MultiHeadAttention
from voice_daemon.asr.cooperative import at_once
from voice_daemon.asr.cpu_kernels import gelu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_daemon.asr.attention import KeyValue
    from voice_daemon.asr.checkpoints.load import ModelDimensions
    from voice_daemon.asr.cooperative import Steps


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

    def beside(
        self, x: mx.array, past: KeyValue | None, silence: KeyValue, mask: mx.array
    ) -> tuple[mx.array, KeyValue]:
        """Run (B, T, C) between earlier frames' keys and the silence's that follows.

        Returns the frames and the layer's keys and values of the past and these frames.
        """
        h = self.attn_ln(x)
        k, v = self.attn.project(h)
        if past is not None:
            k = mx.concatenate([past[0], k], axis=2)
            v = mx.concatenate([past[1], v], axis=2)
        everything = (
            mx.concatenate([k, silence[0]], axis=2),
            mx.concatenate([v, silence[1]], axis=2),
        )
        q = self.attn.split(self.attn.query(h))
        return self._perceptron(x + self.attn.attend(q, everything, mask=mask)), (k, v)

    def _perceptron(self, x: mx.array) -> mx.array:
        return x + self.mlp2(gelu(self.mlp1(self.mlp_ln(x))))


class AudioEncoder(nn.Module):
    """Log-mel frames -> encoder frames of 20 ms."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        width = dims.n_audio_state
        self.conv1 = nn.Conv1d(dims.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.blocks = [EncoderBlock(width, dims.n_audio_head) for _ in range(dims.n_audio_layer)]
        self.ln_post = nn.LayerNorm(width)
        self._positions = mx.array(sinusoids(dims.n_audio_ctx, width))

    def __call__(self, mel: mx.array) -> mx.array:
        """(B, n_frames, n_mels) -> (B, ceil(n_frames / 2), C): the reference path.

        Whisper was trained on 3000 mel frames (30 s, zero-padded): pass that many.
        """
        return self.with_keys(mel)[0]

    def with_keys(self, mel: mx.array) -> tuple[mx.array, tuple[KeyValue, ...]]:
        """As `__call__`, with every layer's keys and values."""
        return at_once(self.encoding(mel))

    def encoding(self, mel: mx.array) -> Steps[tuple[mx.array, tuple[KeyValue, ...]]]:
        """Do as `with_keys` does, in a step for each layer."""
        x = gelu(self.conv2(gelu(self.conv1(mel))))
        x = x + self._positions[: x.shape[1]].astype(x.dtype)
        keys_values = []
        for block in self.blocks:
            yield
            x, layer = block(x)
            mx.eval(x, layer)
            keys_values.append(layer)
        return self.ln_post(x), tuple(keys_values)

    def beside(
        self,
        mel: mx.array,
        past: Sequence[KeyValue] | None,
        silence: Sequence[KeyValue],
        mask: mx.array,
        *,
        first: int,
    ) -> Steps[tuple[mx.array, tuple[KeyValue, ...]]]:
        """Encode T frames from `first` on, after cached keys of [0, first), before silence's.

        `mel` is (1, 2 * (T + 2), n_mels) from mel frame `2 * (first - 1)` on, or (1, 2 * (T + 1),
        n_mels) from 0 when `first` is 0: the neighbours make the convolutions exact. `mask`
        (1, 1, 1, n_keys) is added to all scores. A step for each layer; the result is the frames
        (1, T, C) after the last layer norm and every layer's keys and values of [0, first + T).
        """
        margin = 1 if first else 0
        x = gelu(self.conv2(gelu(self.conv1(mel))))[:, margin:-1]
        x = x + self._positions[first : first + x.shape[1]].astype(x.dtype)
        keys_values = []
        for index, block in enumerate(self.blocks):
            earlier = None if past is None else past[index]
            x, layer = block.beside(x, earlier, silence[index], mask)
            mx.async_eval(x, layer)
            keys_values.append(layer)
            yield
        return self.ln_post(x), tuple(keys_values)


def sinusoids(length: int, channels: int, max_timescale: float = 10_000.0) -> np.ndarray:
    """Whisper's encoder positions: (length, channels) float32, sines then cosines."""
    increment = math.log(max_timescale) / (channels // 2 - 1)
    inverse = np.exp(-increment * np.arange(channels // 2))
    angles = np.arange(length)[:, None] * inverse[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
