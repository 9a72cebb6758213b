"""What the worker is asked to do between two blocks: bounded turns, and the newest of each kind.

A setting sent a thousand times while the worker is busy is one request. Knows nothing of what a
request does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_daemon.events import Event
    from voice_daemon.session.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Request:
    """Something to do between two blocks; `done` is called afterwards."""

    act: Callable[[Pipeline], list[Event]]
    done: Callable[[], None]


class Inbox:
    """Requests in order; callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[str | int, Request] = {}
        self._numbers = count()

    def put(self, request: Request, *, instead_of: str | None = None) -> None:
        """Take a request in at the end, in the place of any that waits under the same name."""
        with self._lock:
            key = next(self._numbers) if instead_of is None else instead_of
            self._requests.pop(key, None)
            self._requests[key] = request

    def take_all(self) -> tuple[Request, ...]:
        """Give what is there now, in order; what comes meanwhile waits for the next turn."""
        with self._lock:
            requests = tuple(self._requests.values())
            self._requests.clear()
            return requests
