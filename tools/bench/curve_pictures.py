"""One picture for each swept setting: what it buys in words, and what it costs in lag and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes

from tools.bench.curves import Point

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

LINE, MARK, FINAL = "#1f6f8b", "#c8553d", "#f0a202"
DPI: Final = 110


def draw(name: str, points: Sequence[Point], path: Path) -> None:
    """Words changed against lag, and the computing for each value; the default stands out."""
    figure, (trade, cost) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    _trade_off(trade, points)
    _cost(cost, points)
    cost.set_xlabel(name)
    figure.suptitle(name)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _trade_off(panel: Axes, points: Sequence[Point]) -> None:
    lags = [point.summary.committed_audio_s.mean or 0.0 for point in points]
    changed = [point.summary.changed_committed_percent or 0.0 for point in points]
    panel.plot(lags, changed, "-o", color=LINE, label="committed")
    for point, lag, percent in zip(points, lags, changed, strict=True):
        colour = MARK if point.is_default else "black"
        panel.annotate(
            f"{point.value:g}",
            (lag, percent),
            xytext=(5, 5),
            textcoords="offset points",
            color=colour,
            weight="bold" if point.is_default else "normal",
        )
    finals = [point.summary.changed_final_percent or 0.0 for point in points]
    panel.plot(lags, finals, ":", color=FINAL, label="final")
    panel.set_xlabel("mean lag of a committed word, s of audio")
    panel.set_ylabel("words changed against offline, %")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


def _cost(panel: Axes, points: Sequence[Point]) -> None:
    values = range(len(points))
    colours = [MARK if point.is_default else LINE for point in points]
    panel.bar(values, [point.summary.rtf for point in points], color=colours)
    panel.set_xticks(values, [f"{point.value:g}" for point in points])
    panel.set_ylabel("seconds computed for a second of audio")
    panel.grid(axis="y", alpha=0.3)
