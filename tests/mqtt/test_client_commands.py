"""Commands and settings that a real mosquitto brings, and what is answered."""

from __future__ import annotations

import json

import pytest

from rigs.brokers import Mosquitto, Observer, eventually
from support.mqtt_clients import AVAILABILITY, ROOT, StartDaemon
from voice_daemon.mqtt.commands import Command, Kind, response_message
from voice_daemon.mqtt.topics import Topics


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
        eventually(lambda: b"online" in observer.on(AVAILABILITY), "connected")
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
    observer.wait(AVAILABILITY, b"online")
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
    observer.wait(AVAILABILITY, b"online")
    observer.publish(f"{ROOT}/cmd/health", '{"transaction": 5}')
    document = json.loads(observer.wait(f"{ROOT}/response/health").payload)
    assert (document["data"], document["transaction"]) == ({"finals": 3}, 5)
