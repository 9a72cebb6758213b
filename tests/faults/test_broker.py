"""The broker and the way to it fail at each point of a session."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.rig import NODE, FaultRig, Footprint
from faults.sabotage import with_fault

FINAL = "transcript/final"
SHORT_LIFE = {"VOICE_DAEMON_MQTT__FINAL_TTL_S": "2"}
BROKEN_POINTS = ["wake", "transcript/partial", FINAL]


def say_without_broker(rig: FaultRig, clip: Path) -> None:
    """Say a command while nobody can hear what becomes of it, and wait until it is through."""
    n_before = len(rig.logged("session.done"))
    rig.microphone.play(clip)
    rig.wait_for(lambda: len(rig.logged("session.done")) > n_before, "the session is done")


def test_a_broker_that_is_down_at_the_start_gets_what_is_not_too_old(
    rig: FaultRig, demo_clip: Path
) -> None:
    rig.wire.cut()
    with rig.daemon():
        rig.wait_for_state("idle")
        say_without_broker(rig, demo_clip)
        rig.wire.mend()
        rig.wait_for(lambda: rig.on(FINAL), "the final arrives late")
        rig.wait_for_ready()
        rig.hears(demo_clip)
    assert len(rig.on(FINAL)) == 2
    rig.assert_nothing_is_lost_or_doubled()


def test_a_broker_that_died_before_the_wake_word_is_found_again(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon():
        rig.wait_for_ready()
        rig.broker.kill()
        rig.revive_broker()
        rig.wait_for_ready()
        rig.hears(demo_clip)
    assert len(rig.on(FINAL)) == 1
    rig.assert_nothing_is_lost_or_doubled()


@pytest.mark.parametrize("leaf", BROKEN_POINTS)
def test_a_broker_killed_in_a_session_gets_its_rest_when_it_is_back(
    leaf: str, rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.wire.at_publish(leaf, rig.broker.kill)
        say_without_broker(rig, demo_clip)
        rig.wait_for(lambda: rig.broker.process is None, "the broker is dead")
        rig.revive_broker()
        rig.wait_for(lambda: rig.on(FINAL), "the final arrives")
        rig.wait_for_ready()
        assert daemon.is_running
        assert len(rig.on(FINAL)) == 1
        rig.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    rig.assert_nothing_is_lost_or_doubled()


def test_a_broker_killed_before_it_acknowledged_the_final_gets_it_again_under_its_number(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon():
        rig.wait_for_ready()
        rig.wire.at_acknowledgement(FINAL, rig.broker.kill)
        say_without_broker(rig, demo_clip)
        rig.wait_for(lambda: rig.broker.process is None, "the broker is dead")
        rig.revive_broker()
        rig.wait_for(
            lambda: [p for p in rig.wire.on(FINAL) if p.is_acknowledged], "it is acknowledged"
        )
        rig.wait_for_ready()
    sent = [passed.content for passed in rig.wire.on(FINAL)]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    rig.assert_nothing_is_lost_or_doubled()


def test_a_final_that_got_too_old_is_reported_and_never_sent(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon(**SHORT_LIFE):
        rig.wait_for_ready()
        rig.wire.at_publish("transcript/partial", rig.wire.cut)
        say_without_broker(rig, demo_clip)
        rig.wait_for(lambda: rig.logged("mqtt.message_lost"), "it gets too old")
        rig.wire.mend()
        rig.wait_for(lambda: rig.on("error"), "the loss is reported")
        rig.wait_for_ready()
        lost = rig.logged("session.done")[0]["session_id"]
        report = rig.on("error")[0]
        assert report["code"] == "mqtt.final_lost"
        assert lost in report["message"]
        assert lost not in {final["session_id"] for final in rig.on(FINAL)}
        rig.hears(demo_clip)


@pytest.mark.parametrize("leaf", BROKEN_POINTS)
def test_a_network_that_swallows_packets_is_left_and_the_final_is_not_lost(
    leaf: str, rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.wire.at_publish(leaf, rig.wire.swallow)
        say_without_broker(rig, demo_clip)
        rig.wait_for(lambda: rig.logged("mqtt.fault"), "the silence is noticed")
        rig.wire.mend()
        rig.wait_for(lambda: rig.on(FINAL), "the final arrives")
        rig.wait_for_ready()
        rig.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    assert len(rig.on(FINAL)) == 2
    rig.assert_nothing_is_lost_or_doubled()


def test_a_broker_that_accepts_and_never_answers_does_not_stop_the_listening(
    rig: FaultRig, demo_clip: Path
) -> None:
    rig.wire.swallow()
    with rig.daemon(VOICE_DAEMON_MQTT__FINAL_TTL_S="120") as daemon:
        rig.wait_for_state("idle")
        say_without_broker(rig, demo_clip)
        rig.wait_for(
            lambda: "mqtt.timeout" in {line["code"] for line in rig.logged("mqtt.fault")},
            "it is taken for what it is",
        )
        before = Footprint.of(daemon.pid)
        n_connections = rig.wire.n_connections
        rig.wait_for(lambda: rig.wire.n_connections >= n_connections + 2, "it tries again")
        after = Footprint.of(daemon.pid)
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors + 2  # what one attempt opens
        rig.wire.mend()
        rig.wait_for(lambda: rig.on(FINAL), "the final arrives")
    rig.assert_nothing_is_lost_or_doubled()


def test_a_slow_network_delivers_everything_once_and_in_order(
    rig: FaultRig, demo_clip: Path
) -> None:
    rig.wire.delay_s = 0.3
    with rig.daemon():
        rig.wait_for_ready()
        rig.hears(demo_clip)
        rig.hears(demo_clip)
    assert [p.is_acknowledged for p in rig.wire.on(FINAL)] == [True, True]
    kinds = [m["event_type"] for m in rig.on("session")]
    assert kinds == ["started", "ended"] * 2
    rig.assert_nothing_is_lost_or_doubled()


def test_a_name_server_that_hangs_stops_neither_the_listening_nor_the_end(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon(*with_fault("name server")) as daemon:
        rig.wait_for_state("idle")
        say_without_broker(rig, demo_clip)
        assert rig.status()["mqtt"]["connected"] is False  # type: ignore[index]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    assert [line["why"] for line in rig.logged("mqtt.message_lost") if FINAL in line["topic"]]


def test_rules_that_deny_one_topic_are_named_and_cost_nothing_else(
    new_rig: Callable[..., FaultRig], tmp_path: Path, demo_clip: Path
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic deny voice/{NODE}/{FINAL}\ntopic readwrite #\n")
    rig = new_rig("allow_anonymous true", f"acl_file {rules}")
    with rig.daemon():
        rig.wait_for_ready()
        rig.microphone.play(demo_clip)
        rig.wait_for(lambda: rig.on("error"), "the loss is reported")
        rig.wait_for(lambda: len(rig.on("session")) == 2, "the session ends")
        status = rig.wait_for_state("idle")
        assert status["mqtt"]["connected"] is True
        assert [problem["part"] for problem in status["problems"]] == ["mqtt"]
    assert rig.on("error")[0]["code"] == "mqtt.final_lost"
    rig.assert_nothing_is_lost_or_doubled()


def test_a_stop_while_the_network_swallows_everything_is_in_time_and_says_what_is_lost(
    rig: FaultRig, demo_clip: Path
) -> None:
    with rig.daemon() as daemon:
        rig.wait_for_ready()
        rig.wire.at_publish(FINAL, rig.wire.swallow)
        say_without_broker(rig, demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    lost = [line for line in rig.logged("mqtt.message_lost") if FINAL in line["topic"]]
    assert [line["why"] for line in lost] == ["stopped"]
    rig.wire.mend()
    rig.wait_for(lambda: "offline" in rig.on("availability"), "the will speaks for it")


def test_twenty_lives_of_a_broker_leave_nothing_behind(rig: FaultRig, demo_clip: Path) -> None:
    with rig.daemon(VOICE_DAEMON_MQTT__RECONNECT_MIN_S="0.1") as daemon:
        rig.wait_for_ready()
        rig.hears(demo_clip)
        before = Footprint.of(daemon.pid)
        for _ in range(20):
            rig.broker.kill()
            rig.revive_broker()
            rig.wait_for_ready()
        rig.hears(demo_clip)
        after = Footprint.of(daemon.pid)
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors
        assert after.resident_mb < before.resident_mb + 20
    rig.assert_nothing_is_lost_or_doubled()
