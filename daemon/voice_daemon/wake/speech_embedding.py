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

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
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
_DYNAMIC_RANGE_BEL: Final = np.float32(8)

_LEAK: Final = np.array(0.2, np.float32)
_KNEE: Final = np.array(-2, np.float32)
"""Activation of all layers but the last: leaky, and flat below the knee."""
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
            filters = tensors["1.melW"]
        except KeyError as error:
            raise _other_network(path, f"it has no {error}") from error
        n_bins = _FFT_SAMPLES // 2 + 1
        if self._window.shape != (_FFT_SAMPLES,) or filters.shape != (n_bins, N_MELS):
            raise _other_network(path, f"its filters are {filters.shape}")
        # Of the real parts and of the imaginary ones, which lie beside one another.
        self._filters = np.repeat(filters, 2, axis=0)
        self._audio = np.zeros(_CONTEXT_SAMPLES + WAKE_FRAME_SAMPLES, np.float32)
        self._windows = sliding_window_view(self._audio, _FFT_SAMPLES)[::_HOP_SAMPLES]

    def reset(self) -> None:
        """Forget all audio: silence came before."""
        self._audio[:] = 0

    def feed(self, frame: NDArray[np.int16]) -> NDArray[np.float32]:
        """(1280,) int16 samples -> (8, 32) mel frames."""
        self._audio[:_CONTEXT_SAMPLES] = self._audio[-_CONTEXT_SAMPLES:]
        self._audio[_CONTEXT_SAMPLES:] = frame
        parts = np.fft.rfft(self._windows * self._window).view(np.float32)
        np.square(parts, out=parts)
        # 10 dB are 1, as the embedding wants it.
        bels: NDArray[np.float32] = np.log10(np.maximum(parts @ self._filters, _FLOOR))
        # torchlibrosa's `top_db`, over one call as the graph has it.
        np.maximum(bels, bels.max() - _DYNAMIC_RANGE_BEL, out=bels)
        bels += 2
        return bels


class _Scratch:
    """Arrays that layers of one shape share: what stays in the processor's cache costs least."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, tuple[int, ...]], NDArray[np.float32]] = {}

    def __call__(self, use: str, *shape: int) -> NDArray[np.float32]:
        """Give the array for a use, of ones where it is new."""
        return self._arrays.setdefault((use, shape), np.ones(shape, np.float32))


class _Layer:
    """One convolution over a stream, as calls of numpy whose arrays are all there beforehand.

    Arrays are (time, frequency, channels). New rows are written behind those that are kept of
    earlier steps, and between zeros beyond the band; there one copy finds every patch. The pool
    comes before the activation: both only compare, so their order does not matter and there is
    less to compute.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        shape: tuple[int, int],
        pool: tuple[int, int],
        scratch: _Scratch,
    ) -> None:
        """`weight`: (out, in, time, frequency); `shape`: (time, frequency) of a step's input."""
        self._scratch = scratch
        n_out, n_in, n_times, n_bands = weight.shape
        rows, columns = shape
        self.kept = np.zeros((rows + n_times - 1, columns + n_bands - 1, n_in), np.float32)
        side = n_bands // 2
        self.input = self.kept[n_times - 1 :, side : side + columns]
        # One product for all taps. A last input that is always 1 takes the bias.
        patches = scratch("patches", rows, columns, n_times * n_bands * n_in + 1)
        found = sliding_window_view(self.kept, (n_times, n_bands), axis=(0, 1))
        found = np.moveaxis(found, 2, -1)
        self.output = scratch("product", rows, columns, n_out)
        taps = weight.transpose(2, 3, 1, 0).reshape(-1, n_out)
        matrix = np.concatenate((taps, bias[np.newaxis]))
        self.calls: list[Callable[[], object]] = [
            partial(np.copyto, patches[..., :-1].reshape(found.shape), found),
            partial(
                np.dot,
                patches.reshape(rows * columns, -1),
                matrix,
                self.output.reshape(rows * columns, -1),
            ),
        ]
        if n_times > 1:
            self.calls.append(partial(np.copyto, self.kept[: n_times - 1], self.kept[rows:]))
        if pool[1] > 1:
            self._pool(self.output[:, 0::2], self.output[:, 1::2])
        if pool[0] > 1:
            self._pool(self.output[0::2], self.output[1::2])

    def activate_into(self, following: _Layer) -> None:
        """Have the output activated, and made the next layer's input."""
        bent = self._scratch("bent", *self.output.shape)
        self.calls += [
            partial(np.maximum, self.output, _KNEE, out=bent),
            partial(np.multiply, bent, _LEAK, out=bent),
            partial(np.maximum, self.output, bent, out=following.input),
        ]

    def _pool(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        self.output = self._scratch("pooled", *one.shape)
        self.calls.append(partial(np.maximum, one, other, out=self.output))


class StreamingEmbedding:
    """The embedding network over a stream of mel frames; 0.8 s pass before one is of them alone."""

    def __init__(self, path: Path) -> None:
        """Take the weights from openWakeWord's file; raises `ModelError` for another network."""
        weights = read_onnx_weights(path)
        try:
            self._layers = _build_layers(weights)
            self._calls = [call for layer in self._layers for call in layer.calls]
        except (KeyError, ValueError) as error:
            raise _other_network(path, str(error)) from error

    def reset(self) -> None:
        """Forget all mel frames."""
        for layer in self._layers:
            layer.kept[:] = 0

    def feed(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(8, 32) mel frames -> (96,), the embedding of the newest 76."""
        self._layers[0].input[..., 0] = mels
        for call in self._calls:
            call()
        return self._layers[-1].output.reshape(EMBEDDING_SIZE).copy()


def _build_layers(weights: OnnxWeights) -> list[_Layer]:
    """Build the layers in order; raises `KeyError` or `ValueError` for another network."""
    nodes = [node for node in weights.nodes if node.op_type == "Conv"]
    kernels = tuple(weights.tensors[node.inputs[1]].shape[2:] for node in nodes)
    if kernels != _KERNELS:
        raise ValueError(f"its convolutions are {kernels}")
    shape = (MEL_STEP, N_MELS)
    layers: list[_Layer] = []
    scratch = _Scratch()
    for n, node in enumerate(nodes):
        pool = _POOLS.get(n, (1, 1))
        weight, *biases = (weights.tensors[name] for name in node.inputs[1:])
        bias = biases[0] if biases else np.zeros(len(weight), np.float32)
        layer = _Layer(weight, bias, shape=shape, pool=pool, scratch=scratch)
        if layers:
            layers[-1].activate_into(layer)
        layers.append(layer)
        shape = (shape[0] // pool[0], shape[1] // pool[1])
    return layers


def _other_network(path: Path, why: str) -> ModelError:
    return ModelError(
        "wake.model_unusable",
        f"{path} is not the model that openwakeword 0.5.1 has: {why}",
        remedy="pip install --force-reinstall --no-deps openwakeword==0.5.1",
    )
