"""The two costly elementwise parts of the network, in numpy where MLX computes them slowly.

MLX's CPU back end evaluates erf and the softmax one element at a time: together they are half
of an encoder layer there. numpy has both in SIMD. On Metal and CUDA, in float16 and for small
arrays MLX's own operations are used, lazily.
"""

from collections.abc import Callable
from typing import Any, Final

import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

LEAST_SIZE: Final = 1 << 14
"""Below so many elements MLX is quick enough, and stays lazy."""
BLOCK: Final = 1 << 15
"""Elements at a time: the intermediates stay in the processor's cache."""
TANH_LIMIT: Final = np.float32(5.5)
"""From here on erf(x / sqrt 2) is 1 in float32, and the polynomial is held constant."""
TANH_POLYNOMIAL: Final = tuple(
    np.float32(coefficient)
    for coefficient in (
        -5.671658881317029e-08,
        2.8018349790923045e-06,
        -4.730055220477225e-05,
        -5.7720026742661494e-05,
        3.636544330316723e-02,
        7.978727163123723e-01,
    )
)
"""Highest power first: atanh(erf(x / sqrt 2)) / x as a polynomial of x squared, fitted to the
least greatest error of GELU, 6e-7."""


def gelu(x: mx.array) -> mx.array:
    """The exact GELU (Hendrycks and Gimpel, arXiv 1606.08415): x * Phi(x), any shape.

    In numpy with Phi(x) = (1 + tanh(x * p(x * x))) / 2, within 1e-6 of the exact value.
    """
    if not _suits(x, x.size):
        return nn.gelu(x)
    return mx.array(_gelu(np.array(x, copy=False).reshape(-1)).reshape(x.shape))


def attention(
    q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: mx.array | str | None
) -> mx.array:
    """Softmax(scale * q k' + mask) v: (B, H, L, D) queries over T keys -> (B, H, L, D).

    `mask` is added to the scores (an array that broadcasts to (B, H, L, T)), or "causal".
    """
    heads, length = q.shape[1], q.shape[2]
    if isinstance(mask, str) or not _suits(q, heads * length * k.shape[2]):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
    added = None if mask is None else np.array(mask, copy=False)
    values = np.array(v, copy=False)
    scores = (np.array(q, copy=False) * np.float32(scale)) @ np.array(k, copy=False).swapaxes(2, 3)
    if added is not None:
        scores += added
    # In place: nothing else in a layer is as large as the scores.
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    mixed = scores @ values
    # Divided last, where there are far fewer numbers than scores.
    mixed /= scores.sum(axis=-1, keepdims=True)
    return mx.array(mixed)


def compiled(function: Callable[..., Any], dtype: mx.Dtype) -> Callable[..., Any]:
    """Build the function's graph once for each shape, where no part of it is numpy's."""
    return function if _is_numpys(dtype) else mx.compile(function)


def _suits(x: mx.array, n_elements: int) -> bool:
    return n_elements >= LEAST_SIZE and _is_numpys(x.dtype)


def _is_numpys(dtype: mx.Dtype) -> bool:
    return bool(dtype == mx.float32 and mx.default_device() == mx.Device(mx.cpu))


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) -> (n,)."""
    found = np.empty_like(x)
    square = np.empty(min(BLOCK, x.size), dtype=np.float32)
    first, *rest = TANH_POLYNOMIAL
    for start in range(0, x.size, BLOCK):
        part, out = x[start : start + BLOCK], found[start : start + BLOCK]
        squared = np.multiply(part, part, out=square[: part.size])
        np.minimum(squared, TANH_LIMIT * TANH_LIMIT, out=squared)
        np.multiply(squared, first, out=out)
        for coefficient in rest[:-1]:
            out += coefficient
            out *= squared
        out += rest[-1]
        out *= part
        np.tanh(out, out=out)
        out += np.float32(1)
        out *= part
        out *= np.float32(0.5)
    return found
