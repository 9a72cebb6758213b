"""The machine runs out: of disk, of file descriptors, of memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from faults.rig import FaultRig, Footprint
from rigs import fake_hub
from support.daemon_process import DaemonProcess, daemon_environment

FAULT = 75
DISK_KB: Final = 512
_MOUNT: Final = (
    'mount -t tmpfs -o mode=700,size="$1" tmpfs "$VOICE_DAEMON_HOME" && shift && '
    '{ [ "$1" != full ] || head -c 9999999 /dev/zero >"$VOICE_DAEMON_HOME/filler" 2>/dev/null; '
    'shift; exec "$@"; }'
)


def on_a_small_disk(*program: str, full: bool = False, size_kb: int = DISK_KB) -> tuple[str, ...]:
    """Give a program whose home is a small disk of its own, perhaps full from the start."""
    state = "full" if full else "empty"
    return ("unshare", "-rm", "sh", "-c", _MOUNT, "sh", f"{size_kb}k", state, *program)


def small_disks_are_missing() -> bool:
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode != 0


needs_small_disk = pytest.mark.skipif(
    small_disks_are_missing(), reason="this system does not let its users mount a small disk"
)
POLLABLE: Final = 5
"""Linux lets nobody wait for more descriptors than it may have, and the driver waits for some."""
DAEMONCTL = (sys.executable, "-m", "voice_daemon")


def look_into(rig: FaultRig, daemon: DaemonProcess) -> None:
    """See the disk that only the daemon sees."""
    rig.view = Path(f"/proc/{daemon.pid}/root{rig.home}")


def fill(rig: FaultRig) -> Path:
    """Use up every byte of the daemon's disk; give the file that has them."""
    return fill_up(rig.view)


def fill_up(folder: Path) -> Path:
    filler = folder / "filler"
    for size in (1_000_000, 512):
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(bytes(size)) == size:
                pass
    return filler


@needs_small_disk
def test_a_full_disk_stops_the_log_and_nothing_else(rig: FaultRig, demo_clip: Path) -> None:
    with rig.daemon(*on_a_small_disk(*DAEMONCTL), VOICE_DAEMON_LOG__LEVEL="debug") as daemon:
        look_into(rig, daemon)
        rig.wait_for_ready()
        filler = fill(rig)
        for _ in range(3):
            rig.hears(demo_clip)
        n_lines = len(rig.log_lines())
        filler.unlink()
        rig.hears(demo_clip)
        assert len(rig.log_lines()) > n_lines
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
        words = daemon.last_words()
    assert len(words.splitlines()) == 1, words
    assert "No space left" in words
    rig.assert_nothing_is_lost_or_doubled()


@needs_small_disk
def test_a_full_disk_at_the_start_does_not_keep_it_from_listening(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon(*on_a_small_disk(*DAEMONCTL, full=True)) as daemon:
        look_into(rig, daemon)
        rig.wait_for_ready()
        rig.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    rig.assert_nothing_is_lost_or_doubled()


@needs_small_disk
def test_a_setting_that_a_full_disk_refuses_is_in_force_and_saved_later(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon(*on_a_small_disk(*DAEMONCTL)) as daemon:
        look_into(rig, daemon)
        rig.wait_for_ready()
        filler = fill(rig)
        rig.tell("wake_threshold/set", "0.42")
        rig.wait_for(
            lambda: [m for m in rig.on("error") if m["code"] == "settings.not_saved"], "told"
        )
        assert rig.on("wake_threshold/state")[-1] == "0.42"
        time.sleep(3)
        assert [m["code"] for m in rig.on("error")].count("settings.not_saved") == 1
        filler.unlink()
        state = rig.view / "state.json"
        rig.wait_for(lambda: "0.42" in state.read_text(), "saved")
        assert not list(rig.view.glob(".state.json.*"))
        rig.hears(demo_clip)
    rig.assert_nothing_is_lost_or_doubled()


MODEL_REPO = "mlx-community/whisper-tiny-mlx"
CONFIG = {"n_audio_state": 384, "n_audio_layer": 4, "n_text_layer": 4, "n_vocab": 51_865}


@pytest.fixture
def hub() -> Iterator[fake_hub.FakeHub]:
    files = {"config.json": json.dumps(CONFIG).encode(), "weights.npz": os.urandom(2_000_000)}
    tokenizer = {"openai/whisper-tiny": {"vocab.json": b"{}"}}
    with fake_hub.FakeHub({MODEL_REPO: files, **tokenizer}) as made:
        yield made


def pull(hub: fake_hub.FakeHub, home: Path, *, disk_kb: int) -> subprocess.Popen[str]:
    """Begin to pull a model onto a small disk."""
    home.mkdir()
    places = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home.with_name("hf"))}
    return subprocess.Popen(
        [*on_a_small_disk(*DAEMONCTL, size_kb=disk_kb), "models", "pull", "tiny"],
        env=daemon_environment(home, **places, NO_PROXY="127.0.0.1", HF_HUB_OFFLINE="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_refused(pulling: subprocess.Popen[str], *said: str) -> None:
    """Assert one line of error with these words, a remedy, and no traceback."""
    complaint = pulling.communicate(timeout=60)[1]
    errors = [line for line in complaint.splitlines() if line.startswith("daemonctl: ")]
    assert pulling.returncode == 1, complaint
    assert len(errors) == 1, complaint
    assert all(words in complaint for words in said), complaint
    assert "Traceback" not in complaint


@needs_small_disk
def test_a_model_that_the_disk_cannot_hold_is_refused_before_it_is_fetched(
    hub: fake_hub.FakeHub, tmp_path: Path
) -> None:
    with pull(hub, tmp_path / "home", disk_kb=DISK_KB) as pulling:
        assert_refused(pulling, "MB are free on", "free some space")
    assert not [asked for asked in hub.asked if "weights.npz" in asked.path and asked.byte_range]


@needs_small_disk
def test_a_disk_that_fills_up_under_a_pull_ends_it_in_one_line(
    hub: fake_hub.FakeHub, tmp_path: Path
) -> None:
    hub.faults.stall_after_bytes["weights.npz"] = 100_000
    home = tmp_path / "home"
    with pull(hub, home, disk_kb=120_000) as pulling:
        view = Path(f"/proc/{pulling.pid}/root{home}")
        give_up_s = time.monotonic() + 60
        while not any(path.stat().st_size for path in view.rglob("weights.npz*")):
            assert time.monotonic() < give_up_s, "the weights never came"
            assert pulling.poll() is None, pulling.communicate()
            time.sleep(0.05)
        fill_up(view)
        hub.go_on.set()
        assert_refused(pulling, "No space left", "free some space")


def limit_descriptors(daemon: DaemonProcess) -> tuple[int, int]:
    """Let it open hardly one more; give what the limits were."""
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (POLLABLE, before[1]))
    return before


def test_a_daemon_without_file_descriptors_finds_the_broker_again_once_it_has_some(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        footprint = Footprint.of(daemon.pid)
        before = limit_descriptors(daemon)
        rig.hears(demo_clip)  # nothing that runs needs a new one
        rig.broker.kill()
        rig.wait_for(
            lambda: any(line["event"] == "mqtt.fault" for line in rig.log_lines()), "noticed"
        )
        rig.revive_broker()
        time.sleep(5)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        rig.wait_for_ready()
        rig.hears(demo_clip)
        assert Footprint.of(daemon.pid).threads <= footprint.threads
        assert Footprint.of(daemon.pid).descriptors <= footprint.descriptors
    assert not [line for line in rig.log_lines() if "exception" in line]
    rig.assert_nothing_is_lost_or_doubled()


def test_a_microphone_lost_without_file_descriptors_is_left_to_a_restart(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        limit_descriptors(daemon)
        rig.microphone.unplug()
        rig.wait_for(lambda: "degraded" in rig.on("state"), "degraded")
        rig.microphone.plug_in()
        # PulseAudio's library may abort the process before the daemon can end it.
        assert daemon.wait(60) in {FAULT, -signal.SIGABRT}
    rig.wait_for(lambda: "offline" in rig.on("availability"), "offline")
    rig.assert_nothing_is_lost_or_doubled()


def memory_of(daemon: DaemonProcess) -> int:
    """Give the bytes that it has mapped."""
    pages = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def test_a_daemon_without_memory_loses_a_session_at_most_and_the_next_one_works(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        limit = memory_of(daemon)
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        rig.microphone.play(demo_clip)
        rig.wait_for(
            lambda: not daemon.is_running or len(rig.on("session")) == 4, "an end of some kind"
        )
        if not daemon.is_running:
            # Libraries that get no memory or no thread end the process as they please.
            assert daemon.wait() != 0
            rig.wait_for(lambda: "offline" in rig.on("availability"), "offline")
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
