"""One clip through one recogniser on a simulated real-time clock that counts the computing.

Owns the clock: the audio of a step is there when a microphone would have delivered it, and a
step starts then or when the step before it is done, whichever is later. So a recogniser that
computes too long falls behind as it would in life. Nobody waits: only computing takes time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE

Samples = NDArray[np.float32]

MIN_REST_SAMPLES = 480
"""The final gets at least this much new audio (30 ms): log-mel needs a few windows."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a recogniser shows after a step."""

    text: str
    """Committed."""
    draft: str = ""
    """The replaceable tail, with its leading space; "" for recognisers without one."""


class Recogniser(Protocol):
    """A system under test. One utterance: `start`, then `feed` and `step`, then `finish`."""

    @property
    def has_draft(self) -> bool:
        """Whether it shows more than what it has committed."""

    def start(self, *, step_s: float | None, language: str) -> None:
        """Begin an utterance that is stepped every `step_s` of audio; None: not at all."""

    def feed(self, samples: Samples) -> None:
        """Take the next (n,) float32 samples in [-1, 1] at 16 kHz."""

    def step(self) -> Reading:
        """Read what was fed."""

    def finish(self) -> str:
        """Return the final text of all that was fed."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One output on the clock; seconds from the first sample of the clip."""

    audio_s: float
    """Audio that had been fed."""
    start_s: float
    """When the computing began."""
    end_s: float
    """When the output was there."""
    text: str
    draft: str = ""

    @property
    def compute_s(self) -> float:
        """Time computed for this output."""
        return self.end_s - self.start_s

    @property
    def wait_s(self) -> float:
        """How long its audio waited for an earlier step."""
        return self.start_s - self.audio_s


@dataclass(frozen=True, slots=True)
class Run:
    """What one recogniser showed for one clip."""

    steps: tuple[Shown, ...]
    final: Shown

    @property
    def compute_s(self) -> float:
        """Everything that was computed."""
        return sum(shown.compute_s for shown in (*self.steps, self.final))

    @property
    def committed(self) -> str:
        """The committed text before the final."""
        return self.steps[-1].text if self.steps else ""


def replay(
    recogniser: Recogniser,
    samples: Samples,
    *,
    step_s: float | None,
    language: str = "en",
    now_s: Callable[[], float] = time.perf_counter,
) -> Run:
    """Play (n,) samples to a recogniser, a step every `step_s`, the final at the end.

    With None there are no steps: one decode of the whole, once it is there.
    """
    recogniser.start(step_s=step_s, language=language)
    ends = _step_ends(len(samples), step_s)
    steps: list[Shown] = []
    fed = 0
    free_s = 0.0
    for end in ends:
        begun_s = now_s()
        recogniser.feed(samples[fed:end])
        reading = recogniser.step()
        shown = _placed(end, free_s, now_s() - begun_s, reading)
        steps.append(shown)
        fed, free_s = end, shown.end_s
    begun_s = now_s()
    recogniser.feed(samples[fed:])
    text = recogniser.finish()
    final = _placed(len(samples), free_s, now_s() - begun_s, Reading(text))
    return Run(tuple(steps), final)


def _step_ends(n_samples: int, step_s: float | None) -> range:
    """Where each step ends; what is left after the last is the final's alone."""
    if step_s is None:
        return range(0)
    step = round(step_s * SAMPLE_RATE)
    return range(step, n_samples - MIN_REST_SAMPLES + 1, step)


def _placed(end: int, free_s: float, compute_s: float, reading: Reading) -> Shown:
    audio_s = end / SAMPLE_RATE
    start_s = max(audio_s, free_s)
    return Shown(audio_s, start_s, start_s + compute_s, reading.text, reading.draft)
