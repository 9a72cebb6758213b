"""How long to wait before the next attempt to connect.

Pure. Full jitter, so that a house full of clients does not return to a restarted broker in
step (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
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


class Backoff:
    """Delays between `minimum_s` and a ceiling that doubles up to `maximum_s`."""

    def __init__(
        self, *, minimum_s: float, maximum_s: float, random_unit: Callable[[], float]
    ) -> None:
        self.maximum_s = max(minimum_s, maximum_s)
        self._minimum_s = minimum_s
        self._random_unit = random_unit
        self._ceiling_s = minimum_s

    def next_s(self) -> float:
        """Give the delay after one more failure; `random_unit` gives 0..1."""
        self._ceiling_s = min(self.maximum_s, 2 * self._ceiling_s)
        return self._minimum_s + self._random_unit() * (self._ceiling_s - self._minimum_s)

    def reset(self) -> None:
        """Begin anew: the connection held."""
        self._ceiling_s = self._minimum_s
