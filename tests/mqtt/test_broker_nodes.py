"""A broker of two nodes: two real mosquittos, bridged, and a way to move from one to the other."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from rigs.brokers import HOST, Mosquitto, Observer, eventually, free_port
from support.mqtt_clients import TOPICS, Daemon
from voice_daemon.mqtt.topics import Leaf, MqttMessage

AVAILABILITY = TOPICS.path(Leaf.AVAILABILITY)
STATE = MqttMessage(TOPICS.path(Leaf.STATE), b"idle", retain=True)


class Balancer:
    """A load balancer: one address, a node behind it, which can be exchanged."""

    def __init__(self, node_port: int) -> None:
        self.port = free_port()
        self._node_port = node_port
        self._clients: list[socket.socket] = []
        self._all: list[socket.socket] = []
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def move_to(self, node_port: int) -> None:
        """Cut everybody off and send them elsewhere; the old node learns nothing of it."""
        self._node_port = node_port
        clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in (self._listener, *self._all):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                node = socket.create_connection((HOST, self._node_port))
                self._clients.append(client)
                self._all += [client, node]
                for source, sink in ((client, node), (node, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes; the end of one side is kept from the other."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            sink.sendall(chunk)


@pytest.fixture
def nodes(make_broker: Callable[..., Mosquitto]) -> tuple[Mosquitto, Mosquitto]:
    first = make_broker().start()
    bridge = ("connection first", f"address {HOST}:{first.port}", "topic # both 1")
    second = make_broker("allow_anonymous true", *bridge).start()
    with (
        contextlib.closing(Observer(first.port)) as here,
        contextlib.closing(Observer(second.port)) as there,
    ):
        eventually(lambda: _crosses(there, here), "the nodes are joined")
    return first, second


def _crosses(there: Observer, here: Observer) -> bool:
    there.publish("probe", b"1")
    return bool(here.on("probe"))


@pytest.fixture
def balancer(nodes: tuple[Mosquitto, Mosquitto]) -> Iterator[Balancer]:
    made = Balancer(nodes[0].port)
    yield made
    made.close()


def test_a_daemon_that_moves_to_another_node_is_not_declared_dead_by_the_old_one(
    nodes: tuple[Mosquitto, Mosquitto],
    balancer: Balancer,
    start_daemon: Callable[..., Daemon],
) -> None:
    _, second = nodes
    daemon = start_daemon(balancer.port, announcements=(STATE,), keepalive_s=5)
    with contextlib.closing(Observer(second.port)) as observer:
        observer.wait(AVAILABILITY, b"online")
        balancer.move_to(second.port)
        eventually(lambda: daemon.client.status().reconnects == 1, "it is on the second node")
        # The first node misses it after one and a half keep-alives.
        observer.wait(AVAILABILITY, b"offline")
        eventually(lambda: observer.on(AVAILABILITY)[-1] == b"online", "it says that it is there")
        assert daemon.is_connected
    with contextlib.closing(Observer(second.port)) as late:
        assert late.wait(AVAILABILITY).payload == b"online"


def test_commands_reach_the_daemon_through_any_node(
    nodes: tuple[Mosquitto, Mosquitto], start_daemon: Callable[..., Daemon]
) -> None:
    first, second = nodes
    daemon = start_daemon(first.port)
    eventually(lambda: daemon.is_connected, "it is connected")
    with contextlib.closing(Observer(second.port)) as observer:
        observer.wait(AVAILABILITY, b"online")
        observer.publish(TOPICS.command("listen"), b"")
        eventually(lambda: [c.verb for c in daemon.commands] == ["listen"], "it heard the command")
        daemon.client.publish(MqttMessage("voice/den/wake", b"{}"))
        assert observer.wait("voice/den/wake").payload == b"{}"


def test_what_somebody_else_says_of_us_is_put_right(
    broker: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(broker.port)
    with contextlib.closing(Observer(broker.port)) as observer:
        observer.wait(AVAILABILITY, b"online")
        eventually(lambda: daemon.client._online_returned, "it has heard itself")
        observer.publish(AVAILABILITY, b"offline", retain=True)
        eventually(
            lambda: observer.on(AVAILABILITY)[-2:] == [b"offline", b"online"], "it contradicts"
        )


def test_a_clean_stop_is_not_contradicted(
    broker: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(broker.port)
    with contextlib.closing(Observer(broker.port)) as observer:
        observer.wait(AVAILABILITY, b"online")
        assert daemon.client.stop(5)
        observer.wait(AVAILABILITY, b"offline")
        observer.publish("after", b"it")
        observer.wait("after")
        assert observer.on(AVAILABILITY)[-1] == b"offline"
