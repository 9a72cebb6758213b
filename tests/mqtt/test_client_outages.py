"""What is kept, dropped and told again when the broker was away for a while."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from rigs.brokers import Gate, Mosquitto, Observer, eventually
from support.mqtt_clients import AVAILABILITY, FINAL, ROOT, StartDaemon, final, sessions
from voice_daemon.events import State, TranscriptPartial
from voice_daemon.mqtt.connect import Backoff
from voice_daemon.mqtt.messages import Info, for_event, info_message, state_message
from voice_daemon.mqtt.outbox import MAX_SENDINGS
from voice_daemon.mqtt.topics import MqttMessage, Topics

PARTIAL = f"{ROOT}/transcript/partial"


def test_a_broker_that_lost_everything_is_told_everything_again(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    info = info_message(Info("0.1.0", "tiny.en", ("hey_jarvis",), "mic"), topics=topics)
    daemon = start_daemon(
        broker.port, announcements=(info, state_message(State.IDLE, topics=topics))
    )
    eventually(lambda: daemon.client.status().queued == 0 and daemon.is_connected, "announced")
    broker.kill()
    eventually(lambda: not daemon.is_connected, "the loss is noticed")
    daemon.client.publish(final(topics, "while-away"))
    daemon.announcements = (info, state_message(State.MUTED, topics=topics))
    broker.start()
    eventually(lambda: daemon.client.status().reconnects == 1, "reconnected")
    eventually(lambda: daemon.client.status().queued == 0, "told")
    later = Observer(broker.port)
    assert later.wait(f"{ROOT}/state").payload == b"muted"
    assert later.wait(f"{ROOT}/info").payload == info.payload
    assert later.wait(AVAILABILITY).payload == b"online"
    later.close()
    assert daemon.client.status().finals_lost == 0


def test_a_final_that_nobody_hears_waits_for_whoever_heard_the_one_before(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    daemon.client.publish(final(topics, "never heard"))
    eventually(lambda: daemon.is_connected and daemon.client.status().queued == 0, "it is settled")
    hub = Observer(broker.port, topic_filter=FINAL)
    daemon.client.publish(final(topics, "s1"))
    hub.wait(FINAL)
    hub.close()
    # Once the broker has taken in another client it has read the goodbye of this one too.
    Observer(broker.port, topic_filter="nothing").close()
    daemon.client.publish(final(topics, "s2"))
    hub = Observer(broker.port, topic_filter=FINAL)
    hub.wait(FINAL)
    eventually(lambda: daemon.client.status().queued == 0, "it is settled")
    assert sessions(hub.on(FINAL)) == ["s2"]
    hub.close()
    assert daemon.losses == []


def test_a_final_does_not_wait_for_the_next_attempt(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    backoff = Backoff(minimum_s=0.1, maximum_s=600, random_unit=lambda: 1.0)
    backoff._ceiling_s = 600  # as after many short connections
    daemon.client._backoff = backoff
    broker.kill()
    eventually(lambda: not daemon.is_connected, "the loss is noticed")
    broker.start()
    listener = Observer(broker.port)
    daemon.client.publish(final(topics, "s1"))
    assert listener.wait(FINAL)
    listener.close()


def test_finals_that_waited_for_the_broker_arrive_in_order(
    gate: Gate, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(gate.port)
    for name in ("s1", "s2"):
        daemon.client.publish(final(topics, name))
    eventually(lambda: daemon.error_code == "mqtt.connection_refused", "the broker is away")
    gate.open()
    eventually(lambda: sessions(observer.on(FINAL)) == ["s1", "s2"], "both arrive")
    assert daemon.losses == []


def test_a_state_that_changes_while_it_is_announced_is_the_one_retained(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    class Changing(tuple[MqttMessage, ...]):
        """Gets outdated while it is read."""

        __slots__ = ()

        def __iter__(self) -> Iterator[MqttMessage]:
            daemon.client.publish(state_message(State.LISTENING, topics=topics))
            return super().__iter__()

    gate = Gate(broker.port)
    daemon = start_daemon(
        gate.port, announcements=Changing((state_message(State.IDLE, topics=topics),))
    )
    gate.open()
    observer.wait(f"{ROOT}/state")
    eventually(lambda: daemon.client.status().queued == 0, "announced")
    assert observer.on(f"{ROOT}/state") == [b"listening"]
    gate.shut()


def test_a_final_too_old_is_dropped_and_the_loss_is_reported(
    gate: Gate, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(gate.port)
    daemon.client.publish(final(topics, "late", ttl_s=0.2))
    eventually(lambda: daemon.client.status().finals_lost == 1, "the loss is counted")
    daemon.client.publish(final(topics, "fresh"))
    gate.open()
    report = json.loads(observer.wait(f"{ROOT}/error").payload)
    observer.wait(FINAL)
    assert (report["code"], report["session_id"]) == ("mqtt.final_lost", "late")
    assert sessions(observer.on(FINAL)) == ["fresh"]
    status = daemon.client.status()
    assert (status.expired, status.dropped) == (1, 0)
    assert [loss.why for loss in daemon.losses] == ["expired"]


def test_too_many_finals_keep_the_newest_and_report_the_rest(
    gate: Gate, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(gate.port, offline_max=3)
    for number in range(5):
        daemon.client.publish(final(topics, f"s{number}"))
    gate.open()
    report = json.loads(observer.wait(f"{ROOT}/error").payload)
    assert "2 transcripts were not delivered" in report["message"]
    assert "(session s0, s1)" in report["message"]
    assert sessions(observer.on(FINAL)) == ["s2", "s3", "s4"]
    assert daemon.client.status().dropped == 2


def test_partials_are_forgotten_while_the_broker_is_away(
    gate: Gate, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(gate.port)
    partial = TranscriptPartial("s1", 1, "turn", "", "en", 500, 50)
    for message in for_event(partial, topics=topics, at=datetime.now(UTC)):
        daemon.client.publish(message)
    daemon.client.publish(final(topics, "s1"))
    gate.open()
    observer.wait(FINAL)
    assert observer.on(PARTIAL) == []
    assert daemon.client.status().dropped == 0
    assert daemon.losses == []


def test_a_connection_cut_in_mid_session_delivers_every_final_or_says_which_may_be_missing(
    gate: Gate, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    gate.open()
    daemon = start_daemon(gate.port)
    names = [f"s{number}" for number in range(40)]
    for number, name in enumerate(names):
        daemon.client.publish(final(topics, name))
        if number % 10 == 5:
            eventually(lambda: daemon.is_connected, "connected")
            gate.shut()
            gate.open()
    eventually(lambda: names[-1] in sessions(observer.on(FINAL)), "the last one arrives")
    seen = sessions(observer.on(FINAL))
    # Again is allowed, once; another order, or a hole without a word, is not.
    unconfirmed = {loss.message.final_of for loss in daemon.losses}
    assert all(loss.may_have_arrived for loss in daemon.losses)
    assert [name for name in names if name not in seen and name not in unconfirmed] == []
    assert list(dict.fromkeys(seen)) == [name for name in names if name in seen]
    assert max(Counter(seen).values()) <= MAX_SENDINGS
    assert daemon.client.status().reconnects >= 1
