"""The other devices on the broker: what reaches the arbitration, and what say a device has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from voice_daemon.events import Claim, Stage
from voice_daemon.mqtt.peers import MAX_WAITING, MqttPeers, claim_message, claims_filter
from voice_daemon.mqtt.router import CommandRouter, Listener
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.wake.arbitration import Participation

TOPICS = Topics("voice", "den")
AT = datetime(2026, 1, 2, tzinfo=UTC)


def claim(number: int = 1) -> Claim:
    return Claim(Stage.CLAIM, "kitchen", f"s{number}", "hey_jarvis", 0.9)


def message(said: Claim) -> MqttMessage:
    return claim_message(said, topics=TOPICS, at=AT)


def peers(
    *,
    connected: bool = True,
    problem: bool = False,
    clock_s: Callable[[], float] = lambda: 0.0,
) -> tuple[MqttPeers, list[bytes]]:
    sent: list[bytes] = []
    made = MqttPeers(
        topics=TOPICS,
        publish=lambda message: sent.append(message.payload),
        is_connected=lambda: connected,
        has_problem=lambda: problem,
        clock_s=clock_s,
    )
    return made, sent


@pytest.mark.parametrize(
    ("connected", "problem", "participation"),
    [
        (True, False, Participation.FULL),
        (True, True, Participation.SILENT),
        (False, False, Participation.ALONE),
        (False, True, Participation.ALONE),
    ],
)
def test_what_say_a_device_has(
    *, connected: bool, problem: bool, participation: Participation
) -> None:
    assert peers(connected=connected, problem=problem)[0].participation() is participation


def test_what_others_said_is_taken_once_and_in_order() -> None:
    others, sent = peers()
    for number in range(3):
        others.on_message("", message(claim(number)).payload)
    others.on_message("", b"no claim")
    assert others.receive() == [(claim(0), 0), (claim(1), 0), (claim(2), 0)]
    assert others.receive() == []
    assert sent == []


def test_what_is_told_is_published_as_others_read_it() -> None:
    others, sent = peers()
    others.send(claim())
    others.on_message("", sent[0])
    assert others.receive() == [(claim(), 0)]


def test_what_waited_is_known_to_be_old() -> None:
    now_s = [0.0]
    others, _ = peers(clock_s=lambda: now_s[0])
    others.on_message("", message(claim(1)).payload)
    now_s[0] += 2.5
    others.on_message("", message(claim(2)).payload)
    assert others.receive() == [(claim(1), 2.5), (claim(2), 0)]


def test_a_flood_waits_for_nobody() -> None:
    others, _ = peers()
    for number in range(3 * MAX_WAITING):
        others.on_message("", message(claim(number)).payload)
    assert [int(said.session_id[1:]) for said, _ in others.receive()] == list(
        range(2 * MAX_WAITING, 3 * MAX_WAITING)
    )


def test_a_retained_claim_is_from_the_past() -> None:
    others, _ = peers()
    router = CommandRouter(
        TOPICS,
        lambda _: None,
        listeners=[Listener(claims_filter(TOPICS), others.on_message, live_only=True)],
    )
    said = message(claim())
    assert claims_filter(TOPICS) in router.filters
    assert router.receive(said.topic, said.payload, retain=True, at=AT) == ()
    assert others.receive() == []
    router.receive(said.topic, said.payload, retain=False, at=AT)
    assert others.receive() == [(claim(), 0)]


def test_a_claim_under_our_node_id_that_is_not_ours_is_a_twins() -> None:
    signs: list[str] = []
    made = MqttPeers(
        topics=TOPICS,
        publish=lambda _: None,
        is_connected=lambda: True,
        has_problem=lambda: False,
        on_twin=signs.append,
    )
    ours = Claim(Stage.CLAIM, TOPICS.node, "ours", "hey_jarvis", 0.9)
    made.send(ours)
    made.on_message("", message(ours).payload)
    made.on_message("", message(replace(ours, stage=Stage.TAKEN)).payload)
    made.on_message("", message(claim()).payload)
    assert signs == []
    made.on_message("", message(replace(ours, session_id="a twin's")).payload)
    assert len(signs) == 1
    assert len(made.receive()) == 4
