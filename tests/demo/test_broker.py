"""The demo's broker, by a real client: both kinds, the taken port, the clean stop."""

from __future__ import annotations

import queue
import socket

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from voice_daemon.demo import broker as module
from voice_daemon.demo.broker import DemoBroker, demo_broker
from voice_daemon.errors import UsageError


def received(broker: DemoBroker) -> bytes:
    """Publish through `broker` and give what a subscriber got."""
    inbox: queue.Queue[bytes] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    client.on_connect = lambda c, *_: c.subscribe("demo/#", 1)
    client.on_subscribe = lambda c, *_: c.publish("demo/a", b"hello", qos=1)
    client.on_message = lambda _c, _u, message: inbox.put(bytes(message.payload))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        return inbox.get(timeout=10)
    finally:
        client.disconnect()
        client.loop_stop()


def test_the_broker_delivers_and_is_gone_afterwards() -> None:
    with demo_broker() as broker:
        assert received(broker) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), 1)


def test_without_mosquitto_amqtt_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_mosquitto", lambda: None)
    with demo_broker() as broker:
        assert broker.description == "amqtt"
        assert received(broker) == b"hello"


def test_a_taken_port_is_a_usage_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=str(port)), demo_broker(port):
            pass
