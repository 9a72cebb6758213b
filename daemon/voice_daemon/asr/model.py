"""Whisper's network as MLX modules: audio encoder and text decoder, with explicit caches.

Caches are passed in and returned, so that sessions share the weights and nothing else. The
encoder also runs on a part of the audio between cached keys of what lies before and after it.

The maths is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (arXiv 2212.04356): a two-layer convolutional stem on the log-mel spectrogram,
sinusoidal positions, pre-norm transformer blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from voice_daemon.asr.blocks import (
    DecoderBlock,
    EncoderBlock,
    KeyValue,
    first_keys,
    groups,
    in_time,
    written,
)
from voice_daemon.asr.checkpoints.load import ModelDimensions
from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.cpu_kernels import compiled, gelu
from voice_daemon.asr.shapes import CACHE_KEYS, HIDDEN, rounded_up, row_bucket
from voice_daemon.errors import AudioFormatError


@dataclass(frozen=True, slots=True)
class CrossKeys:
    """Encoded audio as the decoder attends to it."""

    joint: KeyValue
    """Of all decoder layers, (1, n_layers * 2 H, n_keys, D); audio first, silence after it."""
    n_layers: int
    mask: mx.array | None = None
    """(1, 1, 1, n_keys), added to the scores; None where every key stands for one frame."""

    @property
    def layers(self) -> list[KeyValue]:
        """Views of each layer's."""
        return [*mx.split(self.joint, self.n_layers, axis=1)]


@dataclass(frozen=True, slots=True)
class TextCache:
    """Self-attention keys and values of the tokens so far."""

    layers: Sequence[KeyValue]
    """With room, or with tokens that count no longer, behind those that do."""
    n_tokens: int

    def first(self, n_tokens: int) -> TextCache:
        """The cache of the first `n_tokens`."""
        return replace(self, n_tokens=n_tokens)

    def exact(self) -> tuple[KeyValue, ...]:
        """Every layer's, of the tokens alone."""
        return first_keys(self.layers, self.n_tokens)


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """Result of one decoder call over L tokens."""

    hidden: mx.array
    """(1, L, C) after the last layer norm; `TextDecoder.logits` turns it into logits."""
    cache: TextCache
    """Grown by L tokens."""
    cross_qk: mx.array | None
    """(n_alignment_heads, L or more, n_keys) float32 scores before the softmax, or None."""


class TextDecoder(nn.Module):
    """Tokens and encoded audio -> logits, with an explicit cache."""

    def __init__(
        self,
        dims: ModelDimensions,
        alignment_heads: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.few_shapes = False
        width = dims.n_text_state
        self.token_embedding = nn.Embedding(dims.n_vocab, width)
        self.positional_embedding = mx.zeros((dims.n_text_ctx, width))
        self.blocks = [DecoderBlock(width, dims.n_text_head) for _ in range(dims.n_text_layer)]
        self.ln = nn.LayerNorm(width)
        self._joint: tuple[mx.array, mx.array] | None = None
        self._heads = [
            mx.array(sorted(head for layer, head in alignment_heads if layer == index))
            if any(layer == index for layer, _ in alignment_heads)
            else None
            for index in range(dims.n_text_layer)
        ]

    def join(self) -> None:
        """Compute the cross-attention's keys and values of all layers in one product."""
        parts = [part for b in self.blocks for part in (b.cross_attn.key, b.cross_attn.value)]
        if any(type(part) is not nn.Linear for part in parts):
            return
        weight = mx.concatenate([part.weight for part in parts])
        bias = mx.concatenate([part.get("bias", mx.zeros(len(part.weight))) for part in parts])
        # Views of the one matrix, so that the weights are held once.
        for part, rows in zip(parts, mx.split(weight, len(parts)), strict=True):
            part.weight = rows
        self._joint = (weight.T, bias.astype(weight.dtype))
        mx.eval(self._joint, self.parameters())

    def keep_few_shapes(self) -> None:
        """Pad calls to the sizes of `shapes` from now on, and compile them; same results."""
        self.few_shapes = True
        n_positions, width = self.positional_embedding.shape
        dtype, heads = self.positional_embedding.dtype, self.blocks[0].attn.n_head
        # Views of these serve every call: each token's row hides what follows it.
        self._causal = mx.triu(mx.full((n_positions, n_positions), HIDDEN, dtype=dtype), k=1)
        self._blank = mx.zeros((1, 2 * heads, n_positions, width // heads), dtype=dtype)
        mx.eval(self._causal, self._blank)
        self._compiled = compiled(self._layers_in_rooms, dtype)

    def cross_keys(self, audio: mx.array) -> CrossKeys:
        """Cross-attention keys and values of encoded audio (1, T, C)."""
        return CrossKeys(self.cross_projection(audio), len(self.blocks))

    def cross_projection(self, audio: mx.array) -> KeyValue:
        """The same as one array: see `CrossKeys`."""
        if self._joint is None:
            return mx.concatenate([b.cross_attn.project(audio) for b in self.blocks], axis=1)
        weight, bias = self._joint
        split = self.blocks[0].cross_attn.split
        return split(mx.addmm(bias, audio, weight), 2 * len(self.blocks))

    def __call__(
        self, tokens: mx.array, cross: CrossKeys, *, cache: TextCache | None = None
    ) -> DecoderOutput:
        """(L,) token ids after `cache` -> hidden states, the grown cache, alignment scores.

        The alignment heads' scores come back in (layer, head) order. Raises ValueError past
        the model's text context.
        """
        offset = cache.n_tokens if cache else 0
        length, n_positions = tokens.shape[0], self.positional_embedding.shape[0]
        end = offset + length
        if end > n_positions:
            raise ValueError(f"{end} tokens exceed the decoder's context")
        if self.few_shapes:
            return self._read_in_rooms(tokens, cross, cache)
        past = cache.exact() if cache else [None] * len(self.blocks)
        hidden, cross_qk, grown = self._through_layers(
            self._embedded(tokens, offset),
            # One token may attend to all that came before it: there is nothing to hide from it.
            "causal" if length > 1 else None,
            [partial(in_time, kept) for kept in past],
            cross,
        )
        return DecoderOutput(hidden, TextCache(grown, end), cross_qk)

    def _embedded(self, tokens: mx.array, offset: int) -> mx.array:
        positions = self.positional_embedding[offset : offset + tokens.shape[0]]
        x: mx.array = self.token_embedding(tokens) + positions
        return x[None]

    def _through_layers(
        self,
        x: mx.array,
        mask: mx.array | str | None,
        contexts: Sequence[Callable[[KeyValue], KeyValue]],
        cross: CrossKeys,
    ) -> tuple[mx.array, mx.array | None, list[KeyValue]]:
        """(1, L, C) -> hidden states, the alignment heads' scores, a cache for each layer."""
        grown, scores = [], []
        layers = zip(self.blocks, contexts, cross.layers, self._heads, strict=True)
        for block, context, audio, heads in layers:
            x, cached, qk = block(x, context, audio, mask=mask, cross_mask=cross.mask, heads=heads)
            grown.append(cached)
            if qk is not None:
                scores.append(qk)
        return self.ln(x), mx.concatenate(scores) if scores else None, grown

    def _read_in_rooms(
        self, tokens: mx.array, cross: CrossKeys, cache: TextCache | None
    ) -> DecoderOutput:
        """Read tokens in few shapes and compiled, their keys written into each layer's buffer."""
        offset = cache.n_tokens if cache else 0
        length, n_positions = tokens.shape[0], self.positional_embedding.shape[0]
        rows = row_bucket(length, most=n_positions - offset)
        n_held = cache.layers[0].shape[2] if cache else 0
        n_keys = max(n_held, min(rounded_up(offset + rows, CACHE_KEYS), n_positions))
        mask, at = self._causal[offset : offset + rows, :n_keys], mx.array([offset])
        x, cross_qk, grown = self._compiled(
            # Padding stands behind the tokens, where the causal mask hides it from all of them.
            self._embedded(mx.pad(tokens, (0, rows - length)), offset),
            mask,
            at,
            self._rooms(cache, n_keys),
            cross.joint,
            cross.mask,
        )
        hidden = x[:, :length]
        # Started, not waited for: a GPU is done with the scores by the time of the token.
        mx.async_eval(hidden, *([] if cross_qk is None else [cross_qk]))
        return DecoderOutput(hidden, TextCache(grown, offset + length), cross_qk)

    def _layers_in_rooms(
        self, x: mx.array, mask: mx.array, at: mx.array, buffers: Sequence[KeyValue], *audio: Any
    ) -> tuple[mx.array, mx.array | None, list[KeyValue]]:
        joint, cross_mask = audio
        contexts = [partial(written, buffer, at) for buffer in buffers]
        cross = CrossKeys(joint, len(self.blocks), cross_mask)
        return self._through_layers(x, mask, contexts, cross)

    def _rooms(self, cache: TextCache | None, n_keys: int) -> Sequence[KeyValue]:
        """Room for `n_keys` tokens in every layer; what lies behind those that count is hidden."""
        if cache is None:
            return [self._blank[:, :, :n_keys]] * len(self.blocks)
        n_more = n_keys - cache.layers[0].shape[2]
        if not n_more:
            return cache.layers
        more = self._blank[:, :, :n_more]
        return [in_time(layer, more) for layer in cache.layers]

    def logits(self, hidden: mx.array) -> mx.array:
        """(1, L, C) -> (L, n_vocab) float32: the vocabulary projection is the embedding."""
        # float32 whatever the weights: probabilities of half precision tie and reorder tokens.
        logits: mx.array = self.token_embedding.as_linear(hidden)[0]
        return logits.astype(mx.float32)


class AudioEncoder(nn.Module):
    """Log-mel frames -> encoder frames of 20 ms."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        width = dims.n_audio_state
        self.conv1 = nn.Conv1d(dims.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.blocks = [EncoderBlock(width, dims.n_audio_head) for _ in range(dims.n_audio_layer)]
        self.ln_post = nn.LayerNorm(width)
        self._n_mels = dims.n_mels
        self._positions = mx.array(sinusoids(dims.n_audio_ctx, width))

    def __call__(self, mel: mx.array) -> mx.array:
        """(B, n_frames, n_mels) -> (B, ceil(n_frames / 2), C): the reference path.

        Whisper was trained on 3000 mel frames (30 s, zero-padded): pass that many. Raises
        `AudioFormatError` for another shape.
        """
        if mel.ndim != 3 or mel.shape[2] != self._n_mels:
            raise AudioFormatError(
                "audio.not_mel",
                f"the encoder takes log-mel frames (batch, n_frames, {self._n_mels}), "
                f"not {mel.shape}",
                remedy="make them of samples: log_mel_spectrogram(samples, n_mels)[None]",
            )
        return self.with_keys(mel)[0]

    def with_keys(self, mel: mx.array) -> tuple[mx.array, tuple[KeyValue, ...]]:
        """Encode as `__call__` does, and give every layer's keys and values too."""
        x = gelu(self.conv2(gelu(self.conv1(mel))))
        x = x + self._positions[: x.shape[1]].astype(x.dtype)
        keys_values = []
        for block in self.blocks:
            x, layer = block(x)
            # A layer at a time: the graph of all of them would hold every layer's activations.
            mx.eval(x, layer)
            keys_values.append(layer)
        return self.ln_post(x), tuple(keys_values)

    def with_context(
        self,
        mel: mx.array,
        contexts: Sequence[Callable[[KeyValue], KeyValue]],
        mask: mx.array,
        *,
        first: int,
        behind: mx.array | None = None,
    ) -> Steps[tuple[mx.array, list[KeyValue]]]:
        """Encode T frames from `first` on, among cached keys of [0, first) and of silence.

        `contexts` puts a layer's new keys among those, and `mask` (1, 1, 1, n_keys) is added to
        all scores. A step for each group of layers; the result is the frames (1, T, C) after the
        last layer norm and every layer's keys and values, those of the context too.

        `mel` is (1, 2 * (T + 2), n_mels) from mel frame `2 * (first - 1)` on, or (1, 2 * (T + 1),
        n_mels) from 0 when `first` is 0: the neighbours make the convolutions exact. `behind` are
        more frames, (1, n, C) as `silent_frames` gives them.
        """
        x = self._stem(mel, self._positions_from(first, mel), 1 if first else 0)
        if behind is not None:
            x = mx.concatenate([x, behind], axis=1)
        keys_values: list[KeyValue] = []
        for span in groups(len(self.blocks)):
            for block in self.blocks[span]:
                x, layer = block.with_context(x, contexts[len(keys_values)], mask)
                keys_values.append(layer)
                # Started, not waited for: the next layer's graph is built meanwhile.
                mx.async_eval(x, layer)
            yield
        return self.ln_post(x), keys_values

    def in_rooms(
        self, mel: mx.array, buffers: list[KeyValue], mask: mx.array, *, first: int
    ) -> Steps[tuple[mx.array, list[KeyValue]]]:
        """The same, compiled, with the new keys written into each layer's buffer at `first`.

        Takes `buffers` away.
        """
        at = mx.array([first])
        x = self._compiled_stem(mel, self._positions_from(first, mel), 1 if first else 0)
        keys_values: list[KeyValue] = []
        for span, run in self._compiled_groups:
            # Popped, so that nobody holds a buffer that is written to.
            x, grown = run(x, mask, at, [buffers.pop(0) for _ in self.blocks[span]])
            mx.async_eval(x, grown)
            keys_values += grown
            yield
        return self.ln_post(x), keys_values

    def silent_frames(self, silence: mx.array, places: Sequence[int]) -> mx.array:
        """Frames of silence at some places of the window -> (1, n, C), before the first layer.

        The last of `places` is the window's last frame, whose convolutions reach beyond it; the
        others differ in their positions alone. `silence` is (1, 8 or more, n_mels).
        """
        x = self._convolved(silence)
        plain = mx.broadcast_to(x[:, -2:-1], (1, len(places) - 1, x.shape[2]))
        positions = self._positions[mx.array([*places])].astype(x.dtype)
        return mx.concatenate([plain, x[:, -1:]], axis=1) + positions

    def keep_few_shapes(self) -> None:
        """Compile the layers, for calls of few shapes."""
        dtype = self.conv1.weight.dtype
        self._compiled_stem = compiled(self._stem, dtype)
        self._compiled_groups = [
            (span, compiled(partial(_in_rooms, self.blocks[span]), dtype))
            for span in groups(len(self.blocks))
        ]

    def _positions_from(self, first: int, mel: mx.array) -> mx.array:
        n_frames = mel.shape[1] // 2 - (2 if first else 1)
        return self._positions[first : first + n_frames]

    def _stem(self, mel: mx.array, positions: mx.array, margin: int) -> mx.array:
        """(1, n, n_mels) -> (1, T, C): its kernels reach `margin` frames before, and one after."""
        x = self._convolved(mel)
        return x[:, margin:-1] + positions.astype(x.dtype)

    def _convolved(self, mel: mx.array) -> mx.array:
        return gelu(self.conv2(gelu(self.conv1(mel.astype(self.conv1.weight.dtype)))))


def _in_rooms(
    blocks: Sequence[EncoderBlock],
    x: mx.array,
    mask: mx.array,
    at: mx.array,
    buffers: Sequence[KeyValue],
) -> tuple[mx.array, list[KeyValue]]:
    """Run (1, T, C) through some layers, with new keys in their buffers from `at` on."""
    grown = []
    for block, buffer in zip(blocks, buffers, strict=True):
        x, layer = block.with_context(x, partial(written, buffer, at), mask)
        grown.append(layer)
    return x, grown


def join_products(encoder: AudioEncoder, decoder: TextDecoder) -> None:
    """Compute what is computed of the same array in one product: see `MultiHeadAttention.join`."""
    decoder.join()
    for block in (*encoder.blocks, *decoder.blocks):
        block.attn.join()


def suit_gpu(encoder: AudioEncoder, decoder: TextDecoder) -> None:
    """Make a loaded model dispatch less and keep to few shapes, with the same results.

    Where each operation and each new shape has a price; a CPU computes every shape at once.
    """
    join_products(encoder, decoder)
    encoder.keep_few_shapes()
    decoder.keep_few_shapes()


def sinusoids(length: int, channels: int) -> np.ndarray:
    """Whisper's encoder positions: (length, channels) float32, sines then cosines."""
    increment = math.log(10_000) / (channels // 2 - 1)
    inverse = np.exp(-increment * np.arange(channels // 2))
    angles = np.arange(length)[:, None] * inverse[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
