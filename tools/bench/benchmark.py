"""Runs every clip through every system, in alternating order, and collects the runs.

Owns the order of things. Knows nothing of the figures made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tools.bench.clips import Clip
from tools.bench.replay import Run, replay
from tools.bench.scores import Reference, Score, score
from tools.bench.systems import OFFLINE, System
from tools.bench.systems.offline import Offline
from tools.bench.voice import speech_end_s
from voice_daemon.events import SAMPLE_RATE

GIVE_UP_RTF: Final = 2.0
"""A system slower than this at one step length is not run at shorter ones."""
WARM_UP_S: Final = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run and what it was a run of."""

    clip: Clip
    system: str
    step_s: float | None
    run: Run
    score: Score


@dataclass(frozen=True, slots=True)
class Skipped:
    """A system that was not run at some step length."""

    system: str
    step_s: float
    reason: str


class Benchmark:
    """`run` once; then `outcomes`, `references` and `skipped` tell all."""

    def __init__(
        self, systems: Sequence[System], *, now_s: Callable[[], float], on_run: Callable[[], None]
    ) -> None:
        """`now_s` times the computing; `on_run` is called after each clip of each system.

        One of the systems must be offline.
        """
        self._systems = systems
        self._now_s = now_s
        self._on_run = on_run
        self.outcomes: list[Outcome] = []
        self.skipped: list[Skipped] = []
        self.references: dict[str, Reference] = {}

    def run(self, clips: Sequence[Clip], *, steps_s: Sequence[float]) -> None:
        """Run all clips, at the longest steps first; offline once, before them."""
        for index, step_s in enumerate(sorted(steps_s, reverse=True)):
            systems = [
                system
                for system in self._systems
                if (system.streams and not self._gives_up(system.name, step_s))
                or (not system.streams and index == 0)
            ]
            for system in systems:
                self._warm_up(system, clips[0], step_s)
            for turn, clip in enumerate(clips):
                self._run_clip(clip, _rotated(systems, turn), step_s)

    def scores(self) -> dict[tuple[str, float | None], list[Score]]:
        """All scores by system and step length, in the order in which they were first run."""
        grouped: dict[tuple[str, float | None], list[Score]] = {}
        for outcome in self.outcomes:
            grouped.setdefault((outcome.system, outcome.step_s), []).append(outcome.score)
        return grouped

    def _run_clip(self, clip: Clip, systems: Sequence[System], step_s: float) -> None:
        samples = clip.samples()
        runs: list[tuple[str, float | None, Run]] = []
        for system in systems:
            length_s = step_s if system.streams else None
            run = replay(
                system.recogniser,
                samples,
                step_s=length_s,
                language=clip.language,
                now_s=self._now_s,
            )
            runs.append((system.name, length_s, run))
            if system.name == OFFLINE and isinstance(system.recogniser, Offline):
                words = system.recogniser.words
                end_s = speech_end_s(samples)
                self.references[clip.name] = Reference(run.final.text, words, end_s)
            self._on_run()
        reference = self.references[clip.name]
        for name, length_s, run in runs:
            scored = score(clip, reference, run, system=name, step_s=length_s)
            self.outcomes.append(Outcome(clip, name, length_s, run, scored))

    def _warm_up(self, system: System, clip: Clip, step_s: float) -> None:
        samples = clip.samples()[: WARM_UP_S * SAMPLE_RATE]
        length_s = step_s if system.streams else None
        replay(system.recogniser, samples, step_s=length_s, language=clip.language)

    def _gives_up(self, system: str, step_s: float) -> bool:
        """Whether the system was hopelessly slow at the next longer steps, or gave up there."""
        longer = [o for o in self.outcomes if o.system == system and (o.step_s or 0) > step_s]
        if not longer:
            return False
        last_s = min(o.step_s or 0 for o in longer)
        computed_s = sum(o.run.compute_s for o in longer if o.step_s == last_s)
        audio_s = sum(o.run.final.audio_s for o in longer if o.step_s == last_s)
        rtf = computed_s / audio_s
        if rtf > GIVE_UP_RTF:
            reason = f"it computed {rtf:.1f} times as long as the audio at {last_s:g} s steps"
            self.skipped.append(Skipped(system, step_s, reason))
        return rtf > GIVE_UP_RTF


def _rotated(systems: Sequence[System], turn: int) -> Sequence[System]:
    """The same systems, each clip's first one another."""
    first = turn % len(systems) if systems else 0
    return (*systems[first:], *systems[:first])


def shown_runs(outcomes: Sequence[Outcome], *, clip: str, step_s: float) -> Iterator[Outcome]:
    """The runs of one clip at one step length, for a picture."""
    for outcome in outcomes:
        if outcome.clip.name == clip and outcome.step_s == step_s:
            yield outcome
