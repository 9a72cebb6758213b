"""A sweep of wake thresholds over recordings: misses against false accepts.

A recording is scored once; every threshold is then tried on its scores with the gate that the
daemon itself uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE
from voice_daemon.wake.detector import WakeGate
from voice_daemon.wake.openwakeword import OpenWakeWord
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES

THRESHOLDS: Final = tuple(round(step / 100, 2) for step in (1, *range(5, 100, 5), 99))
"""The configuration's range, in steps that a person would take."""
AFTER_SAMPLES: Final = SAMPLE_RATE
"""Silence added to a recording: a wake word that ends with it is scored a moment later."""
TOLERABLE_PER_HOUR: Final = 0.5
"""False accepts an hour that openWakeWord's own models are chosen by."""
_DOUBT: Final = 0.05
"""Chance that a bound is too low."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One recording's scores."""

    name: str
    seconds: float
    scores: tuple[dict[str, float], ...]
    """By wake word, for each wake frame of 80 ms."""

    def of(self, word: str) -> Scored:
        """Return the scores of one wake word alone."""
        return replace(self, scores=tuple({word: frame[word]} for frame in self.scores))

    def best(self) -> tuple[str, float]:
        """Return the wake word that scored highest anywhere, and its score."""
        peaks = {
            word: max(frame[word] for frame in self.scores)
            for word in (self.scores[0] if self.scores else ())
        }
        return max(peaks.items(), key=lambda peak: peak[1], default=("", 0.0))


@dataclass(frozen=True, slots=True)
class GateRules:
    """Rules beside the threshold that make a score a wake."""

    trigger_level: int = 1
    refractory_samples: int = 2 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Point:
    """Misses and false accepts of one threshold."""

    threshold: float
    misses: int
    """Recordings of the wake word that would not wake."""
    false_accepts: int
    """Wakes in the recordings of something else."""


@dataclass(frozen=True, slots=True)
class ThresholdSweep:
    """Misses and false accepts of every threshold."""

    points: tuple[Point, ...]
    """By rising threshold."""
    n_said: int
    """Recordings of the wake word."""
    other_hours: float
    """Audio that holds something else."""

    def at(self, threshold: float) -> Point:
        """Return the point of the threshold nearest to this one."""
        return min(self.points, key=lambda point: abs(point.threshold - threshold))

    def miss_rate(self, point: Point) -> float | None:
        """Return misses a wake word, 0..1; None without recordings of it."""
        return point.misses / self.n_said if self.n_said else None

    def per_hour(self, point: Point) -> float | None:
        """Return false accepts an hour; None without audio of anything else."""
        return point.false_accepts / self.other_hours if self.other_hours else None

    def per_hour_at_most(self, point: Point) -> float | None:
        """Return the rate that so many false accepts leave possible; None without audio."""
        return events_at_most(point.false_accepts) / self.other_hours if self.other_hours else None

    def miss_rate_at_most(self, point: Point) -> float | None:
        """Return the miss rate, 0..1, that so many misses leave possible; None without any."""
        return share_at_most(point.misses, self.n_said) if self.n_said else None


def events_at_most(seen: int) -> float:
    """Return the mean of events that may lie behind those seen (Poisson, 95 %): 3 behind none."""
    return _largest(
        lambda mean: sum(
            math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(seen + 1)
        ),
        most=2 * seen + 20.0,
    )


def share_at_most(seen: int, of: int) -> float:
    """Return the share that may lie behind `seen` of `of` (Clopper and Pearson, 95 %)."""
    if seen >= of:
        return 1.0
    return _largest(
        lambda share: sum(
            math.comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(seen + 1)
        ),
        most=1.0,
    )


def _largest(chance: Callable[[float], float], *, most: float) -> float:
    """Find where a falling chance becomes a doubt, by halving."""
    least = 0.0
    # More halvings than a float has bits (53).
    for _ in range(60):
        middle = (least + most) / 2
        least, most = (middle, most) if chance(middle) > _DOUBT else (least, middle)
    return most


def score_recording(name: str, pieces: Iterable[NDArray[np.int16]], scorer: OpenWakeWord) -> Scored:
    """Score a recording, (n,) int16 piece by piece, from a fresh start to a second after it."""
    scorer.reset()
    n_samples = 0
    pending = np.zeros(0, np.int16)
    scores: list[dict[str, float]] = []
    for piece in chain(pieces, (np.zeros(AFTER_SAMPLES, np.int16),)):
        n_samples += piece.size
        audio = np.concatenate((pending, piece))
        whole = audio.size - audio.size % WAKE_FRAME_SAMPLES
        pending = audio[whole:]
        scores += [scorer.score(frame) for frame in audio[:whole].reshape(-1, WAKE_FRAME_SAMPLES)]
    return Scored(name, (n_samples - AFTER_SAMPLES) / SAMPLE_RATE, tuple(scores))


def wakes(scored: Scored, threshold: float, rules: GateRules) -> int:
    """Count the wakes that a recording would cause."""
    gate = WakeGate(
        threshold=threshold,
        trigger_level=rules.trigger_level,
        refractory_samples=rules.refractory_samples,
    )
    return sum(
        found is not None and not found.is_repeat
        for index, frame in enumerate(scored.scores)
        for found in (gate.feed(frame, at_sample=(index + 1) * WAKE_FRAME_SAMPLES),)
    )


def try_thresholds(
    said: Sequence[Scored],
    other: Sequence[Scored],
    rules: GateRules,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
) -> ThresholdSweep:
    """Try every threshold on recordings of the wake word and of anything else."""
    # Most recordings never come near most thresholds: their frames need not be gone through.
    said_peaks, other_peaks = ([(r.best()[1], r) for r in each] for each in (said, other))

    def count(recording: Scored, peak: float, threshold: float) -> int:
        return wakes(recording, threshold, rules) if peak >= threshold else 0

    points = tuple(
        Point(
            threshold,
            misses=sum(count(r, peak, threshold) == 0 for peak, r in said_peaks),
            false_accepts=sum(count(r, peak, threshold) for peak, r in other_peaks),
        )
        for threshold in sorted(thresholds)
    )
    return ThresholdSweep(points, len(said), sum(recording.seconds for recording in other) / 3600)


def suggest(sweep: ThresholdSweep, *, now: float) -> Point | None:
    """Return the threshold to take; None where there is nothing to choose by.

    Of those with at most `TOLERABLE_PER_HOUR` false accepts, one that misses fewest; where no
    threshold is that quiet, one with the fewest false accepts. Several that do equally well are a
    plateau: the one in force if it lies there, else the plateau's middle, far from both edges.
    Without audio of anything else a rise cannot be justified: then no more than is in force.
    """
    if not sweep.n_said:
        return None
    candidates = sweep.points
    if sweep.other_hours:
        quiet = [p for p in candidates if _per_hour(sweep, p) <= TOLERABLE_PER_HOUR]
        least = min(p.false_accepts for p in candidates)
        candidates = tuple(quiet or [p for p in candidates if p.false_accepts == least])
    else:
        candidates = tuple(p for p in candidates if p.threshold <= now) or candidates[:1]
    fewest = min(p.misses for p in candidates)
    plateau = [p for p in candidates if p.misses == fewest]
    in_force = sweep.at(now)
    if in_force in plateau:
        return in_force
    return plateau[len(plateau) // 2] if sweep.other_hours else plateau[-1]


def _per_hour(sweep: ThresholdSweep, point: Point) -> float:
    return sweep.per_hour(point) or 0.0
