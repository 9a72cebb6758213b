"""Misses of wake words and false accepts an hour, over thresholds, on recordings with labels.

    python -m tools.bench.wake_words FOLDER... [--picture wake-word.png]

Each folder holds a manifest.jsonl: `audio`, `seconds`, and where a wake word is said its `label`.
Audio of each kind of sound that is not the wake word is counted apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voice_daemon.audio.file import decode
from voice_daemon.audio.resample import to_int16
from voice_daemon.wake.detector import OpenWakeWord
from voice_daemon.wake.threshold import (
    GateRules,
    Scored,
    ThresholdSweep,
    score_recording,
    try_thresholds,
)

WORDS: Final = ("hey_jarvis", "alexa", "hey_mycroft")
NEITHER: Final = {
    "hey_jarvis": frozenset({"jarvis", "multiple"}),
    "alexa": frozenset({"multiple"}),
    "hey_mycroft": frozenset({"multiple"}),
}
"""Labels that are neither the wake word nor something else: half of it, or several words."""
KINDS: Final = ("speech", "music", "noise")
SHOWN: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest."""

    path: Path
    label: str
    kind: str


def clips(folders: Sequence[Path]) -> Iterator[Clip]:
    for folder in folders:
        for line in (folder / "manifest.jsonl").read_text().splitlines():
            row = json.loads(line)
            label = str(row.get("label") or "")
            yield Clip(folder / row["audio"], label, _kind(str(row.get("kind") or "")))


def _kind(said: str) -> str:
    if said.startswith("music"):
        return "music"
    return "noise" if said.startswith(("non-speech", "digital silence")) else "speech"


def scored(clip: Clip, scorer: OpenWakeWord) -> Scored:
    pieces = (to_int16(piece) for piece in decode(clip.path))
    return score_recording(clip.path.name, pieces, scorer)


@dataclass(frozen=True, slots=True)
class Results:
    """One wake word's trials: against each kind of other sound."""

    word: str
    trials: dict[str, ThresholdSweep]


def measure(word: str, chosen: Sequence[Clip]) -> Results:
    scorer = OpenWakeWord([word])
    label = word.replace("_", " ")
    neither = NEITHER[word]
    said = [scored(clip, scorer) for clip in chosen if clip.label == label]
    other: dict[str, list[Scored]] = {kind: [] for kind in KINDS}
    for clip in chosen:
        is_neither = clip.label in neither or clip.label.startswith("multiple")
        if clip.label != label and not is_neither:
            other[clip.kind].append(scored(clip, scorer))
    trials = {kind: try_thresholds(said, clips_, GateRules()) for kind, clips_ in other.items()}
    return Results(word, trials)


def table(results: Results) -> Iterator[str]:
    n_said = results.trials["speech"].n_said
    heads = [f"{kind} ({results.trials[kind].other_hours:.2f} h)" for kind in KINDS]
    yield f"| `{results.word}` | missed of {n_said} | " + " | ".join(heads) + " |"
    yield "|---|---|---|---|---|"
    for threshold in SHOWN:
        point = results.trials["speech"].at(threshold)
        cells = []
        for kind in KINDS:
            trial = results.trials[kind]
            at = trial.at(threshold)
            cells.append(f"{at.false_accepts} ({trial.per_hour(at) or 0:.1f} an hour)")
        missed = f"{point.misses} ({100 * point.misses / max(1, n_said):.1f} %)"
        yield f"| {threshold:g} | {missed} | " + " | ".join(cells) + " |"


def draw(all_results: Sequence[Results], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only for a picture

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of a display

    figure, panels = plt.subplots(
        1, len(all_results), figsize=(11, 3.8), layout="constrained", squeeze=False
    )
    for panel, results in zip(panels[0], all_results, strict=True):
        speech = results.trials["speech"]
        thresholds = [point.threshold for point in speech.points]
        missed = [100 * (speech.miss_rate(point) or 0) for point in speech.points]
        panel.plot(thresholds, missed, color="#1f6f8b", label="missed, %")
        hours = sum(trial.other_hours for trial in results.trials.values())
        accepts = [
            sum(trial.at(threshold).false_accepts for trial in results.trials.values()) / hours
            for threshold in thresholds
        ]
        panel.plot(
            thresholds, accepts, color="#c8553d", label=f"false accepts an hour ({hours:.2f} h)"
        )
        panel.axvline(0.5, color="#666666", linestyle=":")
        panel.set(title=f"{results.word} ({speech.n_said} said)", xlabel="wake.threshold")
        panel.set_ylim(0, 40)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.wake_words", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--picture", type=Path, metavar="OUT.png")
    args = parser.parse_args()
    chosen = tuple(clips(args.folders))
    all_results = [measure(word, chosen) for word in WORDS]
    for results in all_results:
        print("\n".join(table(results)), end="\n\n")  # noqa: T201 - a program's output
    if args.picture is not None:
        draw(all_results, args.picture)


if __name__ == "__main__":
    main()
