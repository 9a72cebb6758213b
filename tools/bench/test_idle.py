"""The idle benchmark counts what a process used."""

import os
import sys
import time

import pytest

from tools.bench.idle import usage


@pytest.mark.skipif(sys.platform != "linux", reason="wake-ups are counted in /proc")
def test_each_pause_is_a_wake_up() -> None:
    before = usage(os.getpid())
    for _ in range(20):
        time.sleep(0.001)
    after = usage(os.getpid())
    main = os.getpid()
    assert after.wake_ups[main] - before.wake_ups[main] >= 20
    assert after.cpu_s >= before.cpu_s
