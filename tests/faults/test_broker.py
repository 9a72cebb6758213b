"""The broker and the way to it fail at each point of a session."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.rig import NODE, Footprint, House
from faults.sabotage import with_fault

FINAL = "transcript/final"
SHORT_LIFE = {"VOICE_DAEMON_MQTT__FINAL_TTL_S": "2"}
BROKEN_POINTS = ["wake", "transcript/partial", FINAL]


def say_without_broker(house: House, clip: Path) -> None:
    """Say a command while nobody can hear what becomes of it, and wait until it is through."""
    n_before = len(house.logged("session.done"))
    house.microphone.play(clip)
    house.wait_for(lambda: len(house.logged("session.done")) > n_before, "the session is done")


def test_a_broker_that_is_down_at_the_start_gets_what_is_not_too_old(
    house: House, demo_clip: Path
) -> None:
    house.wire.cut()
    with house.daemon():
        house.wait_for_state("idle")
        say_without_broker(house, demo_clip)
        house.wire.mend()
        house.wait_for(lambda: house.on(FINAL), "the final arrives late")
        house.wait_for_ready()
        house.hears(demo_clip)
    assert len(house.on(FINAL)) == 2
    house.assert_books_balance()


def test_a_broker_that_died_before_the_wake_word_is_found_again(
    house: House, demo_clip: Path
) -> None:
    with house.daemon():
        house.wait_for_ready()
        house.broker.kill()
        house.revive_broker()
        house.wait_for_ready()
        house.hears(demo_clip)
    assert len(house.on(FINAL)) == 1
    house.assert_books_balance()


@pytest.mark.parametrize("leaf", BROKEN_POINTS)
def test_a_broker_killed_in_a_session_gets_its_rest_when_it_is_back(
    leaf: str, house: House, demo_clip: Path
) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        house.wire.at_publish(leaf, house.broker.kill)
        say_without_broker(house, demo_clip)
        house.wait_for(lambda: house.broker.process is None, "the broker is dead")
        house.revive_broker()
        house.wait_for(lambda: house.on(FINAL), "the final arrives")
        house.wait_for_ready()
        assert daemon.is_running
        assert len(house.on(FINAL)) == 1
        house.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    house.assert_books_balance()


def test_a_broker_killed_before_it_acknowledged_the_final_gets_it_again_under_its_number(
    house: House, demo_clip: Path
) -> None:
    with house.daemon():
        house.wait_for_ready()
        house.wire.at_acknowledgement(FINAL, house.broker.kill)
        say_without_broker(house, demo_clip)
        house.wait_for(lambda: house.broker.process is None, "the broker is dead")
        house.revive_broker()
        house.wait_for(
            lambda: [p for p in house.wire.on(FINAL) if p.is_acknowledged], "it is acknowledged"
        )
        house.wait_for_ready()
    sent = [passed.content for passed in house.wire.on(FINAL)]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    house.assert_books_balance()


def test_a_final_that_got_too_old_is_reported_and_never_sent(house: House, demo_clip: Path) -> None:
    with house.daemon(**SHORT_LIFE):
        house.wait_for_ready()
        house.wire.at_publish("transcript/partial", house.wire.cut)
        say_without_broker(house, demo_clip)
        house.wait_for(lambda: house.logged("mqtt.message_lost"), "it gets too old")
        house.wire.mend()
        house.wait_for(lambda: house.on("error"), "the loss is reported")
        house.wait_for_ready()
        lost = house.logged("session.done")[0]["session_id"]
        report = house.on("error")[0]
        assert report["code"] == "mqtt.final_lost"
        assert lost in report["message"]
        assert lost not in {final["session_id"] for final in house.on(FINAL)}
        house.hears(demo_clip)


@pytest.mark.parametrize("leaf", BROKEN_POINTS)
def test_a_network_that_swallows_packets_is_left_and_the_final_is_not_lost(
    leaf: str, house: House, demo_clip: Path
) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        house.wire.at_publish(leaf, house.wire.swallow)
        say_without_broker(house, demo_clip)
        house.wait_for(lambda: house.logged("mqtt.fault"), "the silence is noticed")
        house.wire.mend()
        house.wait_for(lambda: house.on(FINAL), "the final arrives")
        house.wait_for_ready()
        house.hears(demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    assert len(house.on(FINAL)) == 2
    house.assert_books_balance()


def test_a_broker_that_accepts_and_never_answers_does_not_stop_the_listening(
    house: House, demo_clip: Path
) -> None:
    house.wire.swallow()
    with house.daemon(VOICE_DAEMON_MQTT__FINAL_TTL_S="120") as daemon:
        house.wait_for_state("idle")
        say_without_broker(house, demo_clip)
        house.wait_for(
            lambda: "mqtt.timeout" in {line["code"] for line in house.logged("mqtt.fault")},
            "it is taken for what it is",
        )
        before = Footprint.of(daemon.pid)
        n_connections = house.wire.n_connections
        house.wait_for(lambda: house.wire.n_connections >= n_connections + 2, "it tries again")
        after = Footprint.of(daemon.pid)
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors + 2  # what one attempt opens
        house.wire.mend()
        house.wait_for(lambda: house.on(FINAL), "the final arrives")
    house.assert_books_balance()


def test_a_slow_network_delivers_everything_once_and_in_order(
    house: House, demo_clip: Path
) -> None:
    house.wire.delay_s = 0.3
    with house.daemon():
        house.wait_for_ready()
        house.hears(demo_clip)
        house.hears(demo_clip)
    assert [p.is_acknowledged for p in house.wire.on(FINAL)] == [True, True]
    kinds = [m["event_type"] for m in house.on("session")]
    assert kinds == ["started", "ended"] * 2
    house.assert_books_balance()


def test_a_name_server_that_hangs_stops_neither_the_listening_nor_the_end(
    house: House, demo_clip: Path
) -> None:
    with house.daemon(*with_fault("name server")) as daemon:
        house.wait_for_state("idle")
        say_without_broker(house, demo_clip)
        assert house.status()["mqtt"]["connected"] is False  # type: ignore[index]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    assert [line["why"] for line in house.logged("mqtt.message_lost") if FINAL in line["topic"]]


def test_rules_that_deny_one_topic_are_named_and_cost_nothing_else(
    new_house: Callable[..., House], tmp_path: Path, demo_clip: Path
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic deny voice/{NODE}/{FINAL}\ntopic readwrite #\n")
    house = new_house("allow_anonymous true", f"acl_file {rules}")
    with house.daemon():
        house.wait_for_ready()
        house.microphone.play(demo_clip)
        house.wait_for(lambda: house.on("error"), "the loss is reported")
        house.wait_for(lambda: len(house.on("session")) == 2, "the session ends")
        status = house.wait_for_state("idle")
        assert status["mqtt"]["connected"] is True
        assert [problem["part"] for problem in status["problems"]] == ["mqtt"]
    assert house.on("error")[0]["code"] == "mqtt.final_lost"
    house.assert_books_balance()


def test_a_stop_while_the_network_swallows_everything_is_in_time_and_says_what_is_lost(
    house: House, demo_clip: Path
) -> None:
    with house.daemon() as daemon:
        house.wait_for_ready()
        house.wire.at_publish(FINAL, house.wire.swallow)
        say_without_broker(house, demo_clip)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
    lost = [line for line in house.logged("mqtt.message_lost") if FINAL in line["topic"]]
    assert [line["why"] for line in lost] == ["stopped"]
    house.wire.mend()
    house.wait_for(lambda: "offline" in house.on("availability"), "the will speaks for it")


def test_twenty_lives_of_a_broker_leave_nothing_behind(house: House, demo_clip: Path) -> None:
    with house.daemon(VOICE_DAEMON_MQTT__RECONNECT_MIN_S="0.1") as daemon:
        house.wait_for_ready()
        house.hears(demo_clip)
        before = Footprint.of(daemon.pid)
        for _ in range(20):
            house.broker.kill()
            house.revive_broker()
            house.wait_for_ready()
        house.hears(demo_clip)
        after = Footprint.of(daemon.pid)
        assert after.threads <= before.threads
        assert after.descriptors <= before.descriptors
        assert after.resident_mb < before.resident_mb + 20
    house.assert_books_balance()
