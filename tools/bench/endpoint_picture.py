"""The endpoint rules as points: how long each waits, and how often it cuts somebody off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

from tools.bench.endpoint import Result

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

PLAIN, SENTENCE = "#1f6f8b", "#c8553d"
DPI: Final = 110


def draw(results: Sequence[Result], path: Path) -> None:
    """Plain silence as a line, the rules that look at the sentence as points beside it."""
    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    plain = [result for result in results if result.is_plain]
    others = [result for result in results if not result.is_plain]
    panel.plot(
        [result.mean_wait_ms for result in plain],
        [result.mean_cut for result in plain],
        "-o",
        color=PLAIN,
        label="silence alone",
    )
    panel.plot(
        [result.mean_wait_ms for result in others],
        [result.mean_cut for result in others],
        "o",
        color=SENTENCE,
        label="sooner, in ms, after a whole sentence (of at least so much)",
    )
    for result in others:
        panel.annotate(
            result.rule.replace(" after a sentence", ""),
            (result.mean_wait_ms, result.mean_cut),
            xytext=(-6, -3),
            textcoords="offset points",
            horizontalalignment="right",
            fontsize=6,
        )
    panel.set_xlabel("mean wait after the end of a command, ms")
    panel.set_ylabel("cut off in a pause that was put in, %")
    panel.set_xlim(left=min(result.mean_wait_ms for result in results) - 75)
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
