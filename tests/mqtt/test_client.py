"""The client against a real mosquitto: what arrives, in which order, and how it parts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from brokers import DEADLINE_S, Gate, Mosquitto, Observer, eventually
from voice_daemon.events import (
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    Timing,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
)
from voice_daemon.mqtt.messages import (
    Command,
    Info,
    Kind,
    MqttMessage,
    Topics,
    for_event,
    info_message,
    response_message,
    state_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mqtt_clients import Daemon

    StartDaemon = Callable[..., Daemon]

ROOT = "voice/den"
FINAL = f"{ROOT}/transcript/final"
PARTIAL = f"{ROOT}/transcript/partial"


def final_event(session_id: str, seq: int = 9) -> TranscriptFinal:
    return TranscriptFinal(
        session_id,
        seq,
        "Turn on the kitchen lights.",
        revised=False,
        language="en",
        end_reason=EndReason.SILENCE,
        duration_ms=2310,
        wake_word="hey_jarvis",
        confidence=0.9,
        no_speech_prob=0.02,
        timing=Timing(410, 640, 180),
    )


def final(topics: Topics, session_id: str, *, ttl_s: float = 30) -> MqttMessage:
    (message,) = for_event(
        final_event(session_id), topics=topics, at=datetime.now(UTC), final_ttl_s=ttl_s
    )
    return message


def sessions(payloads: list[bytes]) -> list[str]:
    return [json.loads(payload)["session_id"] for payload in payloads]


@pytest.fixture
def observer(broker: Mosquitto) -> Iterator[Observer]:
    observer = Observer(broker.port)
    yield observer
    observer.close()


@pytest.fixture
def gate(broker: Mosquitto) -> Iterator[Gate]:
    gate = Gate(broker.port)
    yield gate
    gate.shut()


def test_it_says_online_and_who_it_is_before_anything_else(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    info = info_message(Info("0.1.0", "tiny.en", ("hey_jarvis",), "mic"), topics=topics)
    idle = state_message(State.IDLE, topics=topics)
    daemon = start_daemon(broker.port, announcements=(info, idle))
    daemon.client.publish(final(topics, "s1"))
    observer.wait(FINAL)
    assert [message.topic for message in observer.seen] == [
        f"{ROOT}/availability",
        f"{ROOT}/info",
        f"{ROOT}/state",
        FINAL,
    ]
    assert observer.on(f"{ROOT}/availability") == [b"online"]
    assert daemon.client.status().protocol == "5"


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
    later.wait(f"{ROOT}/availability")
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
        final_event("s1", 61),
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
    observer.wait(f"{ROOT}/availability", b"online")
    names = [f"s{number}" for number in range(50)]
    for name in names:
        daemon.client.publish(final(topics, name))
    assert daemon.client.stop(10)
    observer.wait(f"{ROOT}/availability", b"offline")
    assert sessions(observer.on(FINAL)) == names
    assert observer.seen[-1].payload == b"offline"
    eventually(
        lambda: "Received DISCONNECT from voice-daemon-den" in broker.log_text(),
        "it says goodbye, or the will would come as well",
    )
    assert observer.on(f"{ROOT}/availability") == [b"online", b"offline"]
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
        observer.wait(f"{ROOT}/availability", b"online")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert observer.wait(f"{ROOT}/availability", b"offline").qos == 1
    later = Observer(broker.port)
    assert later.wait(f"{ROOT}/availability").payload == b"offline"
    later.close()


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
    assert later.wait(f"{ROOT}/availability").payload == b"online"
    later.close()
    assert daemon.client.status().finals_lost == 0


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
    assert daemon.client.status().partials_skipped == 1
    assert daemon.losses == []


def test_a_connection_cut_in_mid_session_delivers_every_final_once_or_again(
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
    # Again is allowed (at least once is what QoS 1 means); a hole or another order is not.
    assert list(dict.fromkeys(seen)) == names
    assert daemon.losses == []
    assert daemon.client.status().reconnects >= 1


def test_the_broker_is_told_how_long_an_event_is_worth_anything(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    daemon.client.publish(final(topics, "s1", ttl_s=30))
    expiry_s = observer.wait(FINAL).expiry_s
    assert expiry_s is not None
    assert 25 <= expiry_s <= 30
    assert observer.wait(f"{ROOT}/availability").expiry_s is None


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


def test_commands_and_settings_are_heard(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    eventually(lambda: "SUBSCRIBE" in broker.log_text(), "subscribed")
    observer.publish(f"{ROOT}/cmd/listen", '{"transaction": "t1"}')
    observer.publish(f"{ROOT}/mute/set", "ON")
    eventually(lambda: len(daemon.commands) == 2, "both are heard")
    assert daemon.commands == [
        Command("listen", "t1"),
        Command("mute", None, "ON", Kind.SETTING),
    ]


@pytest.mark.parametrize("when", ["before it connects", "while it is connected"])
def test_a_retained_command_is_ignored_and_counted(
    when: str, broker: Mosquitto, observer: Observer, start_daemon: StartDaemon
) -> None:
    if when == "before it connects":
        observer.publish(f"{ROOT}/cmd/listen", "", retain=False)
        observer.publish(f"{ROOT}/mute/set", "ON", retain=True)
        daemon = start_daemon(broker.port)
    else:
        daemon = start_daemon(broker.port)
        eventually(lambda: b"online" in observer.on(f"{ROOT}/availability"), "connected")
        observer.publish(f"{ROOT}/mute/set", "ON", retain=True)
    eventually(lambda: daemon.client.status().commands_ignored == 1, "it is counted")
    observer.publish(f"{ROOT}/cmd/cancel", "")
    eventually(lambda: daemon.commands, "a fresh command is heard")
    assert daemon.commands == [Command("cancel")]


def test_a_bad_command_is_answered_with_what_is_wrong(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon
) -> None:
    def refuse(command: Command) -> None:
        raise command.unknown(("listen", "cancel"))

    start_daemon(broker.port, on_command=refuse)
    observer.wait(f"{ROOT}/availability", b"online")
    observer.publish(f"{ROOT}/cmd/lisen", '{"transaction": "t1"}')
    error = json.loads(observer.wait(f"{ROOT}/error").payload)
    answer = json.loads(observer.wait(f"{ROOT}/response/lisen").payload)
    assert error["code"] == answer["error"]["code"] == "command.unknown"
    assert answer["transaction"] == "t1"
    observer.publish(f"{ROOT}/mute/set", b"\xff")
    eventually(lambda: len(observer.on(f"{ROOT}/error")) == 2, "the second complaint")
    assert json.loads(observer.on(f"{ROOT}/error")[1])["code"] == "command.not_utf8"


def test_a_handler_can_answer(
    broker: Mosquitto, observer: Observer, start_daemon: StartDaemon, topics: Topics
) -> None:
    def answer(command: Command) -> None:
        daemon.client.publish(response_message(command, topics=topics, data={"finals": 3}))

    daemon = start_daemon(broker.port, on_command=answer)
    observer.wait(f"{ROOT}/availability", b"online")
    observer.publish(f"{ROOT}/cmd/health", '{"transaction": 5}')
    document = json.loads(observer.wait(f"{ROOT}/response/health").payload)
    assert (document["data"], document["transaction"]) == ({"finals": 3}, 5)
