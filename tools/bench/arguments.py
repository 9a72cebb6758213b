"""What the benchmark's commands ask for on the command line: folders, a model, an output."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Final

from tools.bench.clips import Clip, load_clips
from voice_daemon.errors import UsageError
from voice_daemon.models import resolve
from voice_daemon.paths import default_paths

DEFAULT_OUT: Final = Path("bench-out")
CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.process_time}


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every command has."""
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a folder with a manifest.jsonl"
    )
    parser.add_argument(
        "--model", default="tiny.en", metavar="M", help="a name, a repository id or a folder"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="clips of each folder, spread out")
    parser.add_argument(
        "--longest", type=float, metavar="S", help="leave out clips of more than S seconds"
    )
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="what counts as computing: time, or on a busy machine this process's processor time "
        "(then also set OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1)",
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="default: %(default)s"
    )


def model_folder(name: str) -> Path:
    """Where a model is; raises ModelError where it is not."""
    return resolve(name, models_dir=default_paths(os.environ).models_dir)


def chosen_clips(args: argparse.Namespace, *, multilingual: bool) -> tuple[Clip, ...]:
    """The clips of all folders that the model can read; raises UsageError without any."""
    clips = [
        clip
        for folder in args.folders
        for clip in load_clips(folder, limit=args.limit, longest_s=args.longest)
    ]
    readable = tuple(clip for clip in clips if multilingual or clip.language == "en")
    if not readable:
        raise UsageError(
            "bench.no_clips",
            f"{args.model} can read none of the {len(clips)} clips",
            remedy="name other folders, or a multilingual model with --model",
        )
    return readable


def numbers(text: str) -> tuple[float, ...]:
    """Read "0.5,0.25"; raises UsageError for anything else, and for numbers below 0."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 0:
        raise UsageError("bench.numbers", f"{text!r} is no list of numbers", remedy="0.5,0.25")
    return values
