"""A home whose parts can be taken away one by one: Home Assistant, the daemon, the network."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigs.brokers import Gate, Mosquitto, Observer, free_port
from rigs.homeassistant.blueprints import COMMANDS, imported
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.lights import Light, light_in
from rigs.homeassistant.satellites import Added, added_by_address, pipeline, ready
from rigs.virtual_microphone import OUTPUT, VirtualMicrophone
from support.daemon_process import DaemonProcess
from voice_daemon.control.client import ControlClient

ROOM = "Kitchen"
LOUD_DBFS = -50


@dataclass(frozen=True, slots=True)
class Before:
    """How much had been heard of at some moment."""

    n_messages: int
    n_orders: int
    n_log_lines: int


class Home:
    """A daemon behind gates: to the broker, and of Home Assistant to its satellite.

    Nobody but Home Assistant hears its finals, as in most homes.
    """

    def __init__(
        self, node: str, hub: Hub, broker: Mosquitto, room: VirtualMicrophone, start: StartDaemon
    ) -> None:
        self.node, self.hub, self.room = node, hub, room
        port = free_port()
        self.broker_gate = Gate(broker.port)
        self.satellite_gates = (Gate(port), Gate(port + 1))
        self.ear = Observer(broker.port, topic_filter=f"voice/{node}/+", hears_retained=False)
        self._start = start
        self._settings = {
            "VOICE_DAEMON_MQTT__PORT": str(self.broker_gate.port),
            "VOICE_DAEMON_HOMEASSISTANT__SATELLITE": "true",
            "VOICE_DAEMON_HOMEASSISTANT__SATELLITE_PORT": str(port),
            "VOICE_DAEMON_HOMEASSISTANT__AREA": ROOM,
            "VOICE_DAEMON_AUDIO__OUTPUT": OUTPUT,
        }
        self._life = ExitStack()
        self.daemon: DaemonProcess
        self.added: Added
        self.light: Light

    @property
    def gates(self) -> tuple[Gate, ...]:
        return (self.broker_gate, *self.satellite_gates)

    def begin(self) -> None:
        """Start the daemon."""
        process = self._start(self.node, room=self.room, forget=False, **self._settings)
        self.daemon = self._life.enter_context(process)

    def end(self) -> None:
        """Kill the daemon."""
        self.daemon.signal(signal.SIGKILL)
        self._life.close()

    @property
    def is_attached(self) -> bool:
        """True while Home Assistant runs the satellite, by the daemon's word."""
        told = [json.loads(line)["event"] for line in self._log()]
        changes = ("daemon.started", "satellite.attached", "satellite.detached")
        last: str = [event for event in told if event in changes][-1]
        return last == "satellite.attached"

    def settle(self) -> None:
        """Wait until everything works again."""
        soon(lambda: self.is_attached, "the satellite is attached")
        ready(self.hub, self.node, self.added)

    def before(self) -> Before:
        return Before(len(self.ear.seen), len(self.light.orders), len(self._log()))

    def sessions(self, since: Before) -> list[dict[str, Any]]:
        return self._said("session", since)

    def reports(self, since: Before) -> list[tuple[str, str]]:
        """Give code and session of each error."""
        return [(error["code"], error["session_id"]) for error in self._said("error", since)]

    def logged(self, event: str, since: Before) -> int:
        """Count the lines of the daemon's log."""
        return sum(json.loads(line)["event"] == event for line in self._log()[since.n_log_lines :])

    def orders(self, since: Before) -> list[bytes]:
        return self.light.orders[since.n_orders :]

    def is_loud(self) -> bool:
        client = ControlClient(self.daemon.home / "voice-daemon.sock")
        level = client.request("status")["mic"]["level_dbfs"]
        return level is not None and level > LOUD_DBFS

    def account_for(self, since: Before, *, but: Collection[object] = ()) -> str:
        """Wait until each command since then was carried out once, or is accounted for.

        `but`: sessions of which no order is expected.
        """

        def ids(kind: str) -> set[str]:
            return {s["session_id"] for s in self.sessions(since) if s["event_type"] == kind}

        def unaccounted() -> list[str]:
            begun, ended = ids("started"), ids("ended")
            failed = {
                s["session_id"]
                for s in self.sessions(since)
                if s.get("reason", "silence") != "silence"
            }
            left = ended - failed - {session for _, session in self.reports(since)} - {*but}
            return sorted(begun - ended) or sorted(left)[len(self.orders(since)) :]

        soon(lambda: ids("started") and not unaccounted(), "all is accounted for")
        time.sleep(3)
        assert unaccounted() == []
        assert ids("started") == ids("ended")
        codes = sorted(code for code, _ in self.reports(since))
        return f"{len(self.orders(since))} orders, reports {codes}"

    def _said(self, leaf: str, since: Before) -> list[dict[str, Any]]:
        topic = f"voice/{self.node}/{leaf}"
        seen = self.ear.seen[since.n_messages :]
        return [json.loads(message.payload) for message in seen if message.topic == topic]

    def _log(self) -> list[str]:
        path: Path = self.daemon.home / "logs" / "voice-daemon.jsonl"
        return path.read_text().splitlines()


@contextmanager
def lived_in(home: Home, broker: Mosquitto) -> Iterator[Home]:
    """Have a home with a satellite, the blueprint and a light, for the length of a block."""
    lights = Observer(broker.port, topic_filter="livetest/#")
    hub = home.hub
    for gate in home.gates:
        gate.open()
    home.begin()
    with (
        imported(hub, COMMANDS) as blueprint,
        hub.automated(home.node, {"use_blueprint": {"path": blueprint, "input": {}}}),
        light_in(ROOM, hub=hub, listener=lights) as home.light,
        added_by_address(hub, [gate.port for gate in home.satellite_gates]) as home.added,
        pipeline(hub, home.node, home.added, speaks=True),
    ):
        home.settle()
        yield home
        home.end()
    for gate in home.gates:
        gate.shut()
    lights.close()
    home.ear.close()


Fault = Callable[[Home], None]


def kill_the_daemon(home: Home) -> None:
    home.end()
    home.begin()


def restart_home_assistant(home: Home) -> None:
    home.hub.restart()


def cut_the_network(home: Home) -> None:
    """Reset every connection, and let none through for four seconds."""
    for gate in home.gates:
        gate.shut()
    time.sleep(4)
    for gate in home.gates:
        gate.open()


def hold_the_network(home: Home) -> None:
    """Let nothing through for eight seconds, and then all of it."""
    for gate in home.gates:
        gate.hold()
    time.sleep(8)
    for gate in home.gates:
        gate.release()


FAULTS: tuple[Fault, ...] = (
    kill_the_daemon,
    restart_home_assistant,
    cut_the_network,
    hold_the_network,
)
