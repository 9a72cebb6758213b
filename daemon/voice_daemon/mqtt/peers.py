"""Carries claims about wake words between devices, as MQTT messages."""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from voice_daemon._lib.terminal import rfc3339
from voice_daemon.events import Claim, Stage
from voice_daemon.mqtt.topics import NODE_PATTERN, SCHEMA, MqttMessage, Topics, encode_json
from voice_daemon.wake.arbitration import MAX_HEARD, Participation

MAX_CLAIM_BYTES: Final = 1024
MAX_NAME_CHARS: Final = 128
"""Longest wake word and session id."""
CLAIM_EXPIRY_S: Final = 1.0
"""A claim is of use for as long as one utterance may be heard."""

_NOT_IN_A_TOPIC = re.compile(r"[^A-Za-z0-9._-]")


def claims_filter(topics: Topics) -> str:
    """Give the subscription that carries the claims of every device with our base topic."""
    return f"{topics.base}/arbitration/+"


def claim_message(claim: Claim, *, topics: Topics, at: datetime) -> MqttMessage:
    """Give a claim as it is sent. `at` is for people: the clocks of devices differ."""
    body = {
        "schema": SCHEMA,
        "event_type": claim.stage.value,
        "node_id": claim.node_id,
        "session_id": claim.session_id,
        "wake_word": claim.wake_word,
        "score": claim.score,
        "at": rfc3339(at, "milliseconds"),
    }
    level = _NOT_IN_A_TOPIC.sub("_", claim.wake_word)
    topic = f"{topics.base}/arbitration/{level}"
    return MqttMessage(topic, encode_json(body), qos=0, expiry_s=CLAIM_EXPIRY_S)


def parse_claim(payload: bytes) -> Claim | None:
    """Read a claim; None for what is none, of another schema, or out of bounds."""
    if len(payload) > MAX_CLAIM_BYTES:
        return None
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return None
    return _claim(document)


def _claim(document: Mapping[str, Any]) -> Claim | None:
    stage, node_id, score = (document.get(key) for key in ("event_type", "node_id", "score"))
    names = (document.get("session_id"), document.get("wake_word"))
    if stage not in tuple(Stage) or not isinstance(node_id, str):
        return None
    if not NODE_PATTERN.fullmatch(node_id):
        return None
    # Not-a-number is within no bounds.
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return None
    session_id, wake_word = (_name(name) for name in names)
    if session_id is None or wake_word is None:
        return None
    return Claim(Stage(stage), node_id, session_id, wake_word, float(score))


def _name(value: object) -> str | None:
    is_good = isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()
    return str(value) if is_good else None


MAX_WAITING: Final = MAX_HEARD
"""More claims than this between two audio blocks is a flood; the oldest are dropped."""


class MqttPeers:
    """Devices that speak over MQTT. One thread may call `on_message`, another the rest."""

    def __init__(
        self,
        *,
        topics: Topics,
        publish: Callable[[MqttMessage], None],
        is_connected: Callable[[], bool],
        has_problem: Callable[[], bool],
        on_twin: Callable[[str], None] = lambda _: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._publish = publish
        self._is_connected = is_connected
        self._has_problem = has_problem
        self._on_twin = on_twin
        self._own_sessions: tuple[str, ...] = ()
        """Sessions that we claimed for, newest last: what comes back with another is a twin's."""
        self._clock_s = clock_s
        self._waiting: deque[tuple[Claim, float]] = deque(maxlen=MAX_WAITING)

    def on_message(self, _topic: str, payload: bytes) -> None:
        """Take what arrived; what is no claim is passed over."""
        claim = parse_claim(payload)
        if claim is None:
            return
        is_ours = claim.node_id == self._topics.node
        if is_ours and claim.session_id not in self._own_sessions:
            self._on_twin("it answers the same wake words")
        self._waiting.append((claim, self._clock_s()))

    def participation(self) -> Participation:
        """Return the say of this device: none without the others, little while it has a problem."""
        if not self._is_connected():
            return Participation.ALONE
        return Participation.SILENT if self._has_problem() else Participation.FULL

    def send(self, claim: Claim) -> None:
        """Publish a claim."""
        if claim.session_id not in self._own_sessions:
            # Replaced whole: the other thread may be reading it.
            self._own_sessions = (*self._own_sessions[1 - MAX_HEARD :], claim.session_id)
        self._publish(claim_message(claim, topics=self._topics, at=datetime.now(UTC)))

    def receive(self) -> list[tuple[Claim, float]]:
        """Return what devices said since the last call, oldest first, and how many seconds ago."""
        taken = []
        while self._waiting:
            claim, arrived_s = self._waiting.popleft()
            taken.append((claim, self._clock_s() - arrived_s))
        return taken
