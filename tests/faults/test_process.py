"""The process is stopped, killed, doubled, stuck, and given another time."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from faults.rig import FaultRig, Footprint
from faults.sabotage import CLOCK_VARIABLE, HANG_VARIABLE, with_fault
from support.daemon_process import DaemonProcess, run_daemonctl

FAULT = 75
LONGER_THAN_THE_WATCHDOG_WAITS_S = 33
HOUR_S = 3600
SHORT_QUEUE = {"VOICE_DAEMON_AUDIO__QUEUE_MAX_MS": "5000"}
"""As it is by default: what waits longer is no command any more."""


def reasons(rig: FaultRig) -> list[str]:
    return [m["reason"] for m in rig.on("session") if m["event_type"] == "ended"]


def finds_its_words(rig: FaultRig) -> None:
    rig.wait_for(lambda: rig.wire.on("transcript/partial"), "words")


@pytest.mark.parametrize("stopped_s", [5, LONGER_THAN_THE_WATCHDOG_WAITS_S])
def test_a_process_that_was_stopped_goes_on(stopped_s: int, rig: FaultRig, demo_clip: Path) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        daemon.signal(signal.SIGSTOP)
        time.sleep(stopped_s)
        daemon.signal(signal.SIGCONT)
        rig.wait_for(lambda: rig.logged("input.back"), "the microphone is opened again")
        rig.wait_for_ready()
        rig.wait_for(lambda: audio_is_fresh(rig), "the microphone delivers")
        rig.hears(demo_clip)
        assert daemon.is_running
    if stopped_s == LONGER_THAN_THE_WATCHDOG_WAITS_S:
        assert rig.logged("daemon.was_stopped")
    rig.assert_nothing_is_lost_or_doubled()


def test_a_process_stopped_in_a_session_ends_it_and_says_no_old_command(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon(**SHORT_QUEUE) as daemon:
        rig.wait_for_ready()
        rig.wire.at_publish("wake", lambda: daemon.signal(signal.SIGSTOP))
        rig.microphone.play(demo_clip)
        time.sleep(LONGER_THAN_THE_WATCHDOG_WAITS_S)
        daemon.signal(signal.SIGCONT)
        rig.wait_for(lambda: reasons(rig), "the session ends")
        rig.wait_for(lambda: rig.logged("input.back"), "the microphone is opened again")
        rig.wait_for_ready()
        rig.wait_for(lambda: audio_is_fresh(rig), "the microphone delivers")
        rig.hears(demo_clip)
        assert daemon.is_running
    first = next(m for m in rig.on("session") if m["event_type"] == "ended")
    assert first["finals"] == 0, first
    assert len(rig.on("transcript/final")) == 1
    rig.assert_nothing_is_lost_or_doubled()


def audio_is_fresh(rig: FaultRig) -> bool:
    status = rig.status()
    return bool(status) and status["mic"]["last_block_age_ms"] < 500  # type: ignore[index]


def test_a_killed_daemon_is_offline_and_the_next_one_takes_its_place(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.wire.at_publish("transcript/partial", lambda: daemon.signal(signal.SIGKILL))
        rig.microphone.play(demo_clip)
        assert daemon.wait() == -signal.SIGKILL
        rig.wait_for(lambda: "offline" in rig.on("availability"), "the will speaks")
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        final = rig.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    opened = [m["session_id"] for m in rig.on("session") if m["event_type"] == "started"]
    assert len(set(opened)) == 2
    assert final["session_id"] == opened[1]
    assert rig.on("availability") == ["online", "offline", "online", "offline"]


def test_a_second_daemon_leaves_the_first_one_alone(rig: FaultRig, demo_clip: Path) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        second = run_daemonctl("run", home=rig.home)
        assert second.returncode == 0
        assert str(daemon.pid) in second.stderr
        rig.hears(demo_clip)
    rig.assert_nothing_is_lost_or_doubled()


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """The file that makes the recogniser hang, while it is there."""
    return tmp_path / "hang"


def stuck(rig: FaultRig, flag: Path) -> DaemonProcess:
    return rig.daemon(*with_fault("recogniser"), **SHORT_QUEUE, **{HANG_VARIABLE: str(flag)})


def test_a_recogniser_that_hangs_is_given_up_with_its_session(
    rig: FaultRig, demo_clip: Path, flag: Path
) -> None:
    with stuck(rig, flag) as daemon:
        rig.wait_for_ready()
        flag.touch()
        rig.microphone.play(demo_clip)
        assert daemon.wait(60) == FAULT
        words = daemon.last_words()
    assert words.startswith("daemonctl: the recogniser did not answer")
    assert len(words.splitlines()) == 2, words
    rig.wait_for(lambda: "offline" in rig.on("availability"), "offline")
    assert reasons(rig) == ["error"]
    assert {m["code"] for m in rig.on("error")} >= {
        "daemon.worker_hung",
        "session.command_lost",
    }
    rig.assert_nothing_is_lost_or_doubled()


def test_a_stop_while_the_recogniser_hangs_is_in_time(
    rig: FaultRig, demo_clip: Path, flag: Path
) -> None:
    with stuck(rig, flag) as daemon:
        rig.wait_for_ready()
        flag.touch()
        rig.microphone.play(demo_clip)
        rig.wait_for(lambda: rig.on("session"), "the session starts")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    rig.wait_for(lambda: "offline" in rig.on("availability"), "offline")
    assert reasons(rig) == ["shutdown"]
    rig.assert_nothing_is_lost_or_doubled()


def test_a_recogniser_that_hangs_for_a_while_costs_no_more_than_that_session(
    rig: FaultRig, demo_clip: Path, flag: Path
) -> None:
    with stuck(rig, flag) as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        before = Footprint.of(daemon.pid)
        flag.touch()
        rig.microphone.play(demo_clip)
        time.sleep(10)
        flag.unlink()
        rig.wait_for(lambda: len(reasons(rig)) == 2, "the session ends")
        rig.wait_for_ready()
        rig.hears(demo_clip)
        assert Footprint.of(daemon.pid).threads <= before.threads
    assert reasons(rig)[1] in {"overload", "silence"}
    rig.assert_nothing_is_lost_or_doubled()


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says how far the daemon's wall clock is off."""
    path = tmp_path / "clock"
    path.write_text("+0")
    return path


def with_clock(clock: Path) -> dict[str, str]:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("another time needs libfaketime (Debian: libfaketime)")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def test_a_clock_set_back_changes_nothing_but_the_time(
    rig: FaultRig, demo_clip: Path, clock: Path
) -> None:
    with rig.daemon(**with_clock(clock)):
        rig.wait_for_ready()
        rig.wire.at_publish("wake", lambda: set_clock(clock, -HOUR_S))
        rig.hears(demo_clip)
        final = rig.hears(demo_clip)
        assert off_by_s(final["at"]) == pytest.approx(-HOUR_S, abs=60)
    assert reasons(rig) == ["silence", "silence"]
    rig.assert_nothing_is_lost_or_doubled()


def test_a_clock_set_forward_is_taken_for_a_sleep(
    rig: FaultRig, long_clip: Path, demo_clip: Path, clock: Path
) -> None:
    program = with_fault("wall clock")
    with rig.daemon(*program, **{CLOCK_VARIABLE: str(clock)}):
        rig.wait_for_ready()
        rig.wire.at_publish("transcript/partial", lambda: set_clock(clock, HOUR_S))
        rig.microphone.play(long_clip)
        rig.wait_for(lambda: reasons(rig), "the session ends")
        assert reasons(rig) == ["mic_lost"]
        rig.wait_for_ready()
        rig.hears(demo_clip)
        assert rig.wait_for_ready()["mic"]["reopens"] == 1
    rig.assert_nothing_is_lost_or_doubled()


def test_a_final_that_waits_for_the_broker_gets_no_older_by_a_clock_that_is_set(
    rig: FaultRig, demo_clip: Path, clock: Path
) -> None:
    with rig.daemon(**with_clock(clock)):
        rig.wait_for_ready()
        rig.wire.at_publish("transcript/final", rig.wire.cut)
        rig.microphone.play(demo_clip)
        rig.wait_for(lambda: rig.wire.on("transcript/final"), "the final is sent, and cut off")
        set_clock(clock, HOUR_S)
        rig.wire.mend()
        rig.wait_for(lambda: rig.on("transcript/final"), "the final arrives")
    rig.assert_nothing_is_lost_or_doubled()


def set_clock(clock: Path, by_s: int) -> None:
    clock.write_text(f"{by_s:+d}")


def off_by_s(at: str) -> float:
    return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
