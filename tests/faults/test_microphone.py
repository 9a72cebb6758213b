"""The microphone goes, hangs, falls silent, shouts, and comes back as somebody else."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from faults.rig import Footprint, House

FAULT = 75
GIVE_UP_S = 60
"""Three attempts, 1, 2 and 5 s apart, each at most some seconds long."""
RATE_HZ = 16_000


def in_a_session(house: House, clip: Path, act: Callable[[], None]) -> threading.Thread:
    """Speak, and do something as soon as words are seen."""
    speaking = threading.Thread(target=house.microphone.speak, args=(clip,), daemon=True)
    speaking.start()
    n_before = len(house.on("transcript/partial"))
    house.wait_for(lambda: len(house.on("transcript/partial")) > n_before, "words")
    act()
    return speaking


def reasons(house: House) -> list[str]:
    return [m["reason"] for m in house.on("session") if m["event_type"] == "ended"]


def codes(house: House) -> list[str]:
    return [m["code"] for m in house.on("error")]


@pytest.mark.parametrize(("goes", "returns"), [("unplug", "plug_in"), ("crash", "start")])
def test_a_microphone_that_goes_in_a_session_ends_it_and_is_taken_back(
    goes: str, returns: str, house: House, long_clip: Path, demo_clip: Path
) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        speaking = in_a_session(house, long_clip, getattr(house.microphone, goes))
        house.wait_for(lambda: reasons(house), "the session ends")
        house.wait_for_state("degraded")
        getattr(house.microphone, returns)()
        speaking.join()
        house.wait_for_ready()
        house.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    assert reasons(house) == ["mic_lost", "silence"]
    assert "mic.lost" in codes(house)
    assert house.on("availability")[:-1] == ["online"]
    house.assert_books_balance()


def test_a_microphone_that_stays_away_is_left_to_launchd(house: House, long_clip: Path) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        in_a_session(house, long_clip, house.microphone.unplug)
        assert daemon.wait(GIVE_UP_S) == FAULT
        words = daemon.last_words()
    # ALSA and PortAudio tell their own developers on the way.
    said = [line for line in words.splitlines() if line.startswith(("daemonctl: ", "  -> "))]
    assert len(said) == 2, words
    assert "Traceback" not in words
    house.wait_for(lambda: "offline" in house.on("availability"), "offline")
    assert reasons(house) == ["mic_lost"]
    assert house.on("state")[-1] == "degraded"
    house.assert_books_balance()


def test_a_driver_that_hangs_for_a_while_costs_one_session(
    house: House, long_clip: Path, demo_clip: Path
) -> None:
    with house.daemon():
        house.wait_for_ready()
        speaking = in_a_session(house, long_clip, house.microphone.freeze)
        house.wait_for(lambda: reasons(house), "the session ends")
        house.wait_for_state("degraded")
        house.microphone.thaw()
        speaking.join()
        house.wait_for_ready()
        house.hears(demo_clip)
    assert reasons(house)[0] == "mic_lost"
    assert reasons(house)[-1] == "silence"
    house.assert_books_balance()


def test_a_driver_that_hangs_for_good_holds_no_end(house: House, long_clip: Path) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        in_a_session(house, long_clip, house.microphone.freeze)
        house.wait_for(lambda: reasons(house), "the session ends")
        assert daemon.wait(GIVE_UP_S) == FAULT
    assert reasons(house) == ["mic_lost"]
    house.assert_books_balance()


def test_a_stop_while_the_driver_hangs_is_in_time(house: House, demo_clip: Path) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        house.hears(demo_clip)
        house.microphone.freeze()
        house.wait_for_state("degraded")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    house.assert_books_balance()


def test_perfect_silence_is_a_problem_with_a_remedy_until_there_is_sound(
    house: House, demo_clip: Path, write: Callable[[NDArray[Any]], Path]
) -> None:
    hiss = write(np.random.default_rng(1).normal(0, 30, 3 * RATE_HZ).astype(np.int16))
    with house.daemon(VOICE_DAEMON_AUDIO__SILENCE_ALARM_S="2"):
        problems = house.wait_for_state("degraded")["problems"]
        assert "digital silence" in problems[0]["message"]
        assert "Microphone" in problems[0]["remedy"]
        speaking = threading.Thread(target=house.microphone.play, args=(hiss,))
        speaking.start()
        assert house.wait_for_state("idle")["problems"] == []
        speaking.join()
        house.wait_for_state("degraded")
        house.hears(demo_clip)
    assert codes(house)[:2] == ["mic.silent", "mic.silent"]
    assert house.on("availability")[0] == "online"
    house.assert_books_balance()


def test_a_microphone_that_clips_is_still_understood(
    house: House, clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]
) -> None:
    peak = int(np.abs(clip.astype(np.int32)).max())
    shouted = np.clip(clip.astype(np.float64) * 4 * 32767 / peak, -32768, 32767)
    with house.daemon():
        house.wait_for_ready()
        house.hears(write(shouted.astype(np.int16)))
        assert house.wait_for_state("idle")["problems"] == []
    house.assert_books_balance()


def test_a_microphone_under_another_name_is_followed_when_any_will_do(
    house: House, demo_clip: Path
) -> None:
    with house.daemon(VOICE_DAEMON_AUDIO__DEVICE="default"):
        first = house.wait_for_ready()["mic"]["device"]
        house.microphone.unplug()
        house.wait_for_state("degraded")
        house.microphone.rename("kitchenmic")
        house.microphone.plug_in()
        assert house.wait_for_ready()["mic"]["device"] != first
        house.hears(demo_clip)
        assert house.on("info")[-1]["input_device"] == "kitchenmic"


def test_a_microphone_under_another_name_is_not_taken_for_the_one_that_was_asked_for(
    house: House,
) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        house.microphone.unplug()
        house.wait_for_state("degraded")
        house.microphone.rename("kitchenmic")
        house.microphone.plug_in()
        assert daemon.wait(GIVE_UP_S) == FAULT
        assert "kitchenmic" in daemon.last_words()


def test_a_voice_without_end_is_cut_off_and_its_words_are_published(
    house: House, long_clip: Path
) -> None:
    with house.daemon(VOICE_DAEMON_SESSION__MAX_S="4"):
        house.wait_for_ready()
        house.microphone.play(long_clip)
        house.wait_for(lambda: reasons(house), "the session ends")
        house.wait_for_state("idle")
    assert house.on("transcript/final")[0]["end_reason"] == "max_length"
    house.assert_books_balance()


def test_a_wake_word_with_nothing_after_it_gives_no_text(
    house: House, clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]
) -> None:
    with house.daemon(VOICE_DAEMON_SESSION__NO_SPEECH_TIMEOUT_S="2"):
        house.wait_for_ready()
        house.microphone.play(write(np.concatenate([clip[:22_000], np.zeros(RATE_HZ, np.int16)])))
        house.wait_for(lambda: reasons(house), "the session ends")
        house.wait_for_state("idle")
    assert reasons(house) == ["no_speech"]
    assert house.on("transcript/final") == []
    house.assert_books_balance()


def test_mute_in_the_middle_of_a_command_forgets_it(
    house: House, long_clip: Path, demo_clip: Path
) -> None:
    with house.daemon():
        house.wait_for_ready()
        speaking = in_a_session(house, long_clip, lambda: house.order("mute"))
        house.wait_for(lambda: reasons(house), "the session ends")
        house.wait_for_state("muted")
        speaking.join()
        house.order("unmute")
        house.wait_for_ready()
        house.hears(demo_clip)
    assert reasons(house) == ["muted", "silence"]
    assert len(house.on("transcript/final")) == 1
    house.assert_books_balance()


def test_ten_unpluggings_leave_nothing_behind(house: House, demo_clip: Path) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        house.hears(demo_clip)
        house.microphone.unplug()
        house.wait_for_state("degraded")
        house.microphone.plug_in()
        house.wait_for_ready()
        before = Footprint.of(daemon.pid)
        for _ in range(10):
            time.sleep(1)  # one that goes while it is being opened is a driver that hangs
            house.microphone.unplug()
            house.wait_for_state("degraded")
            house.microphone.plug_in()
            house.wait_for_ready()
        house.hears(demo_clip)
        after = Footprint.of(daemon.pid)
        assert house.wait_for_ready()["mic"]["reopens"] == 11
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors
        assert after.resident_mb < before.resident_mb + 20
    house.assert_books_balance()
