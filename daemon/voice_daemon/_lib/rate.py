"""A token bucket: bounds how often something is done that outsiders can cause."""

import time
from collections.abc import Callable


class TokenBucket:
    """Allows `burst` at once and `per_s` a second afterwards; for one thread."""

    def __init__(
        self, *, burst: int, per_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock_s = clock_s
        self._left = float(burst)
        self._at_s = clock_s()

    def allows(self) -> bool:
        """Tell whether it may be done now, and count it if so."""
        self._earn()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def wait_s(self) -> float:
        """Time until it may be done once more; 0 when it may be done now."""
        self._earn()
        return max(0.0, 1 - self._left) / self._per_s

    def _earn(self) -> None:
        now_s = self._clock_s()
        earned = max(0.0, now_s - self._at_s) * self._per_s
        self._at_s = now_s
        self._left = min(self._burst, self._left + earned)
