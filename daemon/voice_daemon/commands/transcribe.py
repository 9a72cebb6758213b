"""`daemonctl transcribe`: sound files through the recogniser alone, streamed or in one decode.

Owns the order of files, steps and lines. The recogniser is the daemon's own, loaded and warmed
once; there is no wake word, no session and no voice gate here.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from voice_daemon.commands import print_error
from voice_daemon.errors import AudioFileError, UsageError
from voice_daemon.events import SAMPLE_RATE, Word

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from voice_daemon.asr import WhisperModel
    from voice_daemon.commands import Context
    from voice_daemon.config import AsrSettings

    Samples = NDArray[np.float32]

NAME = "transcribe"
HELP = "stream sound files through the recogniser"
EXAMPLE = "daemonctl transcribe --json command.wav"

FAILED = 1
MODEL_VARIABLE = "VOICE_DAEMON_ASR__MODEL"


@dataclass(frozen=True, slots=True)
class Line:
    """What is printed after one step, or for the whole file."""

    event: str
    """`partial` or `final`."""
    audio_s: float
    """Audio fed when the step ran."""
    compute_s: float
    """Wall time computed since the line before."""
    text: str
    more: Mapping[str, object] = field(default_factory=dict)

    def document(self, file: Path) -> dict[str, object]:
        """Give the fields in the order in which they are printed."""
        return {
            "event": self.event,
            "file": str(file),
            "audio_s": round(self.audio_s, 3),
            "compute_s": round(self.compute_s, 4),
            "text": self.text,
            **self.more,
        }


class Recogniser(Protocol):
    """Turns a whole file into its lines; the last one is the final."""

    def lines(self, samples: Samples) -> Iterator[Line]:
        """Recognise (n_samples,) float32 in [-1, 1] at 16 kHz."""


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
    from voice_daemon.audio.wav import load_audio  # noqa: PLC0415 - loads the sound libraries

    settings = asr_settings(context, model=args.model, step_s=args.step_s)
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


def asr_settings(context: Context, *, model: str | None, step_s: float | None) -> AsrSettings:
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
    settings = context.settings().asr
    return settings if step_s is None else settings.model_copy(update={"step_s": step_s})


class Streaming:
    """Feeds a file in steps, as a microphone would deliver it, and times each."""

    def __init__(self, model: WhisperModel, settings: AsrSettings) -> None:
        from voice_daemon.asr import StreamingConfig, StreamingDecoder  # noqa: PLC0415 - MLX

        self._step_samples = round(settings.step_s * SAMPLE_RATE)
        config = StreamingConfig(
            frame_threshold=settings.frame_threshold,
            min_chunk_duration=settings.step_s,
            emit_partial=settings.partials,
            language=settings.language,
            task=settings.task,
            prompt=settings.prompt,
        )
        self._decoder = StreamingDecoder(model, config)

    def lines(self, samples: Samples) -> Iterator[Line]:
        """Give a line for every step, then the final."""
        self._decoder.reset()
        watch = _Stopwatch()
        for first in range(0, len(samples), self._step_samples):
            watch.start()
            self._decoder.feed(samples[first : first + self._step_samples])
            results = self._decoder.step()
            watch.stop()
            for result in results:
                yield Line(
                    "partial",
                    result.audio_duration,
                    watch.take_s(),
                    result.text,
                    {"draft": result.draft},
                )
        watch.start()
        final = self._decoder.finish()
        watch.stop()
        more = _final_fields(final.words, final.language, revised=final.revised)
        yield Line("final", final.audio_duration, watch.take_s(), final.text, more)


class Offline:
    """Decodes a file window by window: what streaming is compared with."""

    def __init__(self, model: WhisperModel, settings: AsrSettings) -> None:
        from voice_daemon.asr import DecodingOptions  # noqa: PLC0415 - MLX

        language = None if settings.language == "auto" else settings.language
        self._model = model
        self._options = DecodingOptions(
            task=settings.task, language=language, prompt=settings.prompt
        )

    def lines(self, samples: Samples) -> Iterator[Line]:
        """Give the final alone."""
        from voice_daemon.asr.offline import decode_windows  # noqa: PLC0415 - MLX
        from voice_daemon.asr.results import text_of, word_times  # noqa: PLC0415 - MLX

        watch = _Stopwatch()
        watch.start()
        windows = list(decode_windows(self._model, samples, self._options))
        watch.stop()
        words = [word for _, kept in windows for word in kept]
        more = _final_fields(word_times(words), windows[0][0].language, revised=False)
        yield Line("final", len(samples) / SAMPLE_RATE, watch.take_s(), text_of(words), more)


class _Stopwatch:
    """Adds up what was computed since the last line; a step without a line counts for the next."""

    def __init__(self) -> None:
        self._started_s = self._total_s = 0.0

    def start(self) -> None:
        self._started_s = time.perf_counter()

    def stop(self) -> None:
        self._total_s += time.perf_counter() - self._started_s

    def take_s(self) -> float:
        taken_s, self._total_s = self._total_s, 0.0
        return taken_s


def _final_fields(words: tuple[Word, ...], language: str, *, revised: bool) -> dict[str, object]:
    rounded = (Word(w.text, round(w.start_s, 3), round(w.end_s, 3)) for w in words)
    return {"words": [asdict(w) for w in rounded], "language": language, "revised": revised}


def _load(settings: AsrSettings, context: Context, *, offline: bool) -> Recogniser:
    """Load the model and run it once, so that the first file is not the slow one."""
    import numpy as np  # noqa: PLC0415 - the command line starts without it

    from voice_daemon.asr import load_model  # noqa: PLC0415 - MLX
    from voice_daemon.models import resolve  # noqa: PLC0415 - with MLX, only when it is run

    folder = resolve(settings.model, models_dir=context.paths().models_dir)
    model = load_model(folder, settings.dtype)
    recogniser = (Offline if offline else Streaming)(model, settings)
    tone = 0.1 * np.sin(np.arange(2 * SAMPLE_RATE) * 0.05)
    for _ in recogniser.lines(tone.astype(np.float32)):
        pass
    return recogniser
