"""Finds another daemon that speaks under our node id: a cloned machine, a copied configuration.

Both would answer one command. Neither can be sure to be the right one, so both say so.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from voice_daemon.errors import Problem
from voice_daemon.mqtt.topics import Leaf, MqttMessage, Topics

TWIN_CODE: Final = "mqtt.node_id_taken"
FORGET_S: Final = 150.0
"""Without a sign for so long it is taken for gone: daemons publish `health` every minute."""
MAX_OFFLINES: Final = 2
"""More wills of older connections of ours than this are hardly published late on one."""
_KEPT: Final = 8
"""Own payloads a topic that are known again; each comes back within seconds."""


class TwinWatch:
    """Compares what arrives on our own topics with what we said there; for one thread.

    `on_problem` gets the problem when it begins, and None when it is over.
    """

    def __init__(
        self,
        topics: Topics,
        on_problem: Callable[[str, Problem | None], None],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = topics.node
        self._said: dict[str, deque[bytes]] = {
            topics.path(leaf): deque(maxlen=_KEPT) for leaf in (Leaf.INFO, Leaf.HEALTH)
        }
        self._on_problem = on_problem
        self._clock_s = clock_s
        self._returned: set[str] = set()
        """Topics on which a word of ours was heard on this connection."""
        self._n_offlines = 0
        self._seen_at_s: float | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Own topics to listen on."""
        return tuple(self._said)

    def connected(self) -> None:
        """Begin a connection: what comes before our own words is retained, maybe from before."""
        self._returned.clear()
        self._n_offlines = 0

    def sent(self, message: MqttMessage) -> None:
        """Remember what we say."""
        if message.topic in self._said:
            self._said[message.topic].append(message.payload)

    def hear(self, topic: str, payload: bytes) -> None:
        """Take what arrived on one of `topics`."""
        if payload in self._said[topic]:
            self._returned.add(topic)
            self._forget()
        elif topic in self._returned:
            self.report(f"somebody else publishes on {topic}")

    def declared_offline(self) -> None:
        """Take that `offline` was said for us on this connection."""
        self._n_offlines += 1
        # A cluster may publish a will of ours late, more than once.
        if self._n_offlines > MAX_OFFLINES:
            self.report("somebody else says that it is offline")

    def report(self, sign: str) -> None:
        """Take a sign of a twin from wherever it was seen."""
        is_new = self._seen_at_s is None
        self._seen_at_s = self._clock_s()
        if is_new:
            self._on_problem(
                TWIN_CODE,
                Problem(
                    "mqtt",
                    f"another daemon uses the node id {self._node!r}: {sign}",
                    "give every daemon its own node_id in its configuration; a copied machine "
                    "has the same host name",
                ),
            )

    def _forget(self) -> None:
        if self._seen_at_s is not None and self._clock_s() - self._seen_at_s >= FORGET_S:
            self._seen_at_s = None
            self._on_problem(TWIN_CODE, None)
