"""Google's speech embedding over a stream: log-mel frames, and one embedding every 80 ms.

The network is that of openWakeWord's `embedding_model.onnx` (a re-implementation of Google's
speech_embedding, Lin et al., "Training Keyword Spotters with Limited and Synthesized Speech
Data", 2020): convolutions over time and frequency in turn. Over time they are valid ones, so a
window of 76 mel frames that moves on by 8 needs only what the 8 new frames change: each layer
keeps the last rows of its input. The result is the same as for the whole window.

Computed with numpy: the matrices are small, and the runtimes that the files are made for spend
more on eight times the work, or were wrong on some processors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.errors import ModelError
from voice_daemon.wake.onnx_weights import OnnxWeights, read_onnx_weights

WAKE_FRAME_SAMPLES: Final = 1280
"""80 ms: the step of openWakeWord's models."""
MEL_STEP: Final = 8
"""Mel frames in a wake frame."""
N_MELS: Final = 32
EMBEDDING_SIZE: Final = 96
WINDOW_STEPS: Final = 10
"""Wake frames that an embedding depends on: 76 mel frames, and the samples before them."""

_CONTEXT_SAMPLES: Final = 480
_FFT_SAMPLES: Final = 512
_HOP_SAMPLES: Final = 160
_FLOOR: Final = np.float32(1e-10)
_DYNAMIC_RANGE_DB: Final = np.float32(80)

_LEAK: Final = np.float32(0.2)
_LEAST: Final = np.float32(-0.4)
"""Each layer's activation: leaky, and never below this."""
_POOLS: Final = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
"""Convolution -> (time, frequency) pool after it. The stream begins where windows do, so the
pools' pairs are those of the windows."""
_KERNELS: Final = ((3, 3), *((1, 3), (3, 1)) * 9, (3, 1))
"""(time, frequency) kernel of each convolution."""


class MelSpectrogram:
    """Log-mel frames as openWakeWord's graph gives them, scaled as the embedding wants them."""

    def __init__(self, path: Path) -> None:
        """Take window and filters from openWakeWord's file; raises `ModelError`."""
        tensors = read_onnx_weights(path).tensors
        try:
            # The real part of a transform at 0 Hz is the window itself.
            self._window = tensors["0.stft.conv_real.weight"][0, 0]
            self._filters = tensors["1.melW"]
        except KeyError as error:
            raise _other_network(path, f"it has no {error}") from error
        n_bins = _FFT_SAMPLES // 2 + 1
        if self._window.shape != (_FFT_SAMPLES,) or self._filters.shape != (n_bins, N_MELS):
            raise _other_network(path, f"its filters are {self._filters.shape}")
        self.reset()

    def reset(self) -> None:
        """Forget all audio: silence came before."""
        self._context = np.zeros(_CONTEXT_SAMPLES, np.int16)

    def feed(self, frame: NDArray[np.int16]) -> NDArray[np.float32]:
        """(1280,) int16 samples -> (8, 32) mel frames."""
        audio = np.concatenate((self._context, frame)).astype(np.float32)
        self._context = frame[-_CONTEXT_SAMPLES:]
        windows = np.lib.stride_tricks.sliding_window_view(audio, _FFT_SAMPLES)[::_HOP_SAMPLES]
        spectrum = np.fft.rfft(windows * self._window)
        power = spectrum.real**2 + spectrum.imag**2
        mels = np.maximum(power @ self._filters, _FLOOR)
        decibels = 10 * np.log10(mels)
        # torchlibrosa's `top_db`, over one call as the graph has it.
        decibels = np.maximum(decibels, decibels.max() - _DYNAMIC_RANGE_DB)
        scaled: NDArray[np.float32] = (decibels / 10 + 2).astype(np.float32)
        return scaled


class _Convolution:
    """One layer over a stream: three taps over time or over frequency, then pool and activation.

    Arrays are (time, frequency, channels). What a tap over time needs of earlier steps is kept.
    `pool` comes before the activation: both only compare, so their order does not matter and
    there is less to compute.
    """

    def __init__(
        self,
        taps: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        *,
        over_time: bool,
        shape: tuple[int, int],
        pool: tuple[int, int],
    ) -> None:
        """`taps`: (3, in, out); `shape`: (time, frequency) of a step's input."""
        _, n_in, n_out = taps.shape
        rows, columns = shape
        self._pool = pool
        self._activates = bias is not None
        self._kept = np.zeros((2 if over_time else 0, columns, n_in), np.float32)
        # One product for all taps. A last input that is always 1 takes the bias; beyond the band
        # a tap over frequency sees zeros. Both are written once.
        patches = np.zeros((rows, columns, 3 * n_in + 1), np.float32)
        patches[:, :, -1] = 1
        tap_inputs = [patches[:, :, k * n_in : (k + 1) * n_in] for k in range(3)]
        self._copies = _over_time(tap_inputs) if over_time else _over_frequency(tap_inputs)
        self._old_copies = (
            [(tap[: 2 - k], self._kept[k : k + rows]) for k, tap in enumerate(tap_inputs[:2])]
            if over_time
            else []
        )
        self._patches = patches.reshape(rows * columns, -1)
        constant = np.zeros(n_out, np.float32) if bias is None else bias
        self._matrix = np.concatenate((taps.reshape(3 * n_in, n_out), constant[np.newaxis]))
        self._product = np.zeros((rows * columns, n_out), np.float32)
        self._output = self._product.reshape(rows, columns, n_out)

    def reset(self) -> None:
        """Forget all input."""
        self._kept[:] = 0

    def step(self, new: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next rows; the answer is overwritten by the next step."""
        for tap, kept in self._old_copies:
            tap[:] = kept
        for tap, place in self._copies:
            tap[:] = new[place]
        if self._old_copies:
            self._kept[:-1] = self._kept[1:]
            self._kept[-min(2, len(new)) :] = new[-2:]
        np.dot(self._patches, self._matrix, out=self._product)
        return self._activated(self._output)

    def _activated(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        rows, columns = self._pool
        if columns > 1:
            output = np.maximum(output[:, 0::2], output[:, 1::2])
        if rows > 1:
            output = np.maximum(output[0::2], output[1::2])
        if self._activates:
            output = np.maximum(output, output * _LEAK)
            np.maximum(output, _LEAST, out=output)
        return output


_Copies = list[tuple[NDArray[np.float32], tuple[slice, ...]]]
"""A tap's inputs, and which part of a step's new rows they are."""


def _over_time(taps: list[NDArray[np.float32]]) -> _Copies:
    """Row r of the output sees rows r - 2, r - 1 and r of the input."""
    rows = len(taps[0])
    return [(tap[2 - k :], (slice(0, rows - 2 + k),)) for k, tap in enumerate(taps) if rows + k > 2]  # noqa: PLR2004 - three taps


def _over_frequency(taps: list[NDArray[np.float32]]) -> _Copies:
    """Column f of the output sees columns f - 1, f and f + 1 of the input."""
    whole = slice(None)
    return [
        (taps[0][:, 1:], (whole, slice(0, -1))),
        (taps[1], (whole,)),
        (taps[2][:, :-1], (whole, slice(1, None))),
    ]


class StreamingEmbedding:
    """The embedding network over a stream of mel frames; 0.8 s pass before one is of them alone."""

    def __init__(self, path: Path) -> None:
        """Take the weights from openWakeWord's file; raises `ModelError` for another network."""
        weights = read_onnx_weights(path)
        try:
            self._layers = _build_layers(weights)
        except (KeyError, ValueError) as error:
            raise _other_network(path, str(error)) from error

    def reset(self) -> None:
        """Forget all mel frames."""
        for layer in self._layers:
            layer.reset()

    def feed(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(8, 32) mel frames -> (96,), the embedding of the newest 76."""
        first, *others = self._layers
        x = first.step(mels[:, np.newaxis]).reshape(MEL_STEP, N_MELS, -1)
        for layer in others:
            x = layer.step(x)
        embedding: NDArray[np.float32] = x.reshape(EMBEDDING_SIZE).copy()
        return embedding


def _build_layers(weights: OnnxWeights) -> list[_Convolution]:
    """Build the layers in order; raises `KeyError` or `ValueError` for another network."""
    nodes = [node for node in weights.nodes if node.op_type == "Conv"]
    kernels = tuple(weights.tensors[node.inputs[1]].shape[2:] for node in nodes)
    if kernels != _KERNELS:
        raise ValueError(f"its convolutions are {kernels}")
    shape = (MEL_STEP, N_MELS)
    layers = []
    for n, node in enumerate(nodes):
        pool = _POOLS.get(n, (1, 1))
        weight, *biases = (weights.tensors[name] for name in node.inputs[1:])
        bias = biases[0] if biases else None
        over_time = kernels[n][0] > 1
        if n == 0:
            taps = _banded(weight)
            layers.append(
                _Convolution(
                    taps,
                    None if bias is None else np.tile(bias, N_MELS),
                    over_time=True,
                    shape=(MEL_STEP, 1),
                    pool=pool,
                )
            )
            continue
        taps = np.squeeze(weight, axis=3 if over_time else 2).transpose(2, 1, 0)
        layers.append(_Convolution(taps, bias, over_time=over_time, shape=shape, pool=pool))
        shape = (shape[0] // pool[0], shape[1] // pool[1])
    return layers


def _banded(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(out, 1, 3, 3) -> (3, 32, 32 * out): taps over time alone, each a band over frequency."""
    n_out = weight.shape[0]
    band = np.zeros((3, N_MELS, N_MELS, n_out), np.float32)
    for offset in (-1, 0, 1):
        for column in range(max(0, -offset), N_MELS - max(0, offset)):
            band[:, column + offset, column] = weight[:, 0, :, offset + 1].T
    return band.reshape(3, N_MELS, N_MELS * n_out)


def _other_network(path: Path, why: str) -> ModelError:
    return ModelError(
        "wake.model_unusable",
        f"{path} is not the model that openwakeword 0.5.1 has: {why}",
        remedy="pip install --force-reinstall --no-deps openwakeword==0.5.1",
    )
