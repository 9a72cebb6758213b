"""The client against a real mosquitto: what arrives, in which order, and how it parts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import UTC, datetime

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rigs.brokers import DEADLINE_S, Gate, Mosquitto, Observer, eventually
from support.mqtt_clients import AVAILABILITY, FINAL, ROOT, StartDaemon, final, sessions
from support.transcripts import final_of
from voice_daemon.events import (
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    TranscriptPartial,
    WakeDetected,
)
from voice_daemon.mqtt.messages import Info, for_event, info_message, state_message
from voice_daemon.mqtt.topics import Topics


def test_it_says_online_then_what_waited_then_who_it_is(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    info = info_message(Info("0.1.0", "tiny.en", ("hey_jarvis",), "mic"), topics=topics)
    idle = state_message(State.IDLE, topics=topics)
    gate = Gate(broker.port)
    daemon = start_daemon(gate.port, announcements=(info, idle))
    daemon.client.publish(final(topics, "s1"))
    gate.open()
    observer.wait(f"{ROOT}/state")
    assert [message.topic for message in observer.seen] == [
        AVAILABILITY,
        FINAL,
        f"{ROOT}/info",
        f"{ROOT}/state",
    ]
    assert observer.on(AVAILABILITY) == [b"online"]
    assert daemon.client.status().protocol == "5"
    gate.shut()


def test_the_whole_picture_is_retained_and_events_are_not(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    info = info_message(Info("0.1.0", "tiny.en", ("hey_jarvis",), "mic"), topics=topics)
    daemon = start_daemon(
        broker.port, announcements=(info, state_message(State.IDLE, topics=topics))
    )
    daemon.client.publish(final(topics, "s1"))
    observer.wait(FINAL)
    later = Observer(broker.port)
    later.wait(f"{ROOT}/state")
    later.wait(f"{ROOT}/info")
    later.wait(AVAILABILITY)
    assert all(message.retain for message in later.seen)
    assert {message.topic.rpartition("/")[2] for message in later.seen} == {
        "availability",
        "info",
        "state",
    }
    later.close()


def test_a_session_arrives_in_the_order_in_which_it_happened(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    partials = [
        TranscriptPartial("s1", seq, "turn on" + " it" * seq, "", "en", 100 * seq, 50)
        for seq in range(1, 61)
    ]
    events: tuple[Event, ...] = (
        WakeDetected("s1", "hey_jarvis", 0.9, 0),
        SessionStarted("s1", "hey_jarvis", 0),
        *partials,
        replace(final_of("s1"), seq=61),
        SessionEnded("s1", EndReason.SILENCE, 1, 0),
    )
    for event in events:
        for message in for_event(event, topics=topics, at=datetime.now(UTC)):
            daemon.client.publish(message)
    observer.wait(f"{ROOT}/session")
    eventually(lambda: len(observer.on(f"{ROOT}/session")) == 2, "the session ends")
    documents = [json.loads(m.payload) for m in observer.seen if m.payload.startswith(b"{")]
    kinds = [document["event_type"] for document in documents]
    assert kinds == ["detected", "started", *["partial"] * 60, "final", "ended"]
    assert [d["seq"] for d in documents if "seq" in d] == list(range(1, 62))


def test_a_stop_delivers_what_is_there_and_says_offline_last(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    observer.wait(AVAILABILITY, b"online")
    names = [f"s{number}" for number in range(50)]
    for name in names:
        daemon.client.publish(final(topics, name))
    assert daemon.client.stop(10)
    observer.wait(AVAILABILITY, b"offline")
    assert sessions(observer.on(FINAL)) == names
    assert observer.seen[-1].payload == b"offline"
    eventually(
        lambda: "Received DISCONNECT from voice-daemon-den" in broker.log_text(),
        "it says goodbye, or the will would come as well",
    )
    assert observer.on(AVAILABILITY) == [b"online", b"offline"]
    assert daemon.losses == []


CHILD = textwrap.dedent("""
    import sys, time
    from voice_daemon.config import MqttSettings
    from voice_daemon.mqtt.client import MqttClient
    from voice_daemon.mqtt.messages import Topics

    client = MqttClient(
        MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), client_id="child",
        topics=Topics("voice", "den"), on_command=print, announce=tuple,
    )
    client.start()
    time.sleep(60)
""")


def test_the_broker_says_offline_when_the_process_is_killed(
    broker: Mosquitto, observer: Observer
) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port)])
    try:
        observer.wait(AVAILABILITY, b"online")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert observer.wait(AVAILABILITY, b"offline").qos == 1
    later = Observer(broker.port)
    assert later.wait(AVAILABILITY).payload == b"offline"
    later.close()


def test_the_broker_is_told_how_long_an_event_is_worth_anything(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    daemon.client.publish(final(topics, "s1", ttl_s=30))
    expiry_s = observer.wait(FINAL).expiry_s
    assert expiry_s is not None
    assert 25 <= expiry_s <= 30
    assert observer.wait(AVAILABILITY).expiry_s is None


def test_a_subscriber_that_was_away_gets_no_old_command(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    """A broker that queues for a client of its own drops what got old meanwhile."""
    sleeper = SleepingSubscriber(broker.port)
    sleeper.visit()
    daemon = start_daemon(broker.port)
    daemon.client.publish(final(topics, "old", ttl_s=1))
    daemon.client.publish(final(topics, "young", ttl_s=60))
    eventually(lambda: sessions(observer.on(FINAL)) == ["old", "young"], "both are published")
    time.sleep(2.1)  # the broker's own clock, of whole seconds, has to pass the expiry
    sleeper.visit(until=1)
    assert sessions(sleeper.payloads) == ["young"]


class SleepingSubscriber:
    """Has the broker queue finals for it between its visits."""

    def __init__(self, port: int) -> None:
        self.payloads: list[bytes] = []
        self._port = port

    def visit(self, *, until: int = 0) -> None:
        """Connect, subscribe, and leave after `until` messages."""
        subscribed: list[bool] = []
        client = paho.Client(
            CallbackAPIVersion.VERSION2, "sleeper", protocol=MQTTProtocolVersion.MQTTv5
        )
        client.on_message = lambda _c, _u, message: self.payloads.append(bytes(message.payload))
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.on_connect = lambda *_: client.subscribe(FINAL, qos=1)  # type: ignore[assignment] # its result is ignored
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho
        properties.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        give_up_s = time.monotonic() + DEADLINE_S
        while not (subscribed and len(self.payloads) >= until):
            assert time.monotonic() < give_up_s, "the sleeper got nothing"
            client.loop(0.05)
        client.disconnect()
