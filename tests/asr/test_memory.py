"""MLX does not hoard memory on a GPU, whose cache has no limit of its own."""

from __future__ import annotations

import mlx.core as mx
import pytest

from voice_daemon.asr import WhisperModel, WhisperTranscriber
from voice_daemon.asr import load as asr_load
from voice_daemon.asr import transcriber as asr_transcriber


def test_on_a_gpu_the_cache_has_a_limit_and_is_emptied_after_a_session(
    tiny: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (asr_load, asr_transcriber):
        monkeypatch.setattr(module, "on_gpu", lambda: True)
    before = mx.set_cache_limit(2**30)
    try:
        asr_load.limit_unused_memory()
        limit = mx.set_cache_limit(2**30)
        assert limit == asr_load.GPU_CACHE_BYTES
        transcriber = WhisperTranscriber(tiny)
        held = mx.random.normal((1024, 1024 * 8))
        mx.eval(held)
        del held
        assert mx.get_cache_memory() >= 30 * 2**20
        transcriber.reset()
        assert mx.get_cache_memory() == 0
    finally:
        mx.set_cache_limit(before)


def test_a_cpu_keeps_its_own_limit() -> None:
    if asr_load.on_gpu():
        pytest.skip("this machine computes on a GPU")
    before = mx.set_cache_limit(12345)
    try:
        asr_load.limit_unused_memory()
        assert mx.set_cache_limit(before) == 12345
    finally:
        mx.set_cache_limit(before)


def test_what_is_held_counts_arrays_in_use_and_the_cache() -> None:
    before = asr_load.held_memory_bytes()
    array = mx.zeros((4 * 2**20,), mx.float32)
    mx.eval(array)
    assert asr_load.held_memory_bytes() >= before + 15 * 2**20
