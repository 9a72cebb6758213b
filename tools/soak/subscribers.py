"""Persistent subscriber: counts what arrives of each session, over restarts of the broker.

Its session at the broker outlives the connection, so that what is published while it is away
waits for it.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from rigs.brokers import DEADLINE_S, HOST

NEVER: Final = 0xFFFFFFFF
"""MQTT's word for a session that does not expire."""
_SESSIONS: Final = re.compile(r"\(session ([^)]*)\)")
_COUNT: Final = re.compile(r"^(\d+) transcript")


class PersistentSubscriber:
    """Counts what arrives, by session."""

    def __init__(self, port: int, *, root: str) -> None:
        """`root`: the daemon's topics begin with it."""
        self.redelivered = 0
        """Messages that came again to the byte: their acknowledgement was lost (QoS 1)."""
        self.finals: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.reported_lost: set[str] = set()
        self.n_reported_lost = 0
        """Finals; more than `reported_lost` has where a report could not name them all."""
        self.delays_s: list[float] = []
        """From a message's own time to its arrival, one a final."""
        self.words: Counter[str] = Counter()
        self.health: list[dict[str, Any]] = []
        self.last_state = b""
        self._root = root
        self._heard: set[bytes] = set()
        self._change = threading.Condition()
        subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id="soak-subscriber",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"{root}/{leaf}", SubscribeOptions(qos=1)) for leaf in self._leaves()]
        )
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        lasting.SessionExpiryInterval = NEVER
        self._client.connect(HOST, port, clean_start=False, properties=lasting)
        self._client.loop_start()
        assert subscribed.wait(DEADLINE_S), "the subscriber could not subscribe"

    def _leaves(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        return {
            "transcript/final": self._final,
            "session": self._session,
            "error": self._error,
            "health": self.health.append,
            "availability": lambda _: None,
        }

    def _on_message(self, _client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        leaf = message.topic.removeprefix(f"{self._root}/")
        with self._change:
            self._hear(leaf, bytes(message.payload))
            self._change.notify_all()

    def _hear(self, leaf: str, payload: bytes) -> None:
        if not payload.startswith(b"{"):
            self.last_state = payload
        elif payload in self._heard:
            self.redelivered += 1
        else:
            self._heard.add(payload)
            self._leaves()[leaf](json.loads(payload))

    def _final(self, body: dict[str, Any]) -> None:
        self.finals[body["session_id"]] += 1
        self.words[" ".join(re.findall(r"[a-z']+", body["text"].lower()))] += 1
        self.delays_s.append(
            (datetime.now(UTC) - datetime.fromisoformat(body["at"])).total_seconds()
        )

    def _session(self, body: dict[str, Any]) -> None:
        counter = self.started if body["event_type"] == "started" else self.ended
        counter[body["session_id"]] += 1

    def _error(self, body: dict[str, Any]) -> None:
        if body["code"] not in {"mqtt.final_lost", "mqtt.final_unconfirmed"}:
            return
        named, count = _SESSIONS.search(body["message"]), _COUNT.match(body["message"])
        assert named is not None, body["message"]
        assert count is not None, body["message"]
        self.reported_lost |= set(named.group(1).split(", "))
        self.n_reported_lost += int(count.group(1))

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition on what arrived holds; tell whether it does."""
        with self._change:
            return self._change.wait_for(condition, timeout_s)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()
