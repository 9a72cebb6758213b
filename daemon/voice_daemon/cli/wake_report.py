"""How a trial of wake word thresholds is told: lines for a person, and a picture.

Decides nothing: the numbers are `voice_daemon.wake.threshold`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voice_daemon.errors import UsageError
from voice_daemon.wake.threshold import TOLERABLE_PER_HOUR, Point, Scored, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SHOWN: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds in the table for a person; all are in the JSON document and the picture."""
_ORANGE, _BLUE, _GREY = "#c44e00", "#1f5fa8", "#666666"


def recording_lines(recordings: Sequence[Scored], threshold: float) -> Iterator[str]:
    """Give a line for each recording: its best score, and whether that passes."""
    width = max((len(recording.name) for recording in recordings), default=0)
    for recording in recordings:
        word, score = recording.best()
        heard = "heard" if score >= threshold else "-"
        yield f"{recording.name:{width}}  {score:.2f}  {word}  {heard}"


def trial_lines(trial: Trial, *, now: float, suggested: Point | None) -> Iterator[str]:
    """Give the table of thresholds, and what follows from it."""
    yield f"threshold  {_missed_head(trial):<22}  {_accepts_head(trial)}"
    for point in (trial.at(threshold) for threshold in SHOWN):
        mark = "  <- in force" if point == trial.at(now) else ""
        yield (
            f"{point.threshold:9.2f}  {_missed(trial, point):<22}  {_accepts(trial, point)}{mark}"
        )
    yield ""
    yield from _verdict(trial, now=now, suggested=suggested)


def _verdict(trial: Trial, *, now: float, suggested: Point | None) -> Iterator[str]:
    if suggested is None:
        yield "no threshold can be suggested without recordings of the wake word"
        return
    if suggested == trial.at(now):
        yield f"wake.threshold = {now:g} suits these recordings"
    else:
        yield f"suggested: wake.threshold = {suggested.threshold:g} (now {now:g})"
    per_hour, possible = trial.per_hour(suggested), trial.resolution_per_hour
    if per_hour is None or possible is None:
        yield "nothing is known of false accepts: add recordings of other speech with --not"
    elif per_hour > TOLERABLE_PER_HOUR:
        yield f"it still wakes falsely {per_hour:.1f} times an hour: try another wake word"
    elif not suggested.false_accepts and possible > TOLERABLE_PER_HOUR:
        yield (
            f"no false accept in {trial.other_hours * 60:.0f} minutes still allows for "
            f"{possible:.1f} an hour: more audio says more"
        )


def _missed_head(trial: Trial) -> str:
    return f"missed of {trial.n_said}"


def _accepts_head(trial: Trial) -> str:
    return f"false accepts in {trial.other_hours:.2f} h" if trial.other_hours else ""


def _missed(trial: Trial, point: Point) -> str:
    rate = trial.miss_rate(point)
    return "" if rate is None else f"{point.misses} ({rate:.1%})"


def _accepts(trial: Trial, point: Point) -> str:
    per_hour = trial.per_hour(point)
    return "" if per_hour is None else f"{point.false_accepts} ({per_hour:.1f} an hour)"


def document(trial: Trial, *, now: float, suggested: Point | None) -> dict[str, object]:
    """Give the trial as a part of a JSON document."""
    return {
        "threshold": now,
        "suggested": None if suggested is None else suggested.threshold,
        "said": trial.n_said,
        "other_hours": round(trial.other_hours, 4),
        "thresholds": [
            {
                "threshold": point.threshold,
                "misses": point.misses,
                "miss_rate": trial.miss_rate(point),
                "false_accepts": point.false_accepts,
                "false_accepts_per_hour": trial.per_hour(point),
            }
            for point in trial.points
        ],
    }


def check_picture(path: Path) -> None:
    """Raise `UsageError` where a picture could not be drawn, before hours are spent on it."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only for a picture

        mpl.use("Agg")
    except ImportError as error:
        raise UsageError(
            "wake.no_matplotlib",
            "a picture needs matplotlib, which is not installed",
            remedy="pip install 'voice-daemon[pictures]', or leave --picture out: "
            "--json has all the numbers",
        ) from error
    suffix = path.suffix.lower()
    if suffix not in {".png", ".svg", ".pdf"} or not path.absolute().parent.is_dir():
        raise UsageError(
            "wake.picture_place",
            f"{path} cannot become a picture",
            remedy="name a .png, .svg or .pdf file in a folder that exists",
        )


def draw(trial: Trial, path: Path, *, title: str, now: float, suggested: Point | None) -> None:
    """Draw misses and false accepts over the threshold into a file."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see `check_picture`

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    misses = figure.subplots()
    thresholds = [point.threshold for point in trial.points]
    misses.set(title=title, xlabel="wake.threshold", xlim=(0, 1))
    if trial.n_said:
        rates = [100 * (trial.miss_rate(point) or 0.0) for point in trial.points]
        misses.plot(thresholds, rates, color=_BLUE, marker="o", markersize=3)
        misses.set_ylabel(f"missed of {trial.n_said}, %", color=_BLUE)
        misses.set_ylim(0, max(5.0, max(rates) * 1.05))
    if trial.other_hours:
        _draw_accepts(misses.twinx(), trial, thresholds)
    misses.axvline(now, color=_GREY, linestyle=":", label=f"in force: {now:g}")
    if suggested is not None and suggested != trial.at(now):
        label = f"suggested: {suggested.threshold:g}"
        misses.axvline(suggested.threshold, color=_GREY, linestyle="--", label=label)
    misses.legend(loc="upper center")
    figure.savefig(path, dpi=120)


def _draw_accepts(accepts: Any, trial: Trial, thresholds: Sequence[float]) -> None:  # noqa: ANN401 - matplotlib has no types
    rates = [trial.per_hour(point) or 0.0 for point in trial.points]
    accepts.plot(thresholds, rates, color=_ORANGE, marker="s", markersize=3)
    accepts.set_ylabel(f"false accepts an hour ({trial.other_hours:.2f} h)", color=_ORANGE)
    accepts.set_ylim(0, max(1.0, max(rates) * 1.05))
