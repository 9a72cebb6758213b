"""A picture of minutes of speech: what each step computed, and the memory held."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl

from tools.bench.long_speech import LongRun

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

COST, MEMORY = "#1f6f8b", "#c8553d"
DPI: Final = 110


def draw(run: LongRun, path: Path) -> None:
    """Milliseconds of each step above, resident memory below, over the minutes of audio."""
    figure, (cost, memory) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    minutes = [step.audio_s / 60 for step in run.steps]
    cost.plot(minutes, [1000 * step.compute_s for step in run.steps], ".", color=COST, ms=3)
    cost.set_ylabel("ms computed a step")
    memory.plot(minutes, [step.resident_mb for step in run.steps], color=MEMORY)
    memory.set_ylabel("resident MiB")
    memory.set_xlabel("minutes of speech")
    for panel in (cost, memory):
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
