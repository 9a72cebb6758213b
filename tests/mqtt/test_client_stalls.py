"""A broker that stands still holds up neither what is published nor a stop."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

import pytest

from rigs.brokers import HOST, Mosquitto, Observer, eventually
from support.mqtt_clients import AVAILABILITY, FINAL, MakeBroker, StartDaemon, final
from voice_daemon.mqtt.connect import Timeouts
from voice_daemon.mqtt.topics import MqttMessage, Topics

HASTY = Timeouts(connect_s=1, probe_s=0.3, answer_s=0.3, acknowledge_s=0.5, stall_s=0.2)


def partial(number: int) -> MqttMessage:
    return MqttMessage("voice/den/transcript/partial", b"x" * 4096 + b"%d" % number, qos=0)


def took_s(action: Callable[[], object]) -> float:
    began_s = time.monotonic()
    action()
    return time.monotonic() - began_s


def test_publish_never_waits_for_a_broker_that_stands_still(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    broker.signal(signal.SIGSTOP)
    done = threading.Event()

    def publish_far_more_than_sockets_hold() -> None:
        for number in range(3000):
            daemon.client.publish(partial(number))
        daemon.client.publish(final(topics, "s1"))
        done.set()

    threading.Thread(target=publish_far_more_than_sockets_hold, daemon=True).start()
    assert done.wait(10)
    assert daemon.client.status().queued <= 101
    broker.signal(signal.SIGCONT)


def test_a_broker_that_stands_still_is_left_and_what_it_owes_is_sent_again(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port, timeouts=HASTY)
    eventually(lambda: daemon.is_connected and daemon.client.status().queued == 0, "connected")
    broker.signal(signal.SIGSTOP)
    daemon.client.publish(final(topics, "s1"))
    eventually(lambda: daemon.error_code == "mqtt.no_acknowledgement", "the stall is noticed")
    daemon.client.publish(final(topics, "s2"))
    eventually(lambda: daemon.error_code == "mqtt.timeout", "it does not answer either")
    broker.signal(signal.SIGCONT)
    eventually(lambda: len(observer.on(FINAL)) >= 2, "both arrive")
    eventually(lambda: daemon.client.status().queued == 0, "both are confirmed")
    seen = [json.loads(payload)["session_id"] for payload in observer.on(FINAL)]
    assert list(dict.fromkeys(seen)) == ["s1", "s2"]
    assert daemon.losses == []
    observer.close()


def test_a_stop_gives_up_on_time_and_counts_what_was_lost(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected and daemon.client.status().queued == 0, "connected")
    broker.signal(signal.SIGSTOP)
    daemon.client.publish(final(topics, "s1"))
    delivered: list[bool] = []
    assert took_s(lambda: delivered.append(daemon.client.stop(0.5))) < 5
    broker.signal(signal.SIGCONT)
    assert delivered == [False]
    assert [loss.why for loss in daemon.losses] == ["stopped"]
    status = daemon.client.status()
    assert (status.finals_lost, status.finals_unconfirmed) == (0, 1)


def test_the_will_speaks_for_a_stop_that_could_not(
    broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port)
    observer.wait(AVAILABILITY, b"online")
    broker.signal(signal.SIGSTOP)
    assert not daemon.client.stop(0.3)
    broker.signal(signal.SIGCONT)
    observer.wait(AVAILABILITY, b"offline")
    observer.close()


def test_a_stop_while_the_broker_restarts_still_delivers(
    make_broker: MakeBroker, start_daemon: StartDaemon, topics: Topics
) -> None:
    broker = make_broker()
    daemon = start_daemon(broker.port, reconnect_min_s=60, reconnect_max_s=60)
    daemon.client.publish(final(topics, "s1"))
    eventually(lambda: daemon.error_code == "mqtt.connection_refused", "the broker is away")
    outcome: list[bool] = []
    stopping = threading.Thread(target=lambda: outcome.append(daemon.client.stop(10)))
    stopping.start()
    broker.start()
    stopping.join(15)
    assert outcome == [True]
    assert daemon.losses == []
    assert "Received PUBLISH from voice-daemon-den" in broker.log_text()
    later = Observer(broker.port)
    assert later.wait(AVAILABILITY).payload == b"offline"
    later.close()


def test_a_stop_with_nothing_to_deliver_does_not_wait(start_daemon: StartDaemon) -> None:
    with Deaf() as deaf:
        daemon = start_daemon(deaf.port)
        eventually(lambda: deaf.n_clients, "it connects")
        assert took_s(lambda: daemon.client.stop(30)) < 15
        assert daemon.losses == []


def test_a_resolver_that_hangs_blocks_neither_publish_nor_stop(
    monkeypatch: pytest.MonkeyPatch, start_daemon: StartDaemon, topics: Topics
) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        hanging.set()
        release.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    daemon = start_daemon(1883, host="broker.example")
    assert hanging.wait(10)
    daemon.client.publish(final(topics, "s1"))
    assert took_s(lambda: daemon.client.stop(0.3)) < 5
    assert [loss.why for loss in daemon.losses] == ["stopped"]
    release.set()
    eventually(lambda: not mqtt_threads(), "the thread that was left behind ends by itself")


def mqtt_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mqtt"]


class Deaf:
    """Accepts connections and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def n_clients(self) -> int:
        return len(self._clients)

    def _accept(self) -> None:
        while True:
            try:
                self._clients.append(self._listener.accept()[0])
            except OSError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in (self._listener, *self._clients):
            sock.close()


def test_what_is_no_broker_is_given_up_in_time(start_daemon: StartDaemon) -> None:
    with Deaf() as deaf:
        daemon = start_daemon(deaf.port, timeouts=HASTY)
        eventually(lambda: daemon.error_code == "mqtt.timeout", "it says so")
        eventually(lambda: deaf.n_clients >= 2, "it tries again")
