"""What happened in each try, from the messages that anybody can hear."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import paho.mqtt.client as paho

from rigs.brokers import Observer


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a device, and when it came."""

    at_s: float
    node: str
    leaf: str
    """Its topic below the node; `arbitration` for a claim."""
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Try:
    """One wake word: what devices said about it."""

    said: tuple[Said, ...]

    @property
    def claims(self) -> list[Said]:
        return [m for m in self.said if m.body.get("event_type") == "claim"]

    @property
    def taken(self) -> list[Said]:
        return [m for m in self.said if m.body.get("event_type") == "taken"]

    @property
    def wakes(self) -> list[Said]:
        return [m for m in self.said if m.leaf == "wake"]

    @property
    def started(self) -> list[Said]:
        return [m for m in self.said if m.body.get("event_type") == "started"]

    @property
    def finals(self) -> list[Said]:
        return [m for m in self.said if m.leaf == "transcript/final"]

    @property
    def lasting(self) -> list[str]:
        """Sessions that were not given up for another device's."""
        ended = [m.body for m in self.said if m.body.get("event_type") == "ended"]
        return [body["session_id"] for body in ended if body["reason"] != "cancelled"]

    @property
    def is_best(self) -> bool:
        """True when the best of all claims answered."""
        return self._answers_first(self.claims)

    @property
    def is_fair(self) -> bool:
        """True when the best of the claims that were made in time answered."""
        return self._answers_first(self.said[: self.said.index(self.taken[0])])

    def _answers_first(self, said: Iterable[Said]) -> bool:
        claims = [m for m in said if m.body.get("event_type") == "claim"]
        best = max(claims, key=lambda m: (m.body["score"], m.node))
        return self.taken[0].node == best.node

    @property
    def decided_s(self) -> float:
        """From the first claim until it was taken."""
        return self.taken[0].at_s - self.claims[0].at_s


class Listener(Observer):
    """Subscribes to everything, and notes when it came."""

    def __init__(self, port: int) -> None:
        self._noted: list[Said] = []
        self._noting = threading.Lock()
        super().__init__(port)

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        now_s = time.monotonic()
        super()._on_message(client, userdata, message)
        if message.retain or not message.payload.startswith(b"{"):
            return
        body = json.loads(message.payload)
        _, node, leaf = message.topic.split("/", maxsplit=2)
        if node == "arbitration":
            node, leaf = body["node_id"], "arbitration"
        with self._noting:
            self._noted.append(Said(now_s, node, leaf, body))

    def tries(self, *, every_s: float) -> list[Try]:
        """Give what was said, one after the other: a try begins with the claim after a pause.

        A session belongs to the try in which it was claimed, however long it lasts.
        """
        with self._noting:
            noted = sorted(self._noted, key=lambda m: m.at_s)
        claims = [m.at_s for m in noted if m.body.get("event_type") == "claim"]
        begins = claims[:1] + [b for a, b in pairwise(claims) if b - a > every_s / 2]
        ends = [*begins[1:], float("inf")]
        since = {m.body.get("session_id"): m.at_s for m in reversed(noted)}
        return [
            Try(tuple(m for m in noted if begin <= since[m.body.get("session_id")] < end))
            for begin, end in zip(begins, ends, strict=True)
        ]
