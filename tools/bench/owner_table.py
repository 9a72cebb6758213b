"""One table for any model: speech of some length in one decode, then streamed at several steps.

Total time, real-time factor, and the time to the first text: on the real-time clock, from the
first sample, and by computing alone, as if all audio were there from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.bench.metrics import first_text
from tools.bench.replay import Run, replay
from tools.bench.systems import OFFLINE, System
from tools.bench.tables import Table, number, seconds

STEPS_S: Final = (0.5, 1.0, 2.0, 3.0)
WARM_UP_SAMPLES: Final = 32_000


@dataclass(frozen=True, slots=True)
class Line:
    """One way to read the speech; seconds."""

    system: str
    step_s: float | None
    """None: one decode of the whole."""
    total_s: float
    rtf: float
    first_live_s: float | None
    """When the first text was there, on the clock; None without any text."""
    first_compute_s: float | None
    """How long was computed until then."""


def measure(
    systems: Sequence[System], samples: NDArray[np.float32], *, now_s: Callable[[], float]
) -> Iterator[Line]:
    """Read (n,) samples by every system, batch first and then at each step length."""
    for system in systems:
        for step_s in STEPS_S if system.streams else (None,):
            replay(system.recogniser, samples[:WARM_UP_SAMPLES], step_s=step_s)
            run = replay(system.recogniser, samples, step_s=step_s, now_s=now_s)
            yield _line(system, step_s, run)


def table(lines: Sequence[Line], *, audio_s: float) -> Table:
    """The owner's table."""
    rows = tuple(
        (
            "batch" if line.step_s is None else f"{line.system}, {seconds(line.step_s)} steps",
            number(line.total_s),
            number(line.first_live_s),
            number(line.first_compute_s),
            number(line.rtf, 3),
        )
        for line in lines
    )
    columns = ("", "total s", "first text s (live)", "first text s (computing alone)", "RTF")
    return Table(f"{audio_s:g} s of speech", columns, rows)


def in_order(systems: Sequence[System]) -> tuple[System, ...]:
    """The batch decode first."""
    return tuple(sorted(systems, key=lambda system: system.name != OFFLINE))


def _line(system: System, step_s: float | None, run: Run) -> Line:
    first = first_text(run)
    outputs = (*run.steps, run.final)
    computed_s = None
    if first is not None:
        computed_s = sum(shown.compute_s for shown in outputs[: outputs.index(first) + 1])
    return Line(
        system=system.name,
        step_s=step_s,
        total_s=run.compute_s,
        rtf=run.compute_s / run.final.audio_s,
        first_live_s=None if first is None else first.end_s,
        first_compute_s=computed_s,
    )
