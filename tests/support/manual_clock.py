"""A clock that stands still until a test moves it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ManualClock:
    """Reads `now_s`, which the test sets."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s
