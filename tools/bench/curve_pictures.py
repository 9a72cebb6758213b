"""One picture for each swept setting: what it buys in words, and what it costs in lag and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes

from tools.bench.curves import Point
from tools.bench.labels import Label, label_points

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

LINE, MARK, FINAL = "#1f6f8b", "#c8553d", "#b57a00"
DPI: Final = 110
TITLES: Final = {
    "frame_threshold": (
        "How far before the audio's end an unsure word must lie",
        "frames of 20 ms",
    ),
    "min_chunk_duration": ("How much audio lies between two steps", "seconds"),
    "refresh_s": ("How much of the newest audio each step encodes anew", "seconds"),
    "padding_s": ("How much silence is encoded behind the audio", "seconds"),
    "rules.least_frames": ("How far before the audio's end every word must lie", "frames of 20 ms"),
    "rules.next_share": (
        "How much an unsure next word holds this one back",
        "share of its surprisal",
    ),
    "smoothing": ("Over how much audio the attention is smoothed", "frames of 20 ms"),
}
"""What a setting is about, and what its values are."""


def draw(name: str, points: Sequence[Point], path: Path) -> None:
    """Words changed against lag, and the computing for each value; the default stands out."""
    title, unit = TITLES.get(name, (name, ""))
    figure, (trade, cost) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    figure.suptitle(f"{title}\n", fontsize=12)
    about = f"setting `{name}`: {unit}" if unit else f"setting `{name}`"
    figure.text(
        0.5, 0.905, f"{about}; the default in red", ha="center", fontsize=9, color="#555555"
    )
    _cost(cost, points)
    cost.set_xlabel(unit or name)
    _trade_off(trade, points)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _trade_off(panel: Axes, points: Sequence[Point]) -> None:
    lags = [point.summary.committed_audio_s.mean or 0.0 for point in points]
    changed = [point.summary.changed_committed_percent or 0.0 for point in points]
    finals = [point.summary.changed_final_percent or 0.0 for point in points]
    panel.plot(lags, changed, "-", color=LINE)
    for point, lag, percent in zip(points, lags, changed, strict=True):
        panel.plot(lag, percent, "o", color=MARK if point.is_default else LINE)
    panel.axhline(sum(finals) / len(finals), ls=":", color=FINAL)
    panel.set_xlabel("mean time from a word's end to its commit, s of audio")
    panel.set_ylabel("words changed against offline, %")
    room = max(0.02, 0.2 * (max(lags) - min(lags)))
    panel.set_xlim(min(lags) - room, max(lags) + room)
    panel.locator_params(axis="x", nbins=7)
    panel.set_ylim(0, 1.25 * max(*changed, *finals, 0.1))
    panel.grid(alpha=0.3)
    panel.annotate(
        "the final's words",
        (1, sum(finals) / len(finals)),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=FINAL,
    )
    panel.set_title("words that were committed", fontsize=9, color=LINE, loc="left")
    line = list(zip(lags, changed, strict=True))
    label_points(
        panel,
        [
            Label(at, f"{point.value:g}", MARK if point.is_default else "black", point.is_default)
            for point, at in zip(points, line, strict=True)
        ],
        line=line,
    )


def _cost(panel: Axes, points: Sequence[Point]) -> None:
    values = range(len(points))
    colours = [MARK if point.is_default else LINE for point in points]
    bars = panel.bar(values, [point.summary.rtf for point in points], color=colours)
    panel.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    panel.set_xticks(values, [f"{point.value:g}" for point in points])
    panel.set_ylabel("seconds computed for a second of audio")
    panel.margins(y=0.12)
    panel.set_title("computing", fontsize=9, color=LINE, loc="left")
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
