"""Another daemon under our node id is noticed, by what it says; nobody else is."""

from __future__ import annotations

import pytest

from rigs.brokers import Mosquitto, Observer, eventually
from support.manual_clock import ManualClock
from support.mqtt_clients import AVAILABILITY, ROOT, TOPICS, Daemon, StartDaemon
from voice_daemon.errors import Problem
from voice_daemon.mqtt.messages import Info, info_message
from voice_daemon.mqtt.topics import MqttMessage
from voice_daemon.mqtt.twins import FORGET_S, MAX_OFFLINES, TWIN_CODE, TwinWatch

INFO, HEALTH = f"{ROOT}/info", f"{ROOT}/health"


def about(instance: str, model: str = "tiny.en") -> MqttMessage:
    said = Info("0.1.0", model, ("hey_jarvis",), "mic", instance=instance)
    return info_message(said, topics=TOPICS)


def info(instance: str) -> bytes:
    return about(instance).payload


class Watched:
    """A watch, and the problem that it has raised."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.problems: list[Problem | None] = []
        self.watch = TwinWatch(TOPICS, self._on_problem, clock_s=self.clock)
        self.watch.connected()

    def _on_problem(self, code: str, problem: Problem | None) -> None:
        assert code == TWIN_CODE
        self.problems.append(problem)

    def says(self, instance: str) -> None:
        """Say what we are, and hear it back."""
        message = about(instance)
        self.watch.sent(message)
        self.watch.hear(message.topic, message.payload)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_our_own_words_are_no_twins(watched: Watched) -> None:
    watched.says("a")
    watched.says("a")
    assert watched.problems == []


def test_what_was_retained_before_our_own_words_is_no_twins(watched: Watched) -> None:
    watched.watch.hear(INFO, info("an earlier life of ours"))
    watched.says("a")
    assert watched.problems == []


def test_another_instance_after_our_own_words_is_a_twin_and_told_once(watched: Watched) -> None:
    watched.says("a")
    watched.watch.hear(INFO, info("b"))
    watched.watch.hear(INFO, info("b"))
    (problem,) = watched.problems
    assert problem is not None
    assert "'den'" in problem.message
    assert "node_id" in problem.remedy


def test_a_twin_that_is_silent_for_long_is_forgotten(watched: Watched) -> None:
    watched.says("a")
    watched.watch.hear(INFO, info("b"))
    watched.clock.now_s += FORGET_S
    watched.says("a")
    assert watched.problems[1:] == [None]


def test_a_will_of_an_older_connection_is_no_twin_and_many_are(watched: Watched) -> None:
    for _ in range(MAX_OFFLINES):
        watched.watch.declared_offline()
    assert watched.problems == []
    watched.watch.declared_offline()
    assert len(watched.problems) == 1


def test_two_clients_of_one_node_notice_each_other(
    broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    twins: list[Daemon] = []
    for name in ("one", "other"):
        twins.append(start_daemon(broker.port, client_id=name, announcements=(about(name),)))
        eventually(lambda: twins[-1].is_connected, "connected")
        eventually(lambda: not twins[-1].client.status().queued, "announced")
    eventually(lambda: twins[0].problems.get(TWIN_CODE), "the first one notices the second")
    assert TWIN_CODE not in twins[1].problems
    twins[0].client.publish(about("one", "base.en"))
    eventually(lambda: twins[1].problems.get(TWIN_CODE), "and the second the first")


def test_a_flood_of_offline_is_answered_now_and_then_and_the_last_word_is_ours(
    broker: Mosquitto, start_daemon: StartDaemon, observer: Observer
) -> None:
    daemon = start_daemon(broker.port)
    observer.wait(AVAILABILITY, b"online")
    eventually(lambda: daemon.client._online_returned, "it has heard itself")
    for _ in range(2000):
        observer.send(AVAILABILITY, b"offline")
    eventually(
        lambda: (
            len(observer.on(AVAILABILITY)) > 2000 and observer.on(AVAILABILITY)[-1] == b"online"
        ),
        "the last word is ours",
    )
    assert observer.on(AVAILABILITY).count(b"online") < 20
    assert daemon.is_connected
    assert daemon.problems[TWIN_CODE] is not None
