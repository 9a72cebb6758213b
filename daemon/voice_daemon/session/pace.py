"""When the next step of the recogniser is due: sooner until the first words are there.

Pure; time is a sample index. Knows neither recogniser nor clock.
"""

from __future__ import annotations

from typing import Final

from voice_daemon.events import SAMPLE_RATE

EARLY_S: Final = 0.25
"""Audio between two steps while there are no words: whoever speaks waits for the first most."""


class Pace:
    """Steps every `step_s` of audio, counted from the start of speech."""

    def __init__(self, step_s: float) -> None:
        self.step_samples = round(step_s * SAMPLE_RATE)
        self._early_samples = round(min(step_s, EARLY_S) * SAMPLE_RATE)
        self.start(0)

    def start(self, speech_from: int) -> None:
        """Begin with an utterance that is spoken from a sample on."""
        self._spacing = self._early_samples
        self._next = speech_from + self._spacing

    def due(self, heard_to: int) -> int:
        """How many steps fell due until a sample and were not passed."""
        return max(0, 1 + (heard_to - self._next) // self._spacing)

    def passed(self, heard_to: int, *, has_words: bool) -> None:
        """Count what is due as done; with words there, the next is a whole step away."""
        last = self._next + (self.due(heard_to) - 1) * self._spacing
        if has_words:
            self._spacing = self.step_samples
        self._next = last + self._spacing
