"""Misses and false accepts of one wake word over the threshold, heard once or read as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes

from tools.bench.labels import Label, label_points

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

COLOURS: Final = {
    "clean": ("quiet room", "#1f6f8b"),
    "noise": ("noise", "#b57a00"),
    "music": ("music", "#6a4c93"),
    "television": ("television", "#c8553d"),
    "echo": ("echo", "#4f8a3a"),
}
"""What a condition is called, and how it is drawn."""
ACCEPTS: Final = ("#555555", "#1f6f8b")
DPI: Final = 110
Row = Mapping[str, Any]


def draw(name: str, rows: Sequence[Row], path: Path, *, default: float) -> None:
    """A panel of misses for each stage, side by side, and one of what is accepted falsely."""
    stages = sorted({row["verify_from"] for row in rows})
    figure, panels = plt.subplots(1, len(stages) + 1, figsize=(14, 4.8), layout="constrained")
    most = max(m for row in rows for m in _missed(row).values())
    for panel, stage in zip(panels, stages, strict=False):
        _misses(panel, [row for row in rows if row["verify_from"] == stage], most=most)
        how = f"scores from {stage:g} on are read as well" if stage else "by its score alone"
        panel.set_title(f"Missed: {how}", fontsize=10)
    _accepts(panels[-1], rows, stages)
    for panel in panels:
        panel.axvline(default, color="#999999", lw=0.8, ls=":")
        panel.set_xlabel(f"threshold (dotted: the default, {default:g})")
        panel.grid(alpha=0.3)
    hours = sum(rows[0]["hours"].values())
    about = f"{rows[0]['said']} recordings of people, {hours:.1f} h of other sound"
    figure.suptitle(f"{name}: {about}", fontsize=12)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _missed(row: Row) -> dict[str, float]:
    return {condition: 100 * n / row["said"] for condition, n in row["missed"].items()}


def _misses(panel: Axes, rows: Sequence[Row], *, most: float) -> None:
    thresholds = [row["threshold"] for row in rows]
    labels = []
    for condition in rows[0]["missed"]:
        name, colour = COLOURS[condition]
        missed = [_missed(row)[condition] for row in rows]
        panel.plot(thresholds, missed, "-o", markersize=3, color=colour)
        labels.append(Label((thresholds[-1], missed[-1]), name, colour))
    panel.set_ylabel("wake words missed, %")
    panel.set_xlim(0.05, 1.32)
    panel.set_xticks([0.1, 0.3, 0.5, 0.7, 0.9])
    panel.set_ylim(-0.03 * most, 1.08 * most)
    label_points(panel, labels)


def _accepts(panel: Axes, rows: Sequence[Row], stages: Sequence[float]) -> None:
    for stage, colour in zip(stages, ACCEPTS, strict=False):
        of_stage = [row for row in rows if row["verify_from"] == stage]
        thresholds = [row["threshold"] for row in of_stage]
        label = f"read as well from {stage:g}" if stage else "by its score alone"
        style = "-o" if stage else "--s"
        panel.plot(
            thresholds,
            [row["per_hour"] for row in of_stage],
            style,
            markersize=4,
            color=colour,
            label=label,
        )
    bound = [row for row in rows if row["verify_from"] == stages[0]]
    panel.fill_between(
        [row["threshold"] for row in bound],
        [row["per_hour"] for row in bound],
        [row["per_hour_at_most"] for row in bound],
        color=ACCEPTS[0],
        alpha=0.12,
        lw=0,
        label="at most, 19 times in 20",
    )
    panel.set_title("Accepted falsely", fontsize=10)
    panel.set_ylabel("times an hour of other sound")
    panel.set_xlim(0.05, 1.0)
    panel.set_ylim(bottom=-0.2)
    panel.legend(fontsize=8, loc="upper right")
