"""`models pull` as a process: killed, piped, and on a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rigs.model_pull import REPO, WEIGHTS, PullRig
from voice_daemon.errors import ModelError
from voice_daemon.models import list_models, resolve, verify

PATIENCE_S = 30.0
"""How long a test waits for what must happen before it fails."""

PULL = [sys.executable, "-m", "voice_daemon", "models", "pull"]


def environment(rig: PullRig) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    home = rig.models_dir.parent
    return {
        **kept,
        "HF_ENDPOINT": rig.hub.endpoint,
        "HF_HOME": str(home / "hf"),
        "NO_PROXY": "127.0.0.1",
        "VOICE_DAEMON_HOME": str(home),
    }


def run(rig: PullRig, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(rig),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_kill_9_in_the_middle_leaves_no_model_and_the_next_pull_goes_on(rig: PullRig) -> None:
    rig.hub.faults.stall_after_bytes = {WEIGHTS: 50_000}
    with subprocess.Popen([*PULL, REPO], env=environment(rig)) as process:
        assert rig.hub.stalled.wait(PATIENCE_S)
        process.send_signal(signal.SIGKILL)
    assert [model.name for model in list_models(models_dir=rig.models_dir)][1:] == []
    with pytest.raises(ModelError) as raised:
        resolve(REPO, models_dir=rig.models_dir)
    assert raised.value.code == "models.not_installed"
    rig.hub.faults.stall_after_bytes = {}
    rig.hub.go_on.set()
    have = rig.part_bytes()
    rig.hub.asked.clear()
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == [f"bytes={have}-" if have else None]
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_the_command_pulls_with_plain_lines_when_piped(rig: PullRig) -> None:
    done = run(rig, *PULL, "base.en")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{REPO}: installed and verified")
    assert done.stderr.splitlines()[0] == f"pulling {REPO}"
    assert "100 % of 0.1 MB" in done.stderr
    assert "\x1b" not in done.stderr


def test_the_command_tells_a_failure_in_two_lines(rig: PullRig) -> None:
    rig.hub.faults.corrupted = {WEIGHTS}
    done = run(rig, *PULL, "--json", REPO)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "daemonctl: weights.npz of" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_is_told_and_what_arrived_is_kept(rig: PullRig) -> None:
    done = run(rig, "bash", "-c", 'ulimit -f 40; exec "$@"', "bash", *PULL, REPO)
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    have = rig.part_bytes()
    assert have == 40 * 1024
    rig.hub.asked.clear()
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == [f"bytes={have}-"]
    assert verify(REPO, models_dir=rig.models_dir).problems == ()
