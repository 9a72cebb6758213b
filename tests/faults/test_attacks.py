"""Everybody attacks at once while somebody speaks commands: a flood, Wyoming clients, a network.

`FAULTS_ATTACK_S` says for how long; two minutes by default, ten before a release.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from faults.rig import Footprint
from faults.wire import Wire
from rigs.brokers import HOST, Mosquitto, Seen, free_port
from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber

NODE = "attacked"
ROOT = f"voice/{NODE}"
ATTACK_S = float(os.environ.get("FAULTS_ATTACK_S", "120"))
PERIOD_S = 10
N_CALM = 4
"""Commands before the attack: what the others are compared with."""
MAX_TIMES_LATER = 3
"""A command's wait under attack, beside the longest of those before it."""
MAX_LINES_A_SECOND = 10
MAX_GROWTH_MB = 60


@pytest.fixture
def speech(clip: NDArray[np.int16], tmp_path: Path) -> Path:
    """A command every ten seconds, from beginning to end."""
    n_commands = N_CALM + round(ATTACK_S / PERIOD_S)
    pause = np.random.default_rng(1).integers(-3, 4, PERIOD_S * 16_000, dtype=np.int16)
    pause[: len(clip)] = clip
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.tile(pause, n_commands), 16_000)
    return path


class Attack:
    """Attackers on threads of their own, until it is over."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.n_done = 0

    def add(self, act: Callable[[], None], pause_s: float) -> None:
        """Have `act` done again and again."""

        def again() -> None:
            while not self._over.wait(pause_s):
                with contextlib.suppress(OSError):
                    act()
                    self.n_done += 1

        self._threads.append(threading.Thread(target=again))
        self._threads[-1].start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def attack() -> Iterator[Attack]:
    made = Attack()
    yield made
    made.stop()


def flood(ear: Subscriber) -> Callable[[], None]:
    """Say `offline` in the daemon's name, and give orders that are none."""

    def act() -> None:
        for number in range(50):
            ear.send(f"{ROOT}/availability", "offline")
            ear.send(f"{ROOT}/silence_ms/set", f"no number {number}")
            ear.send(f"{ROOT}/cmd/nothing{number}", "{" * 50)

    return act


def storm(port: int) -> None:
    """Connect to the Wyoming server as often as it goes."""
    for _ in range(5):
        socket.create_connection((HOST, port), 1).close()


def changing_formats(port: int) -> None:
    """Send sound of one byte, each chunk at another rate."""
    with socket.create_connection((HOST, port), 1) as line:
        line.settimeout(1)
        line.sendall(b'{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}\n')
        for rate in range(300_000, 300_400):
            head = {"type": "audio-chunk", "data": {"rate": rate, "width": 1, "channels": 1}}
            line.sendall(json.dumps({**head, "payload_length": 1}).encode() + b"\n\x80")


def between_commands(wire: Wire, ear: Subscriber) -> Callable[[], None]:
    """Break the connection a while after a final, so that none has to wait for the next."""
    done: set[int] = set()

    def act() -> None:
        n_finals = len(finals(ear))
        if n_finals and n_finals not in done:
            done.add(n_finals)
            time.sleep(1)
            wire.cut()
            wire.mend()

    return act


def finals(ear: Subscriber) -> list[Seen]:
    return [m for m in ear.seen if m.topic == f"{ROOT}/transcript/final"]


def test_commands_are_heard_under_every_attack_at_once(
    speech: Path, attack: Attack, tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path).start()
    ear, enemy, wire = Subscriber(broker.port), Subscriber(broker.port), Wire(broker.port)
    wyoming = free_port()
    home = tmp_path / "home"
    variables = {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(wire.port),
        "VOICE_DAEMON_WYOMING__ENABLED": "true",
        "VOICE_DAEMON_WYOMING__PORT": str(wyoming),
    }
    arrivals: list[float] = []
    on_the_way_s: list[float] = []
    finalize_ms: list[int] = []
    with DaemonProcess(("--input", speech), home, variables) as daemon:
        n_expected = N_CALM + round(ATTACK_S / PERIOD_S)
        give_up_s = time.monotonic() + 2 * PERIOD_S * n_expected + 120
        while len(arrivals) < n_expected and daemon.is_running and time.monotonic() < give_up_s:
            if len(finals(ear)) > len(arrivals):
                said = json.loads(finals(ear)[len(arrivals)].payload)
                on_the_way_s.append(time.time() - datetime.fromisoformat(said["at"]).timestamp())
                finalize_ms.append(said["timing"]["finalize_ms"])
                arrivals.append(time.monotonic() - PERIOD_S * len(arrivals))
                if len(arrivals) == N_CALM:
                    before = Footprint.of(daemon.pid)
                    n_lines = len(log_lines(home))
                    began_s = time.monotonic()
                    attack.add(flood(enemy), 0.1)
                    attack.add(lambda: storm(wyoming), 0.2)
                    attack.add(lambda: changing_formats(wyoming), 0.5)
                    attack.add(between_commands(wire, ear), 0.2)
                if len(arrivals) == n_expected:
                    after = Footprint.of(daemon.pid)
            time.sleep(0.02)
        attack.stop()
        lines_a_second = (len(log_lines(home)) - n_lines) / (time.monotonic() - began_s)
    calm, attacked = arrivals[:N_CALM], arrivals[N_CALM:]
    later_s = max(attacked) - statistics.median(calm)
    print(  # noqa: T201 - figures for whoever runs it
        f"\n{len(arrivals)} commands: at most {later_s:.2f} s later than when it was calm, where "
        f"they differ by {max(calm) - min(calm):.2f} s; {lines_a_second:.1f} log lines a second, "
        f"memory {before.resident_mb:.0f} -> {after.resident_mb:.0f} MB, "
        f"{attack.n_done} attacks, {wire.n_connections} connections; finalised in at most "
        f"{max(finalize_ms[:N_CALM])} ms and {max(finalize_ms[N_CALM:])} ms, on the way for "
        f"{max(on_the_way_s[:N_CALM]):.2f} s and {max(on_the_way_s[N_CALM:]):.2f} s"
    )
    texts = {json.loads(m.payload)["text"] for m in finals(ear)}
    assert len(attacked) == n_expected - N_CALM
    assert all("kitchen lights" in text.lower() for text in texts)
    waits_s = [ms / 1000 + way_s for ms, way_s in zip(finalize_ms, on_the_way_s, strict=True)]
    assert max(waits_s[N_CALM:]) <= MAX_TIMES_LATER * max(waits_s[:N_CALM]), waits_s
    assert lines_a_second <= MAX_LINES_A_SECOND
    assert after.resident_mb - before.resident_mb <= MAX_GROWTH_MB
    enemy.close()
    ear.close()
    wire.close()
    broker.kill()


def log_lines(home: Path) -> list[str]:
    return (home / "logs" / "voice-daemon.jsonl").read_text().splitlines()
