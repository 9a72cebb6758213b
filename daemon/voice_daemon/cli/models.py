"""`daemonctl models list|measure|pull|verify`: the recogniser models on this disk."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voice_daemon._lib.terminal import print_error
from voice_daemon.asr.load import free_unused_memory, load_model, take_peak_memory_bytes
from voice_daemon.asr.streaming import StreamingConfig
from voice_daemon.asr.transcriber import WhisperTranscriber
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.cli.context import Context
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, ModelError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models import (
    CATALOGUE,
    CatalogueEntry,
    InstalledModel,
    list_models,
    locate,
    resolve,
    verify,
)
from voice_daemon.models.measurements import (
    Measurement,
    machine_memory_mb,
    read_measurements,
    recommended,
    remember,
)
from voice_daemon.models.progress import progress_to
from voice_daemon.models.pull import pull
from voice_daemon.models.store import size_of
from voice_daemon.runtime.build import streaming_config

MB_PER_GB: Final = 1000
_PIPE_COLUMNS: Final = 1000
ROUNDS: Final = 3
"""The fastest counts: whatever else the machine does only ever slows a round down."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `ModelError`."""
    actions = {"list": _list, "measure": _measure, "pull": _pull, "verify": _verify}
    return actions[args.action](args, context)


def _measure(args: argparse.Namespace, context: Context) -> int:
    folder = resolve(args.name, models_dir=context.paths().models_dir)
    result = _measure_folder(context, folder)
    if args.json:
        context.print_json({"model": args.name, "folder": str(folder), **asdict(result)})
    else:
        context.out.write(
            f"{args.name}: RTF {result.rtf:.3f}, {result.memory_mb:.0f} MB of memory, "
            f"warm after {result.load_s:.1f} s\n"
        )
    return EXIT_OK


def measure(
    folder: Path, config: StreamingConfig, clip: NDArray[np.int16], *, dtype: str, step_s: float
) -> Measurement:
    """Load the model in `folder`, warm it and stream `clip`, (n_samples,) at 16 kHz.

    Raises `ModelError`.
    """
    # Memory is the process's peak: what an earlier model left must not count for this one.
    free_unused_memory()
    take_peak_memory_bytes()
    begun_s = time.perf_counter()
    transcriber = WhisperTranscriber(load_model(folder, dtype), config)
    transcriber.warm_up()
    load_s = time.perf_counter() - begun_s
    step = round(step_s * SAMPLE_RATE)
    best_s = float("inf")
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        transcriber.start(wake_phrase=None)
        for first in range(0, len(clip), step):
            transcriber.feed(clip[first : first + step])
            transcriber.step()
        transcriber.finish()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return Measurement(
        rtf=round(best_s / (len(clip) / SAMPLE_RATE), 4),
        load_s=round(load_s, 2),
        memory_mb=round(take_peak_memory_bytes() / 1e6, 1),
        size_bytes=size_of(folder) if folder.is_dir() else folder.stat().st_size,
    )


def _measure_folder(context: Context, folder: Path) -> Measurement:
    """Measure a model and keep the result; raises `ModelError`."""
    # The configured language may not be one of this model's; a clip in English is heard.
    settings = context.settings().asr.model_copy(update={"language": "en", "task": "transcribe"})
    config = streaming_config(settings)
    clip = to_int16(load_audio(DEMO_CLIP))
    result = measure(folder, config, clip, dtype=settings.dtype, step_s=settings.step_s)
    try:
        remember(context.paths().state_dir, folder, result)
    except OSError as error:
        context.err.write(f"daemonctl: the result could not be kept: {error}\n")
    return result


def _measurements(
    context: Context, models: Sequence[InstalledModel], *, measure: bool
) -> dict[Path, Measurement]:
    """Give what is known of installed models; with `measure` the rest is found out."""
    known = read_measurements(context.paths().state_dir)
    found: dict[Path, Measurement] = {}
    for model in models:
        kept = known.get(str(model.folder))
        if kept is not None and kept.size_bytes == model.size_bytes:
            found[model.folder] = kept
        elif measure:
            context.err.write(f"measuring {model.name}\n")
            try:
                found[model.folder] = _measure_folder(context, model.folder)
            except ModelError as error:
                print_error(error, context.err)
    return found


def _pull(args: argparse.Namespace, context: Context) -> int:
    result = pull(
        args.name,
        models_dir=context.paths().models_dir,
        progress=progress_to(context.err),
        force=args.force,
    )
    if args.json:
        context.print_json(
            {
                "model": result.name,
                "folder": str(result.folder),
                "size_bytes": result.size_bytes,
                "revision": result.revision,
                "already_installed": result.already_installed,
            }
        )
        return EXIT_OK
    what = "is already here and intact" if result.already_installed else "installed and verified"
    context.out.write(f"{result.name}: {what} ({size_text(result.size_bytes)})\n")
    context.out.write(f'use it with: asr.model = "{args.name}"\n')
    return EXIT_OK


def _verify(args: argparse.Namespace, context: Context) -> int:
    result = verify(args.name, models_dir=context.paths().models_dir)
    if args.json:
        context.print_json(
            {
                "model": result.name,
                "folder": str(result.folder),
                "files": result.n_files,
                "intact": not result.problems,
                "problems": list(result.problems),
            }
        )
    elif result.problems:
        context.out.writelines(f"{result.name}: {problem}\n" for problem in result.problems)
        context.err.write(f"  -> {result.remedy}\n")
    else:
        context.out.write(f"{result.name}: intact, {result.n_files} files\n")
    return EXIT_FAILED if result.problems else EXIT_OK


def _list(args: argparse.Namespace, context: Context) -> int:
    models_dir, settings = context.paths().models_dir, context.settings().asr
    in_use = locate(settings.model, models_dir=models_dir)
    models = list_models(models_dir=models_dir)
    measured = _measurements(context, models, measure=args.measure)
    suited = recommended(machine_memory_mb(), multilingual=settings.language != "en")
    if args.json:
        context.print_json(
            {
                "configured": settings.model,
                "configured_folder": None if in_use is None else str(in_use),
                "models": [_as_json(model, measured, in_use) for model in models],
                "recommended": [asdict(entry) for entry in CATALOGUE],
                "suits_this_machine": None if suited is None else suited.name,
            }
        )
        return EXIT_OK
    _write_installed(context, models, measured, in_use)
    if in_use is None:
        context.out.write(f'asr.model = "{settings.model}" is not on this disk\n')
    elif all(model.folder != in_use for model in models):
        context.out.write(f"asr.model is the folder {in_use}\n")
    _write_offers(context, suited)
    return EXIT_OK


def _as_json(
    model: InstalledModel, measured: Mapping[Path, Measurement], in_use: Path | None
) -> dict[str, object]:
    cost = measured.get(model.folder)
    return {
        **asdict(model),
        "folder": str(model.folder),
        "configured": model.folder == in_use,
        "measured": None if cost is None else asdict(cost),
    }


def _write_installed(
    context: Context,
    models: Sequence[InstalledModel],
    measured: Mapping[Path, Measurement],
    in_use: Path | None,
) -> None:
    rows = [
        (
            "*" if model.folder == in_use else "",
            model.name,
            size_text(model.size_bytes),
            model.layout,
            model.languages,
            *_cost(measured.get(model.folder)),
            "bundled" if model.bundled else "",
        )
        for model in models
    ]
    head = ("", "installed", "size", "layout", "languages", "RTF", "memory", "")
    _write_table(context, head, rows)


def _write_offers(context: Context, suited: CatalogueEntry | None) -> None:
    """Write what could be downloaded; `suited` is what this machine's memory is enough for."""
    offers = [
        ("+" if e == suited else "", e.name, f"{e.approx_mb} MB", e.languages, e.advice)
        for e in CATALOGUE
        if e.advice
    ]
    context.out.write("\n")
    _write_table(context, ("", "to download", "about", "languages", "for"), offers)
    others = ", ".join(entry.name for entry in CATALOGUE if not entry.advice)
    if suited is not None:
        context.out.write(f"   + suits this machine's memory: {suited.name}\n")
    context.out.write(f"   also: {others}, and any Whisper repository by its id\n")
    context.out.write("   daemonctl models pull NAME\n")


def _cost(measured: Measurement | None) -> tuple[str, str]:
    """Write what a model was measured to cost; a dash where it was not."""
    if measured is None:
        return "-", "-"
    return f"{measured.rtf:.3f}", f"{measured.memory_mb:.0f} MB"


def _write_table(context: Context, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write aligned columns; the last one is folded where a terminal is narrow."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in head[:-1]:
        table.add_column(Text(title), no_wrap=True)
    table.add_column(Text(head[-1]))
    for row in rows:
        table.add_row(*map(Text, row))
    # A pipe has no width: there a line is never folded.
    width = None if context.is_terminal else _PIPE_COLUMNS
    console = Console(file=context.out, width=width, no_color=not context.wants_colour)
    console.print(table)


def size_text(n_bytes: int) -> str:
    """Bytes as people read them, in decimal units as disks are sold."""
    mb = n_bytes / 1e6
    return f"{mb / MB_PER_GB:.2f} GB" if mb >= MB_PER_GB else f"{mb:.1f} MB"
