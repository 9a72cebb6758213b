"""`models pull` as a process: killed, piped, and on a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.pulls import REPO, WEIGHTS, Bench
from voice_daemon.errors import ModelError
from voice_daemon.models import list_models, resolve, verify

PATIENCE_S = 30.0
"""How long a test waits for what must happen before it fails."""

PULL = [sys.executable, "-m", "voice_daemon", "models", "pull"]


def environment(bench: Bench) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    home = bench.models_dir.parent
    return {
        **kept,
        "HF_ENDPOINT": bench.hub.endpoint,
        "HF_HOME": str(home / "hf"),
        "NO_PROXY": "127.0.0.1",
        "VOICE_DAEMON_HOME": str(home),
    }


def run(bench: Bench, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(bench),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_kill_9_in_the_middle_leaves_no_model_and_the_next_pull_goes_on(bench: Bench) -> None:
    bench.hub.faults.stall_after_bytes = {WEIGHTS: 50_000}
    with subprocess.Popen([*PULL, REPO], env=environment(bench)) as process:
        assert bench.hub.stalled.wait(PATIENCE_S)
        process.send_signal(signal.SIGKILL)
    assert [model.name for model in list_models(models_dir=bench.models_dir)][1:] == []
    with pytest.raises(ModelError) as raised:
        resolve(REPO, models_dir=bench.models_dir)
    assert raised.value.code == "models.not_installed"
    bench.hub.faults.stall_after_bytes = {}
    bench.hub.go_on.set()
    have = bench.part_bytes()
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [f"bytes={have}-" if have else None]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_the_command_pulls_with_plain_lines_when_piped(bench: Bench) -> None:
    done = run(bench, *PULL, "base.en")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{REPO}: installed and verified")
    assert done.stderr.splitlines()[0] == f"pulling {REPO}"
    assert "100 % of 0.1 MB" in done.stderr
    assert "\x1b" not in done.stderr


def test_the_command_tells_a_failure_in_two_lines(bench: Bench) -> None:
    bench.hub.faults.corrupted = {WEIGHTS}
    done = run(bench, *PULL, "--json", REPO)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "daemonctl: weights.npz of" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_is_told_and_what_arrived_is_kept(bench: Bench) -> None:
    done = run(bench, "bash", "-c", 'ulimit -f 40; exec "$@"', "bash", *PULL, REPO)
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    have = bench.part_bytes()
    assert have == 40 * 1024
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [f"bytes={have}-"]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()
