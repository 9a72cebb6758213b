"""The trade-off behind each default: one setting of the recogniser varied at a time.

    scripts/bench curves FOLDER... [--sweep refresh_s=1,2,3]

A setting is a field of `StreamingConfig`, or of a part of it by a dotted name
(`rules.agreed_threshold`). Knows nothing of how curves are drawn (`curve_pictures`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bench.arguments import CLOCKS, add_clip_arguments, chosen_clips, model_folder, numbers
from bench.replay import replay
from bench.report import SCHEMA, machine
from bench.scores import Reference, score
from bench.summary import Summary, summarise
from bench.systems import OURS
from bench.systems.offline import Offline
from bench.systems.ours import Ours
from bench.tables import Table, number, percent, wide_console
from bench.voice import speech_end_s
from voice_daemon.asr import StreamingConfig, load_model
from voice_daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.clips import Clip
    from voice_daemon.asr import WhisperModel

STEP_FIELD: Final = "min_chunk_duration"
DEFAULT_SWEEPS: Final = (
    "frame_threshold=5,10,15,20,25,35,50",
    f"{STEP_FIELD}=0.1,0.25,0.5,1",
    "refresh_s=0.5,1,2,3,30",
    "padding_s=0,0.1,0.2,0.5",
    "rules.agreed_threshold=5,10,15,20,25",
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


def with_value(config: Any, name: str, value: float) -> Any:  # noqa: ANN401 - any dataclass
    """A copy of a dataclass with one dotted field changed."""
    first, _, rest = name.partition(".")
    inner = with_value(getattr(config, first), rest, value) if rest else value
    return replace(config, **{first: inner})


def references(model: WhisperModel, clips: Sequence[Clip]) -> dict[str, Reference]:
    """The offline reading of every clip."""
    offline = Offline(model)
    found = {}
    for clip in clips:
        samples = clip.samples()
        run = replay(offline, samples, step_s=None, language=clip.language)
        found[clip.name] = Reference(run.final.text, offline.words, speech_end_s(samples))
    return found


def sweep(
    model: WhisperModel,
    clips: Sequence[Clip],
    *,
    offline: dict[str, Reference],
    tried: Sweep,
    now_s: Callable[[], float],
) -> Iterator[Point]:
    """Stream all clips at each value of one setting."""
    default = value_of(StreamingConfig(), tried.field)
    for value in sorted({*tried.values, default} if isinstance(default, int | float) else ()):
        config = with_value(StreamingConfig(), tried.field, value)
        ours, step_s = Ours(model, config), config.min_chunk_duration
        scores = []
        for clip in clips:
            run = replay(ours, clip.samples(), step_s=step_s, language=clip.language, now_s=now_s)
            scores.append(score(clip, offline[clip.name], run, system=OURS, step_s=step_s))
        yield Point(value, value == default, summarise(scores))


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
    args = parser.parse_args(arguments)
    sweeps = [Sweep.parse(text) for text in args.sweep or DEFAULT_SWEEPS]
    console = wide_console()
    model = load_model(model_folder(args.model))
    clips = chosen_clips(args, multilingual=model.tokenizer.is_multilingual)
    offline = references(model, clips)
    from bench import curve_pictures  # noqa: PLC0415 - matplotlib

    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, object]]] = {}
    for tried in sweeps:
        points = list(sweep(model, clips, offline=offline, tried=tried, now_s=CLOCKS[args.clock]))
        console.print(table(tried, points).for_terminal())
        curve_pictures.draw(tried.field, points, out / f"curve-{tried.field}.png")
        found[tried.field] = [{**asdict(p), "summary": p.summary.as_json()} for p in points]
    document = {"schema": SCHEMA, "machine": machine(), "model": args.model, "curves": found}
    (out / "curves.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0
