"""A recording that is spoken into a daemon's microphone, and when its first sample was there.

The microphone is virtual and its stream is PortAudio's own, so that what that waits for counts. A
second reader of the same microphone tells when the sound began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

import numpy as np

from rigs.virtual_microphone import DEVICE, VirtualMicrophone
from support.daemon_process import DaemonProcess
from voice_daemon.errors import UsageError
from voice_daemon.events import SAMPLE_RATE

STARTING_S: Final = 90.0
SETTLING_S: Final = 2.0
ENDING_S: Final = 3.0
FRAGMENT: Final = 160
"""Samples that the second reader waits for: it is late by 10 ms at most."""


def speak(
    recording: Path, home: Path, variables: Mapping[str, str], *, is_idle: Callable[[], bool]
) -> float:
    """Let a daemon hear all of it; return the monotonic time of its first sample."""
    microphone = VirtualMicrophone().start()
    heard = {**variables, **microphone.additions, "VOICE_DAEMON_AUDIO__DEVICE": DEVICE}
    try:
        with DaemonProcess((), home, heard) as daemon:
            give_up_s = time.monotonic() + STARTING_S
            while not is_idle():
                if not daemon.is_running or time.monotonic() > give_up_s:
                    raise UsageError("bench.daemon", daemon.last_words().strip(), remedy="see why")
                time.sleep(0.1)
            time.sleep(SETTLING_S)
            reader = microphone.record()
            player = microphone.begin(recording)
            assert reader.stdout is not None
            began_s = _first_sound_s(reader.stdout)
            reader.kill()
            reader.wait()
            player.wait()
            time.sleep(ENDING_S)
    finally:
        microphone.stop()
    return began_s


def _first_sound_s(samples: IO[bytes]) -> float:
    while True:
        content = samples.read(2 * FRAGMENT)
        arrived_s = time.monotonic()
        if not content:
            raise UsageError(
                "bench.device", "the microphone is gone", remedy="is PulseAudio there?"
            )
        block = np.frombuffer(content, np.int16)
        if block.any():
            return arrived_s - (len(block) - int(np.flatnonzero(block)[0])) / SAMPLE_RATE
