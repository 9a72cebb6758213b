"""The trade-off behind each default: one setting of the recogniser varied at a time.

    scripts/bench curves FOLDER... [--sweep refresh_s=1,2,3]

A setting is a field of `StreamingConfig`, or of a part of it by a dotted name
(`rules.least_frames`). Knows nothing of how curves are drawn (`curve_pictures`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from tools.bench.arguments import CLOCKS, add_clip_arguments, chosen_clips, model_folder, numbers
from tools.bench.clips import Clip
from tools.bench.replay import replay
from tools.bench.report import SCHEMA, machine
from tools.bench.scores import Reference, score
from tools.bench.summary import Summary, summarise
from tools.bench.systems import OURS
from tools.bench.systems.offline import Offline
from tools.bench.systems.ours import Ours
from tools.bench.tables import Table, number, percent, wide_console
from tools.bench.voice import speech_end_s
from voice_daemon.asr import StreamingConfig, WhisperModel, load_model
from voice_daemon.errors import UsageError

STEP_FIELD: Final = "min_chunk_duration"
DEFAULT_SWEEPS: Final = (
    "frame_threshold=5,10,15,20,25,35,50,100",
    f"{STEP_FIELD}=0.1,0.25,0.5,1",
    "refresh_s=0.5,1,2,3,5,30",
    "padding_s=0,0.1,0.2,0.5",
    "rules.least_frames=0,2,5,10,20",
    "rules.next_share=0,0.25,0.5,1",
    "smoothing=0,1,3,7,15",
)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A setting and the values that it is tried at."""

    field: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """Read `field=1,2,3`; raises UsageError for anything else."""
        name, _, values = text.partition("=")
        default = value_of(StreamingConfig(), name)
        if not isinstance(default, int | float):
            raise UsageError(
                "bench.sweep", f"{name!r} is no number of StreamingConfig", remedy="name=1,2,3"
            )
        return cls(name, tuple(type(default)(value) for value in numbers(values)))


@dataclass(frozen=True, slots=True)
class Point:
    """What one value of a setting gives."""

    value: float
    is_default: bool
    summary: Summary


def value_of(config: object, name: str) -> object:
    """The value of a dotted field; None where there is no such field."""
    first, _, rest = name.partition(".")
    if not is_dataclass(config) or first not in {field.name for field in fields(config)}:
        return None
    value: object = getattr(config, first)
    return value_of(value, rest) if rest else value


def with_value(config: Any, name: str, value: float) -> Any:
    """A copy of a dataclass with one dotted field changed."""
    first, _, rest = name.partition(".")
    inner = with_value(getattr(config, first), rest, value) if rest else value
    return replace(config, **{first: inner})


def reference(model: WhisperModel, clip: Clip) -> Reference:
    """The offline reading of a clip."""
    offline, samples = Offline(model), clip.samples()
    run = replay(offline, samples, step_s=None, language=clip.language)
    return Reference(run.final.text, offline.words, speech_end_s(samples))


def measured(
    model: WhisperModel,
    clips: Sequence[tuple[Clip, Reference]],
    config: StreamingConfig,
    *,
    clock: str,
) -> Summary:
    """Stream all clips with one configuration."""
    ours, step_s, now_s = Ours(model, config), config.min_chunk_duration, CLOCKS[clock]
    scores = []
    for clip, offline in clips:
        run = replay(ours, clip.samples(), step_s=step_s, language=clip.language, now_s=now_s)
        scores.append(score(clip, offline, run, system=OURS, step_s=step_s))
    return summarise(scores)


def tasks(sweeps: Sequence[Sweep]) -> Iterator[tuple[str, float]]:
    """Each setting at each of its values and at its default, in order."""
    for tried in sweeps:
        default = value_of(StreamingConfig(), tried.field)
        for value in sorted({*tried.values, default} if isinstance(default, int | float) else ()):
            yield tried.field, value


def measure(
    model: str, clips: Sequence[Clip], sweeps: Sequence[Sweep], *, clock: str, jobs: int
) -> dict[str, list[Point]]:
    """All points of all sweeps, in `jobs` processes."""
    settings = [
        (field, value, with_value(StreamingConfig(), field, value))
        for field, value in tasks(sweeps)
    ]
    # The defaults are a point of every curve, and are measured once.
    configs = list(dict.fromkeys(config for _, _, config in settings))
    progress = Progress(console=Console(stderr=True), transient=True)
    context = multiprocessing.get_context("spawn")
    with progress, ProcessPoolExecutor(jobs, context, _start_worker, (model,)) as pool:
        read = pool.map(_reference, clips)
        offline = list(progress.track(read, total=len(clips), description="offline"))
        work = partial(_measured, list(zip(clips, offline, strict=True)), clock=clock)
        streamed = progress.track(
            pool.map(work, configs), total=len(configs), description="streaming"
        )
        summaries = dict(zip(configs, streamed, strict=True))
    found: dict[str, list[Point]] = {}
    for field, value, config in settings:
        point = Point(value, config == StreamingConfig(), summaries[config])
        found.setdefault(field, []).append(point)
    return found


_loaded: list[WhisperModel] = []
"""The model of a worker process."""


def _start_worker(model: str) -> None:
    _loaded.append(load_model(model_folder(model)))


def _reference(clip: Clip) -> Reference:
    return reference(_loaded[0], clip)


def _measured(
    clips: Sequence[tuple[Clip, Reference]], config: StreamingConfig, *, clock: str
) -> Summary:
    return measured(_loaded[0], clips, config, clock=clock)


def table(tried: Sweep, points: Sequence[Point]) -> Table:
    """A sweep in figures; the default is marked."""
    rows = tuple(
        (
            f"{point.value:g}{' *' if point.is_default else ''}",
            percent(point.summary.changed_committed_percent),
            percent(point.summary.changed_final_percent),
            number(point.summary.committed_audio_s.mean),
            number(point.summary.draft_audio_s.mean),
            number(point.summary.rtf, 3),
        )
        for point in points
    )
    columns = (tried.field, "committed changed", "final changed", "committed lag", "draft lag")
    note = "Changed: against offline. Lags: mean, audio time. * the default"
    return Table(tried.field, (*columns, "RTF"), rows, note=note)


def main(arguments: Sequence[str]) -> int:
    """Sweep, print tables, and write curves.json and a picture for each setting."""
    parser = argparse.ArgumentParser(prog="scripts/bench curves", description=__doc__)
    add_clip_arguments(parser)
    parser.add_argument(
        "--sweep",
        action="append",
        metavar="FIELD=V,V",
        help="a setting and its values; may be given again (default: all that have a curve)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    sweeps = [Sweep.parse(text) for text in args.sweep or DEFAULT_SWEEPS]
    clips = chosen_clips(args, multilingual=not args.model.endswith(".en"))
    found = measure(args.model, clips, sweeps, clock=args.clock, jobs=args.jobs)
    console = wide_console()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    for tried in sweeps:
        console.print(table(tried, found[tried.field]).for_terminal())
    curves = {
        field: [{**asdict(point), "summary": point.summary.as_json()} for point in points]
        for field, points in found.items()
    }
    document = {"schema": SCHEMA, "machine": machine(), "model": args.model, "curves": curves}
    (out / "curves.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    from tools.bench import curve_pictures  # noqa: PLC0415 - matplotlib

    for field, points in found.items():
        curve_pictures.draw(field, points, out / f"curve-{field}.png")
    return 0
