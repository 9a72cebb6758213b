"""`daemonctl transcribe`: sound files through the recogniser alone, streamed or in one decode.

Owns the order of files and what is printed. The recogniser is the daemon's own, loaded and
warmed once; there is no wake word and no session here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from voice_daemon.cli.context import print_error
from voice_daemon.errors import AudioFileError, UsageError

if TYPE_CHECKING:
    import argparse

    from voice_daemon.cli.context import Context
    from voice_daemon.cli.recordings import Recogniser
    from voice_daemon.config import Settings

NAME = "transcribe"
HELP = "stream sound files through the recogniser"
EXAMPLE = "daemonctl transcribe --json command.wav"

FAILED = 1
MODEL_VARIABLE = "VOICE_DAEMON_ASR__MODEL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a sound file of any rate"
    )
    parser.add_argument("--model", metavar="M", help="a name, a repository id or a folder")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--step-s", type=float, metavar="S", help="seconds of audio between steps")
    how.add_argument(
        "--offline", action="store_true", help="one decode of the whole file, as a reference"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for every step")


def run(args: argparse.Namespace, context: Context) -> int:
    """Recognise each file; one that cannot be read is told, and the others are still done."""
    from voice_daemon.audio.file import load_audio  # noqa: PLC0415 - loads the sound libraries

    settings = _settings(context, model=args.model, step_s=args.step_s)
    recogniser: Recogniser | None = None
    code = 0
    for file in args.files:
        try:
            samples = load_audio(file)
        except AudioFileError as error:
            print_error(error, context.err)
            code = FAILED
            continue
        if recogniser is None:
            recogniser = _load(settings, context, offline=args.offline)
        for line in recogniser.lines(samples):
            if args.json:
                context.print_json(line.document(file))
            elif line.event == "final":
                context.out.write(f"{file}: {line.text}\n" if args.files[1:] else f"{line.text}\n")
                context.out.flush()
    return code


def _settings(context: Context, *, model: str | None, step_s: float | None) -> Settings:
    """Read the configuration with what the command line says in its place, checked alike."""
    from voice_daemon.config import STEP_S_MAX, STEP_S_MIN  # noqa: PLC0415 - pydantic is slow

    if step_s is not None and not STEP_S_MIN <= step_s <= STEP_S_MAX:
        raise UsageError(
            "transcribe.step",
            f"--step-s {step_s:g} is out of bounds",
            remedy=f"give a number from {STEP_S_MIN:g} to {STEP_S_MAX:g} (seconds)",
        )
    if model is not None:
        # Put in before the keys are compared: another model may take another language.
        environ = {**context.environ, MODEL_VARIABLE: model}
        context = replace(context, environ=environ)
    settings = context.settings()
    if step_s is None:
        return settings
    asr = settings.asr.model_copy(update={"step_s": step_s})
    return settings.model_copy(update={"asr": asr})


def _load(settings: Settings, context: Context, *, offline: bool) -> Recogniser:
    """Load the model and run it once, so that the first file is not the slow one."""
    from voice_daemon.asr import load_model  # noqa: PLC0415 - MLX
    from voice_daemon.cli.recordings import Offline, Streaming  # noqa: PLC0415 - with MLX
    from voice_daemon.models import resolve  # noqa: PLC0415 - with MLX, only when it is run
    from voice_daemon.runtime.build import pipeline_options  # noqa: PLC0415 - with MLX

    folder = resolve(settings.asr.model, models_dir=context.paths().models_dir)
    model = load_model(folder, settings.asr.dtype)
    kind = Offline if offline else Streaming
    recogniser: Recogniser = kind(model, settings.asr, pipeline_options(settings))
    recogniser.warm_up()
    return recogniser
