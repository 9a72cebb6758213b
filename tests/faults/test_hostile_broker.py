"""What a broker may do, and what then happens to a final: the table of docs/reliability.md."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.brokers import Mosquitto, Observer, eventually
from rigs.scripted_broker import (
    V5,
    V311,
    HoldingProxy,
    Peer,
    Published,
    ScriptedBroker,
    acknowledge,
)
from support.mqtt_clients import FINAL, ROOT, TOPICS, Daemon, final, settings_for
from voice_daemon.mqtt.connect import Timeouts
from voice_daemon.mqtt.outbox import MAX_SENDINGS
from voice_daemon.mqtt.topics import MqttMessage

LATE_S = 0.5
"""More than its life no final may take."""
HASTY = Timeouts(probe_s=1, answer_s=1, acknowledge_s=1.5, stall_s=1)
BOTH = pytest.mark.parametrize("versions", [(V5,), (V311,)], ids=["MQTT 5", "MQTT 3.1.1"])

RECEIVE_MAXIMUM_1 = b"\x21\x00\x01"
MAXIMUM_QOS_0 = b"\x24\x00"
NO_RETAIN = b"\x25\x00"
NO_WILDCARDS = b"\x28\x00"
QUOTA, FORBIDDEN, BAD_PAYLOAD = 0x97, 0x87, 0x99

Act = Callable[[Peer, Published], None]
NewBroker = Callable[..., ScriptedBroker]
NewDaemon = Callable[..., Daemon]


def maximum_packet(n_bytes: int) -> bytes:
    return b"\x27" + n_bytes.to_bytes(4)


@pytest.fixture
def new_broker() -> Iterator[NewBroker]:
    made: list[ScriptedBroker] = []

    def make(*versions: int) -> ScriptedBroker:
        made.append(ScriptedBroker(*versions))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def new_daemon() -> Iterator[NewDaemon]:
    made: list[Daemon] = []

    def make(
        port: int, *announced: MqttMessage, timeouts: Timeouts = HASTY, **changes: float
    ) -> Daemon:
        settings = settings_for(port, **changes)
        made.append(Daemon(settings, announcements=announced, timeouts=timeouts))
        return made[-1]

    yield make
    for daemon in made:
        daemon.client.stop(0.2)


def finals(broker: ScriptedBroker, session: str = "s1") -> list[Published]:
    found = broker.on("transcript/final")
    return [one for one in found if json.loads(one.payload)["session_id"] == session]


def codes(broker: ScriptedBroker) -> list[str]:
    return [json.loads(one.payload)["code"] for one in broker.on("error")]


def on_finals(act: Act, *, times: int = 1_000) -> Act:
    """Do something with the first so many finals, and what is right with all else."""
    left = [times]

    def on_publish(peer: Peer, one: Published) -> None:
        if one.topic == FINAL and left[0]:
            left[0] -= 1
            act(peer, one)
        else:
            acknowledge(peer, one)

    return on_publish


def hang_up(peer: Peer, _one: Published) -> None:
    peer.hang_up()


def reset(peer: Peer, _one: Published) -> None:
    peer.hang_up(reset=True)


def dismiss(peer: Peer, _one: Published) -> None:
    peer.dismiss(0x8B)  # the broker shuts down


def ignore(_peer: Peer, _one: Published) -> None:
    """Never answer."""


def acknowledge_and_hang_up(peer: Peer, one: Published) -> None:
    acknowledge(peer, one)
    peer.hang_up()


def acknowledge_oddly(peer: Peer, one: Published) -> None:
    for packet_id in (one.packet_id + 77, one.packet_id, one.packet_id):
        peer.acknowledge(packet_id)


def acknowledge_late(peer: Peer, one: Published) -> None:
    time.sleep(0.5)
    acknowledge(peer, one)


@BOTH
@pytest.mark.parametrize("act", [hang_up, reset, dismiss, ignore])
def test_a_connection_that_breaks_over_a_final_once_delivers_it_with_the_second_sending(
    new_broker: NewBroker, new_daemon: NewDaemon, versions: tuple[int, ...], act: Act
) -> None:
    broker = new_broker(*versions)
    broker.on_publish = on_finals(act, times=1)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: len(finals(broker)) == 2, "it comes again")
    eventually(lambda: not daemon.client.status().queued, "it is settled")
    assert [one.is_again for one in finals(broker)] == [False, True]
    assert daemon.losses == []


@BOTH
@pytest.mark.parametrize("act", [hang_up, reset, dismiss, ignore])
def test_a_connection_that_breaks_over_a_final_each_time_gets_it_twice_and_is_told_so(
    new_broker: NewBroker, new_daemon: NewDaemon, versions: tuple[int, ...], act: Act
) -> None:
    broker = new_broker(*versions)
    broker.on_publish = on_finals(act, times=MAX_SENDINGS)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: codes(broker) == ["mqtt.final_unconfirmed"], "it is reported")
    daemon.client.publish(final(TOPICS, "s2"))
    eventually(lambda: finals(broker, "s2"), "the next one arrives")
    assert len(finals(broker)) == MAX_SENDINGS
    status = daemon.client.status()
    assert (status.finals_lost, status.finals_unconfirmed) == (0, 1)


@BOTH
@pytest.mark.parametrize("act", [acknowledge_and_hang_up, acknowledge_oddly, acknowledge_late])
def test_an_acknowledgement_however_odd_is_the_end_of_a_final(
    new_broker: NewBroker, new_daemon: NewDaemon, versions: tuple[int, ...], act: Act
) -> None:
    broker = new_broker(*versions)
    broker.on_publish = on_finals(act, times=1)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: finals(broker), "it arrives")
    daemon.client.publish(final(TOPICS, "s2"))
    eventually(lambda: finals(broker, "s2"), "the next one arrives")
    assert len(finals(broker)) == 1
    assert daemon.losses == []


@BOTH
def test_a_final_that_is_not_acknowledged_in_its_life_is_taken_back(
    new_broker: NewBroker, new_daemon: NewDaemon, versions: tuple[int, ...]
) -> None:
    broker = new_broker(*versions)
    broker.on_publish = on_finals(ignore)
    daemon = new_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    daemon.client.publish(final(TOPICS, "s1", ttl_s=1))
    eventually(lambda: codes(broker) == ["mqtt.final_unconfirmed"], "it is reported")
    assert len(finals(broker)) == 1
    assert [loss.why for loss in daemon.losses] == ["expired"]


@pytest.mark.parametrize(
    ("ttl_s", "timeouts"),
    [(2, HASTY), (5, HASTY), (30, HASTY), (2, Timeouts()), (5, Timeouts()), (30, Timeouts())],
)
def test_a_network_that_holds_a_final_back_delivers_it_in_its_life_or_never(
    tmp_path: Path, new_daemon: NewDaemon, ttl_s: float, timeouts: Timeouts
) -> None:
    broker = Mosquitto(tmp_path).start()
    proxy = HoldingProxy(broker.port, marker=b'"event_type":"final"', hold_s=ttl_s + 2)
    observer = Observer(broker.port)
    try:
        daemon = new_daemon(proxy.port, timeouts=timeouts, final_ttl_s=ttl_s)
        eventually(lambda: daemon.is_connected, "connected")
        daemon.client.publish(final(TOPICS, "s1", ttl_s=ttl_s))
        published_s = time.monotonic()
        # Where its acknowledgement is overdue in time, it is sent again by another way.
        eventually(lambda: proxy.held_at_s is not None, "it is held back")
        while not observer.on(FINAL) and time.monotonic() < published_s + ttl_s + LATE_S:
            time.sleep(0.02)
        said = observer.on(FINAL)
        time.sleep(3)  # what is looked for is that nothing comes later
        assert observer.on(FINAL) == said
        assert len(said) <= 1
        assert bool(said) != bool(daemon.losses)
    finally:
        observer.close()
        proxy.close()
        broker.kill()


@pytest.mark.parametrize("code", [0x80, 0x83, 0x91, QUOTA])
def test_a_refusal_that_may_pass_is_followed_by_another_sending(
    new_broker: NewBroker, new_daemon: NewDaemon, code: int
) -> None:
    broker = new_broker(V5)
    broker.on_publish = on_finals(lambda peer, one: peer.acknowledge(one.packet_id, code), times=2)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: len(finals(broker)) == 3, "it is taken at last")
    eventually(lambda: not daemon.client.status().queued, "it is settled")
    assert not any(one.is_again for one in finals(broker))
    assert daemon.losses == []
    assert daemon.client.status().last_error is None


@pytest.mark.parametrize(
    ("code", "shown"), [(FORBIDDEN, "mqtt.forbidden"), (BAD_PAYLOAD, "mqtt.message_refused")]
)
def test_a_refusal_for_good_loses_that_final_alone(
    new_broker: NewBroker, new_daemon: NewDaemon, code: int, shown: str
) -> None:
    broker = new_broker(V5)
    broker.on_publish = on_finals(lambda peer, one: peer.acknowledge(one.packet_id, code), times=1)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: codes(broker) == ["mqtt.final_lost"], "it is reported")
    assert daemon.error_code in {shown, ""}
    daemon.client.publish(final(TOPICS, "s2"))
    eventually(lambda: finals(broker, "s2"), "the next one arrives")
    assert len(finals(broker)) == 1


@pytest.mark.parametrize("code", [0x80, 0x88, 0x89, 0x97, 0x9F])
def test_a_welcome_that_is_refused_for_the_moment_is_asked_for_again(
    new_broker: NewBroker, new_daemon: NewDaemon, code: int
) -> None:
    broker = new_broker(V5)
    broker.on_connect = lambda peer, _: peer.welcome(code if len(broker.connects) < 3 else 0)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: finals(broker), "it arrives")
    assert daemon.losses == []


@BOTH
def test_a_login_that_is_refused_keeps_the_final_for_its_life(
    new_broker: NewBroker, new_daemon: NewDaemon, versions: tuple[int, ...]
) -> None:
    broker = new_broker(*versions)
    refusal = 0x86 if V5 in versions else 4
    broker.on_connect = lambda peer, _: peer.welcome(refusal)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1", ttl_s=1))
    eventually(lambda: daemon.error_code == "mqtt.not_authorised", "it says why")
    eventually(lambda: daemon.client.status().finals_lost == 1, "it is lost, and counted")
    assert broker.published == []


def test_a_broker_that_takes_one_at_a_time_gets_one_at_a_time(
    new_broker: NewBroker, new_daemon: NewDaemon
) -> None:
    broker, open_now, most = new_broker(V5), [0], [0]
    broker.on_connect = lambda peer, _: peer.welcome(properties=RECEIVE_MAXIMUM_1)

    def slowly(peer: Peer, one: Published) -> None:
        open_now[0] += 1
        most[0] = max(most[0], open_now[0])
        time.sleep(0.02)
        open_now[0] -= 1
        acknowledge(peer, one)

    broker.on_publish = slowly
    daemon = new_daemon(broker.port)
    for number in range(5):
        daemon.client.publish(final(TOPICS, f"s{number}"))
    eventually(lambda: len(broker.on("transcript/final")) == 5, "all arrive")
    assert most == [1]


@BOTH
def test_a_state_that_the_broker_cannot_carry_keeps_no_final_back(
    new_broker: NewBroker, new_daemon: NewDaemon, versions: tuple[int, ...]
) -> None:
    """MQTT 5 says how much it takes; 3.1.1 has to be found out by broken connections."""
    limit = 2048
    broker = new_broker(*versions)
    broker.on_connect = lambda peer, _: peer.welcome(properties=maximum_packet(limit))

    def on_publish(peer: Peer, one: Published) -> None:
        if one.n_bytes > limit:
            peer.hang_up()
        else:
            acknowledge(peer, one)

    broker.on_publish = on_publish
    large = MqttMessage(f"{ROOT}/config", b"x" * 3000, retain=True)
    small = MqttMessage(f"{ROOT}/state", b"idle", retain=True)
    daemon = new_daemon(broker.port, large, small)
    daemon.client.publish(final(TOPICS, "s1"))
    left_out = "mqtt.message_too_large" if V5 in versions else "mqtt.message_set_aside"
    eventually(lambda: codes(broker) == [left_out], "it is left out")
    eventually(lambda: broker.on("state"), "what comes after it arrives")
    assert finals(broker)
    assert daemon.losses[-1].message == large
    assert len(broker.on("config")) == (0 if V5 in versions else 2)


def test_a_final_larger_than_the_broker_takes_is_lost_and_counted(
    new_broker: NewBroker, new_daemon: NewDaemon
) -> None:
    broker = new_broker(V5)
    broker.on_connect = lambda peer, _: peer.welcome(properties=maximum_packet(400))
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1", text="x" * 500))
    eventually(lambda: daemon.client.status().finals_lost == 1, "it is counted")
    eventually(lambda: codes(broker) == ["mqtt.final_lost"], "it is reported")


@pytest.mark.parametrize(
    ("refusal", "properties"), [(0x9A, NO_RETAIN), (0x9B, MAXIMUM_QOS_0)], ids=["retain", "QoS"]
)
def test_a_broker_without_retain_or_acknowledgements_is_used_as_it_is(
    new_broker: NewBroker, new_daemon: NewDaemon, refusal: int, properties: bytes
) -> None:
    broker = new_broker(V5)
    is_retain = refusal == 0x9A

    def on_connect(peer: Peer, _: object) -> None:
        will = broker.connects[-1]
        is_too_much = will.will_retain if is_retain else will.will_qos > 0
        peer.welcome(refusal if is_too_much else 0, properties)

    broker.on_connect = on_connect
    daemon = new_daemon(broker.port, MqttMessage(f"{ROOT}/state", b"idle", retain=True))
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: finals(broker), "it arrives")
    eventually(lambda: codes(broker) == ["mqtt.limited_broker"], "what is missing is said")
    eventually(lambda: broker.on("state"), "the state arrives")
    if is_retain:
        assert not any(one.retain for one in broker.published)
    else:
        assert {one.qos for one in broker.published} == {0}
    assert daemon.error_code == "mqtt.limited_broker"


@BOTH
@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "not answered"])
def test_a_subscription_that_is_not_granted_is_a_problem_and_keeps_no_final_back(
    new_broker: NewBroker,
    new_daemon: NewDaemon,
    versions: tuple[int, ...],
    *,
    is_refused: bool,
) -> None:
    broker = new_broker(*versions)
    broker.on_subscribe = lambda peer, body: peer.grant(body, 0x80) if is_refused else None
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: finals(broker), "it arrives")
    eventually(lambda: daemon.problems.get("mqtt.deaf"), "that it is deaf is a problem")
    assert daemon.is_connected
    broker.on_subscribe = lambda peer, body: peer.grant(body)
    broker.peers[-1].hang_up()
    eventually(lambda: daemon.problems["mqtt.deaf"] is None, "it is over with the next connection")


def test_a_broker_without_wildcards_is_a_problem_and_keeps_no_final_back(
    new_broker: NewBroker, new_daemon: NewDaemon
) -> None:
    broker = new_broker(V5)
    broker.on_connect = lambda peer, _: peer.welcome(properties=NO_WILDCARDS)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: finals(broker), "it arrives")
    eventually(lambda: daemon.problems.get("mqtt.deaf"), "that it is deaf is a problem")


def test_another_client_with_our_id_is_named_and_not_fought(
    new_broker: NewBroker, new_daemon: NewDaemon
) -> None:
    broker = new_broker(V5)
    broker.on_publish = on_finals(lambda peer, _: peer.dismiss(0x8E), times=1)
    daemon = new_daemon(broker.port)
    daemon.client.publish(final(TOPICS, "s1"))
    eventually(lambda: daemon.error_code == "mqtt.client_id_taken", "it is named")
    error = daemon.client.status().last_error
    assert error is not None
    assert "node_id" in error.remedy
    eventually(lambda: len(finals(broker)) == 2, "it is delivered all the same")
