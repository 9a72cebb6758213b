"""Ten minutes of audio: the memory stays where it was, and every command is heard."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber

MINUTES = 10
COMMANDS_EVERY_S = 60
GROWTH_MB = 30
"""Of the resident memory after the first minute; allocators breathe by some megabytes."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/statm"),
]


@pytest.fixture
def ten_minutes(tmp_path: Path, demo_clip: Path) -> Path:
    """Faint noise with a spoken command each minute."""
    clip, rate_hz = soundfile.read(demo_clip, dtype="int16")
    noise = np.random.default_rng(1)
    path = tmp_path / "ten-minutes.wav"
    with soundfile.SoundFile(path, "w", rate_hz, 1, "PCM_16") as file:
        for _ in range(MINUTES * 60 // COMMANDS_EVERY_S):
            minute = noise.normal(0, 8, COMMANDS_EVERY_S * rate_hz).astype(np.int16)
            minute[10 * rate_hz : 10 * rate_hz + len(clip)] += clip
            file.write(minute)
    return path


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def test_memory_stays_where_it_was_over_ten_minutes(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, ten_minutes: Path
) -> None:
    variables = {
        "VOICE_DAEMON_NODE_ID": "long",
        "VOICE_DAEMON_MQTT__PORT": str(mosquitto_port),
    }
    seen_mb: list[float] = []

    def finals() -> list[bytes]:
        return subscriber.on("voice/long/transcript/final")

    with DaemonProcess(("--input", ten_minutes, "--fast"), voice_home, variables) as daemon:
        while daemon.is_running:
            if finals():
                seen_mb.append(resident_mb(daemon.pid))
            time.sleep(0.2)
        assert daemon.wait() == 0
    subscriber.wait("voice/long/availability", b"offline")
    assert len(finals()) == MINUTES
    assert all("kitchen" in json.loads(final)["text"] for final in finals())
    seen_mb = [mb for mb in seen_mb if mb > 0]  # 0: it was just ending
    assert len(seen_mb) > MINUTES
    assert max(seen_mb) - seen_mb[0] < GROWTH_MB, seen_mb
