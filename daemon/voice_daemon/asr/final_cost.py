"""What a final costs on this machine, and which of its two readings is ready in time.

Beside live silence a final is nearly, on a GPU quite, what offline decoding reads, and costs more
than beside cached silence. Owns what both cost when the recogniser was warmed up, and how much
slower the machine was at the last finals. Knows nothing of audio or models.
"""

from __future__ import annotations

import math

SPARE = 1.5
"""Time that is wanted for each second that a final takes: its decoding varies with the words, of
which the warm-up's tone has none."""
RECOVERY = 0.9
"""Multiplier of a machine's slowness from one final to the next: a lull proves little."""


def is_in_time(usual_s: float, *, slowness: float, within_s: float) -> bool:
    """Tell whether what usually takes `usual_s` is done in time where all takes longer."""
    return SPARE * slowness * usual_s <= within_s


class FinalCost:
    """Costs of finals, by the encoder's frames; shared by the decoders of one model."""

    def __init__(self) -> None:
        self._usual_s: dict[bool, float] = {}
        self._slowness = 1.0

    def learn(self, took_s: float, *, n_frames: int, live: bool) -> None:
        """Take down what a final costs where nothing else is to be done."""
        self._usual_s[live] = took_s / n_frames

    def took(self, took_s: float, *, n_frames: int, live: bool) -> None:
        """Follow the machine: at once where it is slower than it was, gradually back."""
        if live in self._usual_s:
            slowness = took_s / (self._usual_s[live] * n_frames)
            self._slowness = max(1.0, slowness, RECOVERY * self._slowness)

    def allows_live(self, *, n_frames: int, within_s: float) -> bool:
        """Tell whether a final of `n_frames` beside live silence is ready within some time.

        Always where there is no limit, and never within one before its cost is known.
        """
        if math.isinf(within_s):
            return True
        usual_s = self._usual_s.get(True, math.inf) * n_frames
        return is_in_time(usual_s, slowness=self._slowness, within_s=within_s)
