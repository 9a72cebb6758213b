"""Being found by zeroconf, and no more when that ends."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from rigs.brokers import HOST
from voice_daemon.homeassistant.advertising import advertised


@pytest.mark.parametrize("steps", range(8))
def test_nothing_stays_open_however_early_it_ends(steps: int) -> None:
    async def advertise() -> None:
        async with advertised(HOST, {"Kitchen": 10700}):
            await asyncio.Event().wait()

    async def scene() -> None:
        task = asyncio.ensure_future(advertise())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        asyncio.run(scene())
        gc.collect()
    assert [str(warning.message) for warning in left_open] == []
