"""Signals in the first seconds of a daemon: a stop is a stop, and a reload waits for its time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

EARLY_S = (0.3, 0.8, 2.0)
"""The interpreter is up, the modules are being loaded, the models are being loaded."""


@pytest.fixture
def young(voice_home: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, [0.0] * 16_000 * 20, 16_000)
    command = [sys.executable, "-m", "voice_daemon", "run", "--input", str(silence)]
    environ = {**os.environ, "VOICE_DAEMON_HOME": str(voice_home), "VOICE_DAEMON_MQTT__PORT": "1"}
    with subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("age_s", EARLY_S)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_young_daemon_is_stopped_in_its_own_way(
    young: subprocess.Popen[str], *, number: signal.Signals, code: int, age_s: float
) -> None:
    time.sleep(age_s)
    young.send_signal(number)
    _, err = young.communicate(timeout=60)
    assert (young.returncode, err) == (code, "")


def test_a_reload_that_comes_too_early_is_kept(
    young: subprocess.Popen[str], voice_home: Path
) -> None:
    time.sleep(EARLY_S[0])
    young.send_signal(signal.SIGHUP)
    log = voice_home / "logs" / "voice-daemon.jsonl"
    give_up_s = time.monotonic() + 60
    while not (log.exists() and "config.reloaded" in log.read_text()):
        assert young.poll() is None, "SIGHUP ended it"
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    young.send_signal(signal.SIGTERM)
    assert young.wait(60) == 0
