"""Whisper's network as MLX modules: audio encoder and text decoder, with explicit caches.

Caches are passed in and returned, so that sessions share the weights and nothing else. The
encoder also runs on a part of the audio between cached keys of what lies before and after it.

The maths is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (arXiv 2212.04356): a two-layer convolutional stem on the log-mel spectrogram,
sinusoidal positions, pre-norm transformer blocks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx import nn

from voice_daemon.asr.checkpoints.load import ModelDimensions
from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.cpu_kernels import attention, gelu
from voice_daemon.asr.shapes import CACHE_KEYS, HIDDEN, rounded_up, row_bucket
from voice_daemon.errors import AudioFormatError

KeyValue = tuple[mx.array, mx.array]
"""Keys and values, each (B, H, T, D)."""


def in_time(*parts: KeyValue | None) -> KeyValue:
    """Keys and values one behind the other."""
    keys, values = zip(*(part for part in parts if part is not None), strict=True)
    return mx.concatenate(list(keys), axis=2), mx.concatenate(list(values), axis=2)


def blank(like: KeyValue, n_keys: int) -> KeyValue:
    """`n_keys` keys and values of zeros."""
    batch, heads, _, depth = like[0].shape
    nothing = mx.zeros((batch, heads, n_keys, depth), dtype=like[0].dtype)
    return nothing, nothing


def between(past: KeyValue | None, after: KeyValue, new: KeyValue) -> KeyValue:
    """New keys and values between what lies before and after them."""
    return in_time(past, new, after)


def placed_in_last(rooms: list[KeyValue], first: int, new: KeyValue) -> KeyValue:
    """The last of `rooms`, which goes, with keys and values from `first` on replaced."""
    room = rooms.pop()

    def place(old: mx.array, part: mx.array) -> mx.array:
        changed = old[...]  # another handle on it: assigning changes the handle, not the array
        changed[:, :, first : first + part.shape[2]] = part
        return changed

    return place(room[0], new[0]), place(room[1], new[1])


def first_keys(layers: Sequence[KeyValue], end: int) -> tuple[KeyValue, ...]:
    """Views of the first `end` keys and values of every layer."""
    return tuple((k[:, :, :end], v[:, :, :end]) for k, v in layers)


def keys_from(layers: Sequence[KeyValue], first: int) -> tuple[KeyValue, ...]:
    """Views of the keys and values of every layer from `first` on."""
    return tuple((k[:, :, first:], v[:, :, first:]) for k, v in layers)


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
        """Queries, keys and values of (B, T, C), each (B, H, T, D)."""
        if self._joint is None:
            return self.split(self.query(x)), self.project(x)
        weight, bias = self._joint
        q, k, v = mx.split(self.split(mx.addmm(bias, x, weight), 3), 3, axis=1)
        return q, (k, v)

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
        spare: KeyValue | None,
        mask: mx.array | str | None,
        cross_mask: mx.array | None,
        heads: mx.array | None,
    ) -> tuple[mx.array, KeyValue, mx.array | None]:
        """(1, L, C) -> (1, L, C), the grown self-attention cache, the heads' cross scores.

        The cache is filled up with `spare`, which an array `mask` hides.
        """
        q, new = self.attn.project_all(self.attn_ln(x))
        grown = in_time(past, new, spare)
        x = x + self.attn.attend(q, grown, mask=mask)
        q = self.cross_attn.split(self.cross_attn.query(self.cross_attn_ln(x)))
        x = x + self.cross_attn.attend(q, cross, mask=cross_mask)
        x = x + self.mlp2(gelu(self.mlp1(self.mlp_ln(x))))
        scores = None if heads is None else head_scores(q, cross[0], heads)
        return x, grown, scores


@dataclass(frozen=True, slots=True)
class CrossKeys:
    """Encoded audio as the decoder attends to it."""

    layers: tuple[KeyValue, ...]
    """Keys and values a decoder layer, (1, H, n_keys, D); audio first, silence after it."""
    mask: mx.array | None = None
    """(1, 1, 1, n_keys), added to the scores; None where every key stands for one frame."""


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """Result of one decoder call over L tokens."""

    hidden: mx.array
    """(1, L, C) after the last layer norm; `TextDecoder.logits` turns it into logits."""
    cache: tuple[KeyValue, ...]
    """Self-attention keys and values a layer, grown by L tokens."""
    cross_qk: mx.array | None
    """(n_alignment_heads, L, n_frames) float32 scores before the softmax, or None."""


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
        self._heads = [
            mx.array(sorted(head for layer, head in alignment_heads if layer == index))
            if any(layer == index for layer, _ in alignment_heads)
            else None
            for index in range(dims.n_text_layer)
        ]

    def keep_few_shapes(self) -> None:
        """Pad calls to the sizes of `shapes` from now on, with the same results."""
        self.few_shapes = True
        n_positions, width = self.positional_embedding.shape
        dtype, heads = self.positional_embedding.dtype, self.blocks[0].attn.n_head
        # Views of these serve every call: each token's row hides what follows it.
        self._causal = mx.triu(mx.full((n_positions, n_positions), HIDDEN, dtype=dtype), k=1)
        nothing = mx.zeros((1, heads, CACHE_KEYS, width // heads), dtype=dtype)
        self._blank = (nothing, nothing)
        mx.eval(self._causal, nothing)

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
        length, n_positions = tokens.shape[0], self.positional_embedding.shape[0]
        if offset + length > n_positions:
            raise ValueError(f"{offset + length} tokens exceed the decoder's context")
        # One token may attend to all that came before it: there is nothing to hide from it.
        mask: mx.array | str | None = "causal" if length > 1 else None
        spare = None
        if self.few_shapes:
            rows = row_bucket(length, most=n_positions - offset)
            n_keys = min(rounded_up(offset + rows, CACHE_KEYS), n_positions)
            tokens = mx.pad(tokens, (0, rows - length))
            mask = self._causal[offset : offset + rows, :n_keys]
            n_spare = n_keys - offset - rows
            spare = first_keys([self._blank], n_spare)[0] if n_spare else None
        x = self.token_embedding(tokens)
        x = (x + self.positional_embedding[offset : offset + tokens.shape[0]])[None]
        grown, scores = [], []
        for index, block in enumerate(self.blocks):
            x, layer, qk = block(
                x,
                None if cache is None else cache[index],
                cross.layers[index],
                spare=spare,
                mask=mask,
                cross_mask=cross.mask,
                heads=self._heads[index],
            )
            grown.append(layer)
            if qk is not None:
                scores.append(qk[:, :length])
        cross_qk = mx.concatenate(scores, axis=0) if scores else None
        hidden = self.ln(x)[:, :length]
        if self.few_shapes:
            # Started, not waited for: a GPU is done with the scores by the time of the token.
            mx.async_eval(hidden, *([] if cross_qk is None else [cross_qk]))
        return DecoderOutput(hidden, first_keys(grown, offset + length), cross_qk)

    def logits(self, hidden: mx.array) -> mx.array:
        """(1, L, C) -> (L, n_vocab) float32: the vocabulary projection is the embedding."""
        # float32 whatever the weights: probabilities of half precision tie and reorder tokens.
        logits: mx.array = self.token_embedding.as_linear(hidden)[0]
        return logits.astype(mx.float32)


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
    ) -> Steps[tuple[mx.array, tuple[KeyValue, ...]]]:
        """Encode T frames from `first` on, among cached keys of [0, first) and of silence.

        `contexts` puts a layer's new keys among those, and `mask` (1, 1, 1, n_keys) is added to
        all scores. A step for each layer; the result is the frames (1, T, C) after the last layer
        norm and every layer's keys and values, those of the context too.

        `mel` is (1, 2 * (T + 2), n_mels) from mel frame `2 * (first - 1)` on, or (1, 2 * (T + 1),
        n_mels) from 0 when `first` is 0: the neighbours make the convolutions exact.
        """
        # The stem's kernels reach one frame to either side: neighbours are computed and cut off.
        margin = 1 if first else 0
        x = gelu(self.conv2(gelu(self.conv1(mel))))[:, margin:-1]
        x = x + self._positions[first : first + x.shape[1]].astype(x.dtype)
        keys_values = []
        for block, context in zip(self.blocks, contexts, strict=True):
            x, layer = block.with_context(x, context, mask)
            # Started, not waited for: the next layer's graph is built meanwhile.
            mx.async_eval(x, layer)
            keys_values.append(layer)
            yield
        return self.ln_post(x), tuple(keys_values)


def suit_gpu(encoder: AudioEncoder, decoder: TextDecoder) -> None:
    """Make a loaded model dispatch less and keep to few shapes, with the same results.

    Where each operation and each new shape has a price; a CPU computes every shape at once.
    """
    decoder.keep_few_shapes()
    for block in (*encoder.blocks, *decoder.blocks):
        block.attn.join()


def sinusoids(length: int, channels: int, max_timescale: float = 10_000.0) -> np.ndarray:
    """Whisper's encoder positions: (length, channels) float32, sines then cosines."""
    increment = math.log(max_timescale) / (channels // 2 - 1)
    inverse = np.exp(-increment * np.arange(channels // 2))
    angles = np.arange(length)[:, None] * inverse[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
