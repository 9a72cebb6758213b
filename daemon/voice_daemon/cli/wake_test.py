"""`daemonctl test-wake`: wake word scores, live on a meter or of recordings, and a threshold."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from voice_daemon._lib.terminal import bar, print_error
from voice_daemon.audio import AudioSource
from voice_daemon.audio.file import decode
from voice_daemon.audio.resample import to_int16
from voice_daemon.cli import audio_input
from voice_daemon.cli.context import Context
from voice_daemon.config import WakeSettings
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, AudioFileError, UsageError
from voice_daemon.events import SAMPLE_RATE, WakeDetection
from voice_daemon.wake import threshold as wake_trial
from voice_daemon.wake.detector import OpenWakeWord, WakeDetector, choose_backend
from voice_daemon.wake.models import wake_thresholds
from voice_daemon.wake.threshold import (
    TOLERABLE_PER_HOUR,
    Point,
    Scored,
    ThresholdSweep,
    score_recording,
)

SHOWN: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds in the table for a person; all are in the JSON document and the picture."""
_ORANGE, _BLUE, _GREY = "#c44e00", "#1f5fa8", "#666666"


def recording_lines(recordings: Sequence[Scored], thresholds: Mapping[str, float]) -> Iterator[str]:
    """Give a line for each recording: its best score, and whether that passes."""
    width = max((len(recording.name) for recording in recordings), default=0)
    for recording in recordings:
        word, score = recording.best()
        heard = "heard" if score >= thresholds.get(word, 1.0) else "-"
        yield f"{recording.name:{width}}  {score:.2f}  {word}  {heard}"


def trial_lines(
    trial: ThresholdSweep, *, word: str, now: float, suggested: Point | None
) -> Iterator[str]:
    """Give the table of thresholds of one wake word, and what follows from it."""
    yield f"{word}:"
    yield f"threshold  {_missed_head(trial):<22}  {_accepts_head(trial)}"
    for point in (trial.at(threshold) for threshold in SHOWN):
        mark = "  <- in force" if point == trial.at(now) else ""
        yield (
            f"{point.threshold:9.2f}  {_missed(trial, point):<22}  {_accepts(trial, point)}{mark}"
        )
    yield ""
    yield from _verdict(trial, word=word, now=now, suggested=suggested)


def _verdict(
    trial: ThresholdSweep, *, word: str, now: float, suggested: Point | None
) -> Iterator[str]:
    if suggested is None:
        yield "no threshold can be suggested without recordings of the wake word"
        return
    if suggested == trial.at(now):
        yield f"{now:g} suits these recordings"
    else:
        yield (f"suggested: wake.thresholds = {{ {word} = {suggested.threshold:g} }} (now {now:g})")
    per_hour, possible = trial.per_hour(suggested), trial.per_hour_at_most(suggested)
    if per_hour is None or possible is None:
        yield "false accepts are not measured: add recordings of other speech with --not"
    else:
        yield f"{bounds_text(trial, suggested)}: more recordings say more"
        if per_hour > TOLERABLE_PER_HOUR:
            yield f"it still wakes falsely {per_hour:.1f} times an hour: try another wake word"


def bounds_text(trial: ThresholdSweep, point: Point) -> str:
    """Say what a point's counts leave possible: 95 % sure, one bound at a time."""
    parts = []
    missed, per_hour = trial.miss_rate_at_most(point), trial.per_hour_at_most(point)
    if missed is not None:
        parts.append(f"{point.misses} of {trial.n_said} missed: at most {missed:.0%}")
    if per_hour is not None:
        accepts = f"{point.false_accepts} false accept{'' if point.false_accepts == 1 else 's'}"
        parts.append(f"{accepts} in {trial.other_hours:.2g} h: at most {per_hour:.2g} an hour")
    return "; ".join(parts)


def _missed_head(trial: ThresholdSweep) -> str:
    return f"missed of {trial.n_said}"


def _accepts_head(trial: ThresholdSweep) -> str:
    return f"false accepts in {trial.other_hours:.2f} h" if trial.other_hours else ""


def _missed(trial: ThresholdSweep, point: Point) -> str:
    rate = trial.miss_rate(point)
    return "" if rate is None else f"{point.misses} ({rate:.1%})"


def _accepts(trial: ThresholdSweep, point: Point) -> str:
    per_hour = trial.per_hour(point)
    return "" if per_hour is None else f"{point.false_accepts} ({per_hour:.1f} an hour)"


def document(trial: ThresholdSweep, *, now: float, suggested: Point | None) -> dict[str, object]:
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
                "miss_rate_at_most": trial.miss_rate_at_most(point),
                "false_accepts_per_hour_at_most": trial.per_hour_at_most(point),
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


def draw(
    trial: ThresholdSweep, path: Path, *, title: str, now: float, suggested: Point | None
) -> None:
    """Draw misses and false accepts over the threshold into a file."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see `check_picture`

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    misses = figure.subplots()
    thresholds = [point.threshold for point in trial.points]
    misses.set(title=title, xlabel="threshold", xlim=(0, 1))
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


def _draw_accepts(accepts: Any, trial: ThresholdSweep, thresholds: Sequence[float]) -> None:
    rates = [trial.per_hour(point) or 0.0 for point in trial.points]
    accepts.plot(thresholds, rates, color=_ORANGE, marker="s", markersize=3)
    accepts.set_ylabel(f"false accepts an hour ({trial.other_hours:.2f} h)", color=_ORANGE)
    accepts.set_ylim(0, max(1.0, max(rates) * 1.05))


SOUND_SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff"})
"""Suffixes taken from a folder; a file that is named may have any."""
SHOW_EVERY_S: Final = 0.4
_METER_CELLS: Final = 30


def run(args: argparse.Namespace, context: Context) -> int:
    """Score; 1 when a recording could not be read, raises `ModelError` without the models."""
    audio_input.check_seconds(args.seconds)
    settings = context.settings().wake
    if args.wake_word is not None:
        settings = settings.model_copy(update={"models": (args.wake_word,)})
    if args.files or args.others:
        return _score_files(args, context, settings)
    if args.picture is not None:
        raise UsageError(
            "wake.picture_of_nothing",
            "--picture needs recordings",
            remedy="name recordings of the wake word, and others after --not",
        )
    return _listen(args, context, settings)


def _score_files(args: argparse.Namespace, context: Context, settings: WakeSettings) -> int:
    if args.picture is not None:
        check_picture(args.picture)
    scorer = _scorer(settings)
    faults: list[AudioFileError] = []
    said = tuple(_score(args.files, scorer, faults))
    other = tuple(_score(args.others, scorer, faults))
    for fault in faults:
        print_error(fault, context.err)
    rules = wake_trial.GateRules(settings.trigger_level, round(settings.refractory_s * SAMPLE_RATE))
    now = wake_thresholds(settings, settings.models)
    trials = {
        word: wake_trial.try_thresholds(
            [r.of(word) for r in said if r.best()[0] == word], [r.of(word) for r in other], rules
        )
        for word in scorer.wake_words
    }
    suggested = {w: wake_trial.suggest(trial, now=now[w]) for w, trial in trials.items()}
    if args.json:
        documents = {
            w: document(trial, now=now[w], suggested=suggested[w]) for w, trial in trials.items()
        }
        first = documents[scorer.wake_words[0]]
        context.print_json(
            {
                "wake_words": list(scorer.wake_words),
                "recordings": [*_rows(said, is_other=False), *_rows(other, is_other=True)],
                **(first if len(documents) == 1 else {"by_wake_word": documents}),
            }
        )
    else:
        told = list(recording_lines((*said, *other), now))
        for word, trial in trials.items():
            told += ["", *trial_lines(trial, word=word, now=now[word], suggested=suggested[word])]
        context.out.writelines(f"{line}\n" for line in told)
    if args.picture is not None:
        word = scorer.wake_words[0]
        title = f"Wake word {word}"
        draw(trials[word], args.picture, title=title, now=now[word], suggested=suggested[word])
    return EXIT_FAILED if faults else EXIT_OK


def _scorer(settings: WakeSettings) -> OpenWakeWord:
    return OpenWakeWord(
        settings.models,
        backend=choose_backend(settings.backend, settings.models),
        vad_threshold=settings.vad_threshold,
    )


def _score(
    places: Iterable[Path], scorer: OpenWakeWord, faults: list[AudioFileError]
) -> Iterator[Scored]:
    """Score every recording in these places; those that cannot be read become `faults`."""
    for file in sound_files(places):
        try:
            yield score_recording(str(file), (to_int16(piece) for piece in decode(file)), scorer)
        except AudioFileError as error:
            faults.append(error)


def sound_files(places: Iterable[Path]) -> Iterator[Path]:
    """Yield every recording in these files and folders; raises `UsageError` for an empty one."""
    for place in places:
        if not place.is_dir():
            yield place
            continue
        found = [p for p in sorted(place.rglob("*")) if p.suffix.lower() in SOUND_SUFFIXES]
        if not found:
            raise UsageError(
                "wake.no_recordings",
                f"the folder {place} holds no recordings",
                remedy=f"known are {', '.join(sorted(SOUND_SUFFIXES))}",
            )
        yield from found


def _rows(recordings: Sequence[Scored], *, is_other: bool) -> Iterator[dict[str, object]]:
    for recording in recordings:
        word, score = recording.best()
        yield {
            "file": recording.name,
            "other": is_other,
            "seconds": round(recording.seconds, 3),
            "score": round(score, 4),
            "wake_word": word,
        }


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """Scores since the previous sample."""

    at_s: float
    peaks: Mapping[str, float]
    """The highest score of each wake word."""
    wake: WakeDetection | None


def _listen(args: argparse.Namespace, context: Context, settings: WakeSettings) -> int:
    """Show scores until the time is over, or until Ctrl-C, which the caller turns into 130."""
    detector = WakeDetector.from_settings(settings)
    with audio_input.listening(audio_input.open_microphone(context)) as source:
        words = " or ".join(f'"{detector.phrase(word)}"' for word in detector.wake_words)
        thresholds = detector.thresholds
        from_ = " or ".join(f"{score:g}" for score in dict.fromkeys(thresholds.values()))
        context.err.write(f"say {words}; it counts from {from_}; Ctrl-C ends\n")
        for moment in _moments(source, detector, args.seconds):
            _show(moment, context, thresholds, as_json=args.json)
    if not args.json and context.out.isatty():
        context.out.write("\n")
    return EXIT_OK


def _moments(
    source: AudioSource, detector: WakeDetector, seconds: float | None
) -> Iterator[ScoreSample]:
    """Follow the scores; a wake is told at once, everything else a few times a second."""
    peaks: dict[str, float] = {}
    shown_s = 0.0
    for block in audio_input.blocks(source, seconds):
        if block is None:
            continue
        wakes = [found for found in detector.feed(block.samples) if found.is_sure]
        for word, score in detector.last_scores.items():
            peaks[word] = max(score, peaks.get(word, 0.0))
        at_s = (block.first_sample + block.samples.size) / SAMPLE_RATE
        if wakes or at_s - shown_s >= SHOW_EVERY_S:
            yield ScoreSample(at_s, dict(peaks), wakes[0] if wakes else None)
            peaks, shown_s = {}, at_s


def _show(
    moment: ScoreSample, context: Context, thresholds: Mapping[str, float], *, as_json: bool
) -> None:
    if as_json:
        scores = {word: round(score, 4) for word, score in moment.peaks.items()}
        woken = None if moment.wake is None else moment.wake.wake_word
        context.print_json({"at_s": round(moment.at_s, 2), "scores": scores, "wake": woken})
    elif context.out.isatty():
        end = "\n" if moment.wake is not None else ""
        context.out.write(f"\r\x1b[K{meter(moment, thresholds)}{end}")
        context.out.flush()
    elif moment.wake is not None:
        context.out.write(f"{meter(moment, thresholds)}\n")
        context.out.flush()


def meter(moment: ScoreSample, thresholds: Mapping[str, float]) -> str:
    """Draw each wake word's score as a bar with its threshold in it."""
    bars = (
        f"{word} ▕{bar(score, _METER_CELLS, mark=thresholds[word])}▏ {score:.2f}"
        for word, score in moment.peaks.items()
    )
    woken = f"  heard {moment.wake.wake_word}" if moment.wake is not None else ""
    return f"{moment.at_s:6.1f} s  {'  '.join(bars)}{woken}"
