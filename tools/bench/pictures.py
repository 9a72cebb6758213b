"""The benchmark's pictures: words over time for one clip, and bars of speed and latency.

The only module besides `curve_pictures` that needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes

from tools.bench.benchmark import Outcome
from tools.bench.metrics import Latency
from tools.bench.scores import Reference
from tools.bench.summary import Summary

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

from tools.bench.metrics import latencies

SPOKEN, DRAFTED, COMMITTED = "#9aa5b1", "#f0a202", "#1f6f8b"
DPI: Final = 110


def words_over_time(outcomes: Sequence[Outcome], reference: Reference, path: Path) -> None:
    """When each word was spoken, drafted and committed, a panel a system; time goes right."""
    height = 1.6 + 0.22 * len(reference.words)
    figure, panels = plt.subplots(
        1,
        len(outcomes),
        figsize=(4.5 * len(outcomes), height),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, outcome in zip(panels[0], outcomes, strict=True):
        _words_panel(panel, outcome, reference)
    panels[0][0].set_yticks(range(len(reference.words)), [w.text for w in reference.words])
    panels[0][0].invert_yaxis()
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8)
    figure.suptitle(f"One command, steps of {outcomes[0].step_s:g} s", fontsize=10)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _words_panel(panel: Axes, outcome: Outcome, reference: Reference) -> None:
    rows = range(len(reference.words))
    ends_s = [word.end_s for word in reference.words]
    panel.plot(ends_s, rows, "|", color=SPOKEN, markersize=12, mew=3, label="spoken")
    for label, colour, size, with_draft in (
        ("drafted", DRAFTED, 9, True),
        ("committed", COMMITTED, 5, False),
    ):
        if with_draft and not any(step.draft for step in outcome.run.steps):
            continue
        shown = latencies(reference.words, outcome.run, with_draft=with_draft)
        at_s = [_shown_at(end_s, word) for end_s, word in zip(ends_s, shown, strict=True)]
        panel.plot(at_s, rows, "o", color=colour, markersize=size, label=label)
    panel.axvline(outcome.run.final.end_s, color=COMMITTED, lw=1, ls=":", label="final")
    panel.set_title(outcome.system)
    panel.set_xlabel("seconds")
    panel.grid(axis="x", alpha=0.3)


def _shown_at(end_s: float, latency: Latency | None) -> float:
    """Matplotlib leaves out what is not a number."""
    return float("nan") if latency is None else end_s + latency.live_s


def bars(summaries: Sequence[Summary], path: Path) -> None:
    """Real-time factor, and how long after a word it was drafted and committed."""
    names = [s.system if s.step_s is None else f"{s.system} {s.step_s:g} s" for s in summaries]
    figure, (speed, lag) = plt.subplots(
        1, 2, figsize=(11, 1.2 + 0.4 * len(names)), sharey=True, layout="constrained"
    )
    rows = range(len(names))
    speed.barh(rows, [s.rtf for s in summaries], color=COMMITTED)
    for row, summary in zip(rows, summaries, strict=True):
        speed.text(summary.rtf, row, f" {summary.rtf:.2f}", va="center", fontsize=8)
    speed.axvline(1.0, color="black", lw=1, ls=":")
    speed.set_xlabel("seconds computed for a second of audio\n(dotted: as long as it lasts)")
    speed.margins(x=0.12)
    speed.set_yticks(rows, names)
    speed.invert_yaxis()
    for offset, colour, label, spreads in (
        (-0.2, DRAFTED, "drafted", [s.draft_live_s for s in summaries]),
        (0.2, COMMITTED, "committed", [s.committed_live_s for s in summaries]),
    ):
        middle = [0.0 if spread.p50 is None else spread.p50 for spread in spreads]
        worst = [m if s.p95 is None else s.p95 for m, s in zip(middle, spreads, strict=True)]
        beyond = [max(0.0, w - m) for m, w in zip(middle, worst, strict=True)]
        lag.barh([row + offset for row in rows], middle, 0.36, color=colour, label=label)
        zeros = [0.0] * len(middle)
        ends = [row + offset for row in rows]
        lag.errorbar(middle, ends, xerr=[zeros, beyond], fmt="none", color="black", lw=1)
    lag.set_xlabel("seconds after the end of a word\n(bar: p50, line: p95; computing counted)")
    lag.legend(fontsize=8)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
