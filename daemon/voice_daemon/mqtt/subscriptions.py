"""Makes sure that we hear: a connection without its subscriptions looks well and is deaf."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from voice_daemon.errors import BrokerError, Problem
from voice_daemon.mqtt.connection import Connection
from voice_daemon.mqtt.errors import access_fault

DEAF_CODE: Final = "mqtt.deaf"
_ASK_AGAIN_S: Final = 60.0


class Subscriptions:
    """The subscriptions of one connection. `essential`: those without which we are deaf."""

    def __init__(
        self,
        connection: Connection,
        filters: tuple[str, ...],
        *,
        essential: Collection[str],
        answer_s: float,
        on_problem: Callable[[str, Problem | None], None],
        now_s: float,
    ) -> None:
        self._connection = connection
        self._filters = filters
        self._essential = frozenset(essential)
        self._answer_s = answer_s
        self._on_problem = on_problem
        self._answer_due_s = now_s + answer_s
        self._is_settled = False
        self._is_deaf = False
        connection.subscribe(filters)

    def check(self, user: str, *, now_s: float) -> tuple[BrokerError, ...]:
        """Look at the broker's answers; give what it refused to `user`, once each."""
        refused = tuple(self._connection.refused_filters)
        self._connection.refused_filters.clear()
        for one in refused:
            if one.topic_filter in self._essential:
                self._raise(
                    f"the broker refused the subscription to {one.topic_filter}: {one.reason}",
                    f"give {user!r} access to the daemon's topics in the broker's rules",
                )
        if not self._connection.is_subscribed and now_s >= self._answer_due_s:
            self._raise(
                f"the broker did not answer a subscription for {self._answer_s:g} s",
                "see the broker's log; it is asked again every minute",
            )
            self._answer_due_s = now_s + _ASK_AGAIN_S
            self._connection.subscribe(self._filters)
        elif self._connection.is_subscribed and not self._is_settled:
            self._is_settled = True
            if not self._is_deaf:
                self._on_problem(DEAF_CODE, None)
        return tuple(
            access_fault(user, f"subscribing to {one.topic_filter}", one.reason) for one in refused
        )

    def _raise(self, why: str, remedy: str) -> None:
        self._is_deaf = True
        self._on_problem(
            DEAF_CODE, Problem("mqtt", f"commands over MQTT may not be heard: {why}", remedy)
        )
