"""The endpoint rules as points: how long each waits, and how often it cuts somebody off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

from tools.bench.endpoint import Result, name_of
from tools.bench.labels import Label, label_points
from tools.bench.pauses import OURS

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

PLAIN, SENTENCE, DEFAULT = "#1f6f8b", "#8a8a8a", "#c8553d"
DPI: Final = 110


def draw(results: Sequence[Result], path: Path) -> None:
    """Plain silence as a line, the rules that look at the sentence as numbers beside it."""
    figure, panel = plt.subplots(figsize=(10.5, 5), layout="constrained")
    plain = [result for result in results if result.is_plain]
    others = sorted(
        (result for result in results if not result.is_plain), key=lambda r: r.mean_wait_ms
    )
    panel.plot([r.mean_wait_ms for r in plain], [r.mean_cut for r in plain], "-o", color=PLAIN)
    labels = [
        Label((r.mean_wait_ms, r.mean_cut), r.rule.removesuffix(" of silence"), PLAIN)
        for r in plain[::2]
    ]
    for number, result in enumerate(others, 1):
        is_default = result.rule == name_of(OURS)
        colour = DEFAULT if is_default else SENTENCE
        at = (result.mean_wait_ms, result.mean_cut)
        key = f"{number}   {result.rule}{', the default' if is_default else ''}"
        panel.plot(*at, "o", color=colour, markersize=6, label=key)
        labels.append(Label(at, str(number), colour if is_default else "black", is_default))
    panel.set_title("Waiting for the end of a command, against cutting somebody off", fontsize=12)
    panel.set_xlabel("mean wait after the end of a command, ms")
    panel.set_ylabel("cut off in a pause that was put in, %")
    waits = [result.mean_wait_ms for result in results]
    panel.set_xlim(min(waits) - 25, max(waits) + 70)
    panel.set_ylim(0, 1.08 * max(result.mean_cut for result in results))
    panel.grid(alpha=0.3)
    panel.annotate(
        "the same silence after everything",
        (plain[len(plain) // 2].mean_wait_ms, plain[len(plain) // 2].mean_cut),
        xytext=(0.97, 0.72),
        textcoords="axes fraction",
        ha="right",
        fontsize=9,
        color=PLAIN,
        arrowprops={"arrowstyle": "-", "color": PLAIN, "lw": 0.6},
    )
    panel.legend(
        title="sooner after a whole sentence (from a probability on)",
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        fontsize=8,
        title_fontsize=8,
        frameon=False,
    )
    label_points(panel, labels)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
