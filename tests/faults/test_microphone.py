"""The microphone goes, hangs, falls silent, shouts, and comes back as somebody else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from faults.rig import FaultRig, Footprint

FAULT = 75
GIVE_UP_S = 60
"""Three attempts, 1, 2 and 5 s apart, each at most some seconds long."""
RATE_HZ = 16_000
ABSENT_S = float(os.environ.get("ABSENT_S", "20"))
"""Time without a microphone; 600 shows more, and takes as long."""


def in_a_session(rig: FaultRig, clip: Path, act: Callable[[], None]) -> threading.Thread:
    """Speak, and do something as soon as words are seen."""
    speaking = threading.Thread(target=rig.microphone.speak, args=(clip,), daemon=True)
    speaking.start()
    n_before = len(rig.on("transcript/partial"))
    rig.wait_for(lambda: len(rig.on("transcript/partial")) > n_before, "words")
    act()
    return speaking


def reasons(rig: FaultRig) -> list[str]:
    return [m["reason"] for m in rig.on("session") if m["event_type"] == "ended"]


def codes(rig: FaultRig) -> list[str]:
    return [m["code"] for m in rig.on("error")]


@pytest.mark.parametrize(("goes", "returns"), [("unplug", "plug_in"), ("crash", "start")])
def test_a_microphone_that_goes_in_a_session_ends_it_and_is_taken_back(
    goes: str, returns: str, rig: FaultRig, long_clip: Path, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        speaking = in_a_session(rig, long_clip, getattr(rig.microphone, goes))
        rig.wait_for(lambda: reasons(rig), "the session ends")
        rig.wait_for_state("degraded")
        getattr(rig.microphone, returns)()
        speaking.join()
        rig.wait_for_ready()
        rig.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    assert reasons(rig) == ["mic_lost", "silence"]
    assert "mic.lost" in codes(rig)
    assert rig.on("availability")[:-1] == ["online"]
    rig.assert_nothing_is_lost_or_doubled()


def test_a_microphone_that_stays_away_is_left_to_launchd(rig: FaultRig, long_clip: Path) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        in_a_session(rig, long_clip, rig.microphone.unplug)
        assert daemon.wait(GIVE_UP_S) == FAULT
        words = daemon.last_words()
    # ALSA and PortAudio tell their own developers on the way.
    said = [line for line in words.splitlines() if line.startswith(("daemonctl: ", "  -> "))]
    assert len(said) == 2, words
    assert "Traceback" not in words
    rig.wait_for(lambda: "offline" in rig.on("availability"), "offline")
    assert reasons(rig) == ["mic_lost"]
    assert rig.on("state")[-1] == "degraded"
    rig.assert_nothing_is_lost_or_doubled()


def test_without_a_microphone_at_the_start_it_waits_for_one(rig: FaultRig, demo_clip: Path) -> None:
    rig.microphone.unplug()
    begun_s = time.monotonic()
    with rig.daemon() as daemon:
        without = rig.wait_for_state("degraded")
        rig.wait_for(lambda: "mic.lost" in codes(rig), "the error")
        rig.wait_for(lambda: rig.on("state")[-1:] == ["degraded"], "the state")
        told_s = time.monotonic()
        while time.monotonic() - told_s < ABSENT_S:
            assert daemon.is_running, daemon.last_words()
            time.sleep(0.5)
        plugged_s = time.monotonic()
        rig.microphone.plug_in()
        rig.wait_for_ready()
        ready_s = time.monotonic()
        rig.hears(demo_clip)
    assert [problem["part"] for problem in without["problems"]] == ["mic"]
    assert without["problems"][0]["remedy"]
    assert rig.on("availability")[:1] == ["online"]
    assert rig.on("availability").count("online") == 1
    rig.assert_nothing_is_lost_or_doubled()
    sys.stdout.write(
        f"told {told_s - begun_s:.1f} s after the start; absent {ABSENT_S:g} s, never restarted; "
        f"idle {ready_s - plugged_s:.1f} s after it was plugged in\n"
    )


def test_a_driver_that_hangs_for_a_while_costs_one_session(
    rig: FaultRig, long_clip: Path, demo_clip: Path
) -> None:
    with rig.daemon():
        rig.wait_for_ready()
        speaking = in_a_session(rig, long_clip, rig.microphone.freeze)
        rig.wait_for(lambda: reasons(rig), "the session ends")
        rig.wait_for_state("degraded")
        rig.microphone.thaw()
        speaking.join()
        rig.wait_for_ready()
        rig.hears(demo_clip)
    assert reasons(rig)[0] == "mic_lost"
    assert reasons(rig)[-1] == "silence"
    rig.assert_nothing_is_lost_or_doubled()


def test_a_driver_that_hangs_for_good_holds_no_end(rig: FaultRig, long_clip: Path) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        in_a_session(rig, long_clip, rig.microphone.freeze)
        rig.wait_for(lambda: reasons(rig), "the session ends")
        assert daemon.wait(GIVE_UP_S) == FAULT
    assert reasons(rig) == ["mic_lost"]
    rig.assert_nothing_is_lost_or_doubled()


def test_a_stop_while_the_driver_hangs_is_in_time(rig: FaultRig, demo_clip: Path) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        rig.microphone.freeze()
        rig.wait_for_state("degraded")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    rig.assert_nothing_is_lost_or_doubled()


def test_perfect_silence_is_a_problem_with_a_remedy_until_there_is_sound(
    rig: FaultRig, demo_clip: Path, write: Callable[[NDArray[Any]], Path]
) -> None:
    hiss = write(np.random.default_rng(1).normal(0, 30, 3 * RATE_HZ).astype(np.int16))
    with rig.daemon(VOICE_DAEMON_AUDIO__SILENCE_ALARM_S="2"):
        problems = rig.wait_for_state("degraded")["problems"]
        assert "digital silence" in problems[0]["message"]
        assert "Microphone" in problems[0]["remedy"]
        speaking = threading.Thread(target=rig.microphone.play, args=(hiss,))
        speaking.start()
        assert rig.wait_for_state("idle")["problems"] == []
        speaking.join()
        rig.wait_for_state("degraded")
        rig.hears(demo_clip)
    assert codes(rig)[:2] == ["mic.silent", "mic.silent"]
    assert rig.on("availability")[0] == "online"
    rig.assert_nothing_is_lost_or_doubled()


def test_a_microphone_that_clips_is_still_understood(
    rig: FaultRig, clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]
) -> None:
    peak = int(np.abs(clip.astype(np.int32)).max())
    shouted = np.clip(clip.astype(np.float64) * 4 * 32767 / peak, -32768, 32767)
    with rig.daemon():
        rig.wait_for_ready()
        rig.hears(write(shouted.astype(np.int16)))
        assert rig.wait_for_state("idle")["problems"] == []
    rig.assert_nothing_is_lost_or_doubled()


def test_a_microphone_under_another_name_is_followed_when_any_will_do(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon(VOICE_DAEMON_AUDIO__DEVICE="default"):
        first = rig.wait_for_ready()["mic"]["device"]
        rig.microphone.unplug()
        rig.wait_for_state("degraded")
        rig.microphone.rename("kitchenmic")
        rig.microphone.plug_in()
        assert rig.wait_for_ready()["mic"]["device"] != first
        rig.hears(demo_clip)
        assert rig.on("info")[-1]["input_device"] == "kitchenmic"


def test_a_microphone_under_another_name_is_not_taken_for_the_one_that_was_asked_for(
    rig: FaultRig,
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.microphone.unplug()
        rig.wait_for_state("degraded")
        rig.microphone.rename("kitchenmic")
        rig.microphone.plug_in()
        assert daemon.wait(GIVE_UP_S) == FAULT
        assert "kitchenmic" in daemon.last_words()


def test_a_voice_without_end_is_cut_off_and_its_words_are_published(
    rig: FaultRig, long_clip: Path
) -> None:
    with rig.daemon(VOICE_DAEMON_SESSION__MAX_S="4"):
        rig.wait_for_ready()
        rig.microphone.play(long_clip)
        rig.wait_for(lambda: reasons(rig), "the session ends")
        rig.wait_for_state("idle")
    assert rig.on("transcript/final")[0]["end_reason"] == "max_length"
    rig.assert_nothing_is_lost_or_doubled()


def test_a_wake_word_with_nothing_after_it_gives_no_text(
    rig: FaultRig, clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]
) -> None:
    with rig.daemon(VOICE_DAEMON_SESSION__NO_SPEECH_TIMEOUT_S="2"):
        rig.wait_for_ready()
        rig.microphone.play(write(np.concatenate([clip[:22_000], np.zeros(RATE_HZ, np.int16)])))
        rig.wait_for(lambda: reasons(rig), "the session ends")
        rig.wait_for_state("idle")
    assert reasons(rig) == ["no_speech"]
    assert rig.on("transcript/final") == []
    rig.assert_nothing_is_lost_or_doubled()


def test_mute_in_the_middle_of_a_command_forgets_it(
    rig: FaultRig, long_clip: Path, demo_clip: Path
) -> None:
    with rig.daemon():
        rig.wait_for_ready()
        speaking = in_a_session(rig, long_clip, lambda: rig.order("mute"))
        rig.wait_for(lambda: reasons(rig), "the session ends")
        rig.wait_for_state("muted")
        speaking.join()
        rig.order("unmute")
        rig.wait_for_ready()
        rig.hears(demo_clip)
    assert reasons(rig) == ["muted", "silence"]
    assert len(rig.on("transcript/final")) == 1
    rig.assert_nothing_is_lost_or_doubled()


def test_ten_unpluggings_leave_nothing_behind(rig: FaultRig, demo_clip: Path) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        rig.microphone.unplug()
        rig.wait_for_state("degraded")
        rig.microphone.plug_in()
        rig.wait_for_ready()
        before = Footprint.of(daemon.pid)
        for _ in range(10):
            time.sleep(1)  # one that goes while it is being opened is a driver that hangs
            rig.microphone.unplug()
            rig.wait_for_state("degraded")
            rig.microphone.plug_in()
            rig.wait_for_ready()
        rig.hears(demo_clip)
        after = Footprint.of(daemon.pid)
        assert rig.wait_for_ready()["mic"]["reopens"] == 11
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors
        assert after.resident_mb < before.resident_mb + 20
    rig.assert_nothing_is_lost_or_doubled()
