"""An observer for whole daemons: it waits longer, and for whatever is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rigs.brokers import Observer, Seen

PATIENCE_S = 60.0
"""A daemon loads models before it says anything; only a failing test waits so long."""


class Subscriber(Observer):
    """Subscribes to everything; `seen` is what it heard, oldest first."""

    def wait_for(self, wanted: Callable[[Seen], bool]) -> Seen:
        """Give the first message that is wanted, as soon as it is there."""

        def found() -> Seen | None:
            return next((message for message in self._seen if wanted(message)), None)

        with self._change:
            self._change.wait_for(found, PATIENCE_S)
            message = found()
        if message is None:
            pytest.fail(f"never heard what was wanted; heard {self._seen}")
        return message
