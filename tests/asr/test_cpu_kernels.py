"""The network's elementwise parts: as exact as MLX's own."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from voice_daemon.asr.cpu_kernels import LEAST_SIZE, attention, gelu


def test_gelu_is_exact_to_a_millionth_everywhere() -> None:
    x = np.concatenate([np.linspace(-30, 30, 2 * LEAST_SIZE), [0.0, 1e-20, -1e-20, 1e4, -1e4]])
    exact = np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])
    found = np.array(gelu(mx.array(x.astype(np.float32))))
    np.testing.assert_allclose(found, exact, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 200, 1536), (LEAST_SIZE,)])
def test_gelu_keeps_the_shape_and_equals_mlx(shape: tuple[int, ...]) -> None:
    x = mx.random.normal(shape, key=mx.random.key(1))
    assert gelu(x).shape == shape
    np.testing.assert_allclose(np.array(gelu(x)), np.array(nn.gelu(x)), atol=2e-6)


def test_half_precision_stays_with_mlx() -> None:
    x = mx.random.normal((1, 200, 1536), key=mx.random.key(1)).astype(mx.float16)
    assert gelu(x).dtype == mx.float16


@pytest.mark.parametrize("n_keys", [40, 300])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_mlx(n_keys: int, *, masked: bool) -> None:
    q = mx.random.normal((1, 6, 100, 64), key=mx.random.key(1))
    k = mx.random.normal((1, 6, n_keys, 64), key=mx.random.key(2))
    v = mx.random.normal((1, 6, n_keys, 64), key=mx.random.key(3))
    mask = mx.random.normal((1, 1, 1, n_keys), key=mx.random.key(4)) if masked else None
    expected = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.125, mask=mask)
    found = attention(q, k, v, scale=0.125, mask=mask)
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-5)


def test_causal_attention_sees_no_later_token() -> None:
    q = mx.random.normal((1, 6, 100, 64), key=mx.random.key(1))
    found = attention(q, q, q, scale=0.125, mask="causal")
    np.testing.assert_allclose(np.array(found[0, :, 0]), np.array(q[0, :, 0]), atol=1e-5)
