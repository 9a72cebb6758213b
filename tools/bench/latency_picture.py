"""A picture of waiting: each command a line, its messages against when the words were spoken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

from tools.bench.latency_match import Heard

mpl.use("agg")  # before pyplot: no display is needed

from matplotlib import pyplot as plt

DPI: Final = 110
COLOURS: Final = {
    "wake": "#7a7a7a",
    "first text": "#1f6f8b",
    "committed": "#2a9d5c",
    "final": "#c8553d",
}


def draw(heard: Sequence[Heard], path: Path) -> None:
    """Seconds since the wake word's end, a panel for each gap, the quickest final at the top."""
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
            for (name, colour), at_s in zip(COLOURS.items(), times, strict=True):
                if at_s is not None:
                    label = name if y == 0 and panel is panels[0][0] else None
                    panel.plot(at_s - zero, y, "o", ms=4, color=colour, label=label)
        panel.set_title(f"{gap_ms:g} ms between wake word and command")
        panel.set_xlabel("seconds after the wake word's end")
        panel.set_yticks([])
    figure.legend(loc="outside lower center", ncols=len(COLOURS))
    panels[0][0].set_ylabel("one command a line; the bar is its speech")
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
