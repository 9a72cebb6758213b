"""A power cut at any moment: what was confirmed is kept, and what was begun is told of."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from faults.life import live
from rigs.brokers import Mosquitto, eventually
from support.apps import NODE, on
from support.subscriber import Subscriber
from voice_daemon.runtime.journal import PATTERN

N_KILLS = int(os.environ.get("FAULTS_KILLS", "100"))
LONGEST_LIFE_S = 1.5
EARLY = 0.2
SEED = 12
SETTINGS = {"mute": ("ON", "OFF", "OFF", "OFF"), "silence_ms": ("400", "700", "1100")}
REPORTS = {"session.command_lost", "mqtt.final_lost", "mqtt.final_unconfirmed"}


class Lives:
    """Daemons one after another in one folder, at one broker that lives on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._broker = Mosquitto(folder).start()
        self.ear = Subscriber(self._broker.port)
        # A server that has loaded everything, and forks before any thread is there.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["faults.life"])

    def begin(self) -> BaseProcess:
        born = self._context.Process(
            target=live, args=(self._broker.port, self.folder), daemon=True
        )
        born.start()
        return born

    def end(self, life: BaseProcess) -> None:
        """Kill it, and wait until its broker knows: then all that it sent has arrived."""
        is_known = self._is_online
        life.kill()
        life.join()
        if is_known:
            eventually(lambda: not self._is_online, "the will speaks")
        life.close()

    def close(self) -> None:
        self.ear.close()
        self._broker.kill()

    @property
    def _is_online(self) -> bool:
        said = self.said("availability")
        return bool(said) and said[-1] == "online"

    def said(self, leaf: str, since: int = 0) -> list[str]:
        topic = f"voice/{NODE}/{leaf}"
        return [m.payload.decode() for m in self.ear.seen[since:] if m.topic == topic]

    def order(self, name: str, value: str) -> None:
        self.ear.publish(f"voice/{NODE}/{name}/set", value)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    made = Lives(tmp_path)
    yield made
    made.close()


def test_a_hundred_kills_at_any_moment_lose_nothing_without_a_word(lives: Lives) -> None:
    chance = random.Random(SEED)  # noqa: S311 - the same moments every time
    in_force: dict[str, str] = {"mute": "OFF", "silence_ms": "700"}
    # What a life was told in vain, as far as anybody knows: it may have kept it all the same.
    untold: dict[str, list[str]] = {}
    for number in range(N_KILLS):
        since = len(lives.ear.seen)
        life = lives.begin()
        ordered = give_orders(lives, chance, since)
        lives.end(life)
        for name, before in in_force.items():
            heard = lives.said(f"{name}/state", since)
            if heard:
                assert heard[0] in {before, *untold.get(name, ())}, (number, name, before, heard)
                in_force[name], untold[name] = heard[-1], []
            untold.setdefault(name, []).extend(v for n, v in ordered if n == name)
    settle(lives)
    check_sessions(lives)


def give_orders(lives: Lives, chance: random.Random, since: int) -> list[tuple[str, str]]:
    """Change settings now and then for the time that this life has; one in five ends early."""
    ordered: list[tuple[str, str]] = []
    if chance.random() < EARLY:
        time.sleep(chance.uniform(0, 1))
        return ordered
    eventually(lambda: {"idle", "muted"} & {*lives.said("state", since)}, "it listens")
    end_s = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
    while (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(left_s, chance.uniform(0.02, 0.4)))
        name = chance.choice(sorted(SETTINGS))
        ordered.append((name, chance.choice(SETTINGS[name])))
        lives.order(*ordered[-1])
    return ordered


def settle(lives: Lives) -> None:
    """Let one last life tell what is left, in peace."""
    life = lives.begin()
    eventually(lambda: lives._is_online, "the last one is there")
    lives.order("mute", "ON")
    eventually(lambda: is_settled(lives.folder), "everything is settled")
    lives.end(life)


def is_settled(folder: Path) -> bool:
    lines = [line for path in folder.glob(PATTERN) for line in path.read_text().splitlines()]
    open_ids: set[str] = set()
    for entry in map(json.loads, lines):
        if "started" in entry:
            open_ids.add(entry["started"])
        elif "final" in entry and entry["is"] != "settled":
            open_ids.add(f"final {entry['final']}")
        else:
            open_ids.discard(entry.get("ended", f"final {entry.get('final')}"))
    return not open_ids


def check_sessions(lives: Lives) -> None:
    sessions = on(lives.ear, "session")
    started = {m["session_id"] for m in sessions if m["event_type"] == "started"}
    ended = {m["session_id"]: m for m in sessions if m["event_type"] == "ended"}
    finals = {(m["session_id"], m["seq"]) for m in on(lives.ear, "transcript/final")}
    heard = {session for session, _ in finals}
    reported = {m["session_id"] for m in on(lives.ear, "error") if m["code"] in REPORTS}
    assert len(started) > N_KILLS // 2, "the kills found something to break"
    assert started <= set(ended), "every session that was announced has ended"
    assert max(Counter(session for session, _ in finals).values()) == 1
    assert {s for s, m in ended.items() if m["finals"]} <= heard | reported
    assert {s for s, m in ended.items() if m["reason"] == "error"} <= heard | reported
    assert heard & reported <= {
        m["session_id"]
        for m in on(lives.ear, "error")
        if m["code"] in ("mqtt.final_unconfirmed", "mqtt.final_lost")
    }
