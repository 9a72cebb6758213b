"""The picture of a soak: memory, cost and delivery from its beginning to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl

from tools.soak.soak import SoakResult

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

BLUE: Final = "#1f6f8b"
AMBER: Final = "#f0a202"
DPI: Final = 110


def draw(soaked: SoakResult, path: Path) -> None:
    """Resident memory, the recogniser's time a command, and how long finals were on their way."""
    check = soaked.check
    figure, (memory, compute, delivery) = plt.subplots(3, 1, figsize=(9, 8), layout="constrained")
    working = [reading for reading in soaked.readings if reading.n_finals]
    hours = [check.hours * r.n_finals / check.commands for r in working]
    memory.plot(hours, [r.resident_mb for r in working], color=BLUE, lw=1)
    memory.set_ylim(0, 1.2 * check.footprint.resident_mb_most)
    memory.set_ylabel("resident, MB")
    memory.set_xlabel("hours of audio")
    compute.plot(soaked.compute_ms, ".", color=BLUE, markersize=2)
    compute.set_ylabel("recogniser a command, ms")
    compute.set_yscale("log")
    compute.set_xlabel("command")
    delivery.plot([1000 * s for s in soaked.delays_s], ".", color=AMBER, markersize=2)
    delivery.set_ylabel("final to subscriber, ms")
    delivery.set_yscale("log")
    delivery.set_xlabel("final that arrived; the peaks are faults of the broker")
    for panel in (memory, compute, delivery):
        panel.grid(alpha=0.3)
    faults = ", ".join(f"{count} {kind}" for kind, count in check.faults.items())
    figure.suptitle(
        f"{check.hours:g} h of audio in {check.wall_s / 60:.0f} min, "
        f"{check.commands} commands; {faults}",
        fontsize=10,
    )
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
