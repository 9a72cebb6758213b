"""The benchmark's pictures: words over time for one clip, bars of speed and latency, and others.

Loaded where one is drawn alone: matplotlib is an extra, and slow to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes

from tools.bench.benchmark import Outcome
from tools.bench.endpoint import Result, name_of
from tools.bench.labels import Label, label_points
from tools.bench.latency_match import Heard
from tools.bench.long_speech import LongRun
from tools.bench.metrics import Latency, latencies
from tools.bench.pauses import OURS
from tools.bench.scores import Reference
from tools.bench.summary import Summary

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

SPOKEN, DRAFTED, COMMITTED = "#9aa5b1", "#f0a202", "#1f6f8b"
COST, MEMORY = "#1f6f8b", "#c8553d"
PLAIN, SENTENCE, DEFAULT = "#1f6f8b", "#8a8a8a", "#c8553d"
MOMENTS: Final = {
    "wake": "#7a7a7a",
    "first text": "#1f6f8b",
    "committed": "#2a9d5c",
    "final": "#c8553d",
}
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


def long_speech(run: LongRun, path: Path) -> None:
    """Minutes of speech: milliseconds of each step above, resident memory below."""
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


def latency(heard: Sequence[Heard], path: Path) -> None:
    """Each command a line, its messages against when the words were spoken.

    In seconds since the wake word's end, a panel for each gap, the quickest final at the top.
    """
    gaps = sorted({h.spoken.gap_ms for h in heard})
    figure, panels = plt.subplots(
        1, len(gaps), figsize=(4.5 * len(gaps), 6), sharex=True, squeeze=False, layout="constrained"
    )
    for panel, gap_ms in zip(panels[0], gaps, strict=True):
        own = [h for h in heard if h.spoken.gap_ms == gap_ms and h.final_s is not None]
        own.sort(key=lambda h: -(h.delays_s()["final"] or 0))
        for y, h in enumerate(own):
            zero = h.spoken.wake_end_s
            panel.plot([gap_ms / 1000, h.spoken.speech_end_s - zero], [y, y], color="#d9d9d9", lw=4)
            times = (h.wake_s, h.first_text_s, h.first_committed_s, h.final_s)
            for (name, colour), at_s in zip(MOMENTS.items(), times, strict=True):
                if at_s is not None:
                    label = name if y == 0 and panel is panels[0][0] else None
                    panel.plot(at_s - zero, y, "o", ms=4, color=colour, label=label)
        panel.set_title(f"{gap_ms:g} ms between wake word and command")
        panel.set_xlabel("seconds after the wake word's end")
        panel.set_yticks([])
    figure.legend(loc="outside lower center", ncols=len(MOMENTS))
    panels[0][0].set_ylabel("one command a line; the bar is its speech")
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def endpoint_rules(results: Sequence[Result], path: Path) -> None:
    """How long each endpoint rule waits, and how often it cuts somebody off.

    Plain silence is a line, the rules that look at the sentence are numbers beside it.
    """
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
