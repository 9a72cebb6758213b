"""How often something may be done: in bursts, and at a steady rate in the long run.

Pure but for the clock that it is given. Knows nothing of what is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Throttle:
    """Allows `burst` at once and `per_s` a second afterwards; for one thread."""

    def __init__(self, *, burst: int, per_s: float, clock_s: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock_s = clock_s
        self._left = float(burst)
        self._at_s = clock_s()

    def allows(self) -> bool:
        """Tell whether it may be done now, and count it if so."""
        now_s = self._clock_s()
        earned = max(0.0, now_s - self._at_s) * self._per_s
        self._at_s = now_s
        self._left = min(self._burst, self._left + earned)
        if self._left < 1:
            return False
        self._left -= 1
        return True
