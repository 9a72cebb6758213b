"""Finals whose broker, sender or both are killed at any point: each command runs once."""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rigs.brokers import HOST, Gate, Mosquitto
from rigs.homeassistant.blueprints import COMMANDS, imported
from rigs.homeassistant.consumers import NODE as NODE_JS
from rigs.homeassistant.consumers import example_script, node_red
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.lights import Switch, switch_named
from rigs.homeassistant.names import named

TRIES = int(os.environ.get("VOICE_DAEMON_TRIES", "6"))
"""For each way to the broker; 50 of each of the four make 200."""
BASES = {"Kitchen": "voice", "Bedroom": "livetest-flow", "Office": "livetest-script"}
"""Rooms of the switches of the blueprint, of Node-RED's function, of the example script."""
POINTS = ("before", "during", "after")
"""The acknowledgement."""
KILLED = ("sender", "sender", "broker", "both")
PERSISTENT = ("persistence true", "autosave_on_changes true", "autosave_interval 1")
SEED = 12


class Sender:
    """A process that sends finals; a new one takes the place of one that was killed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent: set[str] = set()
        self.confirmed: set[str] = set()
        self.start()

    @property
    def is_idle(self) -> bool:
        """True when all that it sent is confirmed."""
        return self.sent <= self.confirmed

    def wait_until_connected(self) -> None:
        ping = secrets.token_hex(4)
        self.send([{"topic": "livetest/ping", "payload": ping}])
        soon(lambda: ping in self.confirmed, "the sender is connected")

    def start(self) -> None:
        self.sent.clear()
        self.confirmed.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.final_sender", str(self._port)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.confirmed.add(line.strip())

    def send(self, finals: list[dict[str, str]]) -> None:
        assert self._process.stdin is not None
        for one in finals:
            self.sent.add(one.get("session", one["payload"]))
            self._process.stdin.write(json.dumps(one) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def killable(broker: Mosquitto, folder: Path, way: str, *, persistent: bool) -> Iterator[Mosquitto]:
    """Give the broker that is killed: Home Assistant's own, or one with a bridge to it."""
    kept = (*PERSISTENT, f"persistence_location {folder}/") if persistent else ()
    if way == "bridge":
        bridge = ("connection hub", f"address {HOST}:{broker.port}", "topic # out 1")
        options = ("restart_timeout 1", "cleansession false", "notifications false")
        own = Mosquitto(folder, ("allow_anonymous true", *kept, *bridge, *options)).start()
        try:
            yield own
        finally:
            own.kill()
    else:
        before = broker.settings
        broker.settings = (*before, *kept)
        try:
            yield broker
        finally:
            broker.settings = before


def finals(node: str, number: int) -> list[dict[str, str]]:
    """Write a command for each of the switches."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    word = ("on", "off")[number % 2]
    written = []
    for room, base in BASES.items():
        session = secrets.token_hex(4)
        said = {"text": f"Turn {word} the {room.lower()} ceiling.", "language": "en"}
        ids = {"session_id": session, "seq": 3, "at": at, "is_final": True, "confidence": 0.9}
        payload = json.dumps({"schema": 1, "event_type": "final", **said, **ids})
        topic = f"{base}/{node}/transcript/final"
        written.append({"topic": topic, "payload": payload, "session": session})
    return written


def send_with_a_kill(
    said: list[dict[str, str]], sender: Sender, broker: Mosquitto, gate: Gate, case: tuple[str, str]
) -> None:
    """Send finals, kill at a point, and have them sent again by whoever lives on or comes after."""
    point, who = case
    sender.wait_until_connected()
    if point == "before" and who != "sender":
        broker.kill()
    if point == "during":
        gate.hold(answers_only=True)
    received = broker.log_text().count("Received PUBLISH from livetest-sender")
    sender.send(said)
    if point == "during":
        soon(
            lambda: broker.log_text().count("Received PUBLISH from livetest-sender") > received,
            "the broker has one",
        )
    elif point == "after":
        soon(lambda: sender.is_idle, "all are confirmed")
    if who != "broker":
        sender.kill()
    if who != "sender" and point != "before":
        broker.kill()
    gate.release()
    if who != "sender":
        broker.start()
    if who != "broker":
        sender.start()
        sender.send(said)


@pytest.mark.skipif(NODE_JS is None, reason="this machine has no node")
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("way", ["direct", "bridge"])
def test_every_command_runs_once_whoever_is_killed_at_any_point(
    hub: Hub,
    broker: Mosquitto,
    start_daemon: StartDaemon,
    tmp_path: Path,
    way: str,
    *,
    persistent: bool,
) -> None:
    if not hub.has("input_boolean"):
        pytest.skip("this Home Assistant has no `input_boolean:`")
    node = named(f"kills-{way}-{persistent}".lower())
    generator = random.Random(SEED)  # noqa: S311 - no secret
    with ExitStack() as stack:
        killed = stack.enter_context(killable(broker, tmp_path, way, persistent=persistent))
        calls = stack.enter_context(hub.watch("call_service"))
        rooms: dict[str, Switch] = {
            room: stack.enter_context(switch_named(f"{room} ceiling", hub=hub, calls=calls))
            for room in BASES
        }
        blueprint = stack.enter_context(imported(hub, COMMANDS))
        inputs = {"final_topic": f"voice/{node}/transcript/final"}
        use = {"use_blueprint": {"path": blueprint, "input": inputs}}
        stack.enter_context(hub.automated(node, use))
        stack.enter_context(node_red(hub, broker.port, base=BASES["Bedroom"]))
        stack.enter_context(example_script(broker, base=BASES["Office"]))
        stack.enter_context(start_daemon(node))
        last = hub.entity(node, "sensor", "Last command")
        soon(lambda: hub.state(last) == "unknown", "the device is there")
        gate = Gate(killed.port)
        gate.open()
        sender = Sender(gate.port)
        stack.callback(sender.kill)
        cases = list(itertools.product(POINTS, KILLED))
        generator.shuffle(cases)
        done: Counter[tuple[str, str]] = Counter()
        for number in range(TRIES):
            case = cases[number % len(cases)]
            send_with_a_kill(finals(node, number), sender, killed, gate, case)
            done[case] += 1
            soon(
                lambda: all(len(switch.orders) > number for switch in rooms.values()),  # noqa: B023 - within the turn
                f"try {number} {case} is carried out: "
                f"{ {room: len(switch.orders) for room, switch in rooms.items()} }",
            )
        time.sleep(3)
        gate.shut()
        expected = [("turn_on", "turn_off")[number % 2] for number in range(TRIES)]
        assert {room: switch.orders for room, switch in rooms.items()} == dict.fromkeys(
            BASES, expected
        )
        print(f"\n{way}, persistent {persistent}: {TRIES} tries, {dict(done)}")  # noqa: T201 - a figure for a report
        hub.mark_log()  # a lost broker is worth a warning
