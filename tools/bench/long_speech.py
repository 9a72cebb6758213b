"""Minutes of continuous speech: does a step cost the same at the end as at the start?

    scripts/bench long FOLDER... [--minutes 10]

Joins clips that have a transcript, again from the first when they run out, and streams them as
one utterance. Knows nothing of how the recogniser bounds its work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from tools.bench.alignment import edits
from tools.bench.arguments import CLOCKS, add_clip_arguments, chosen_clips, model_folder
from tools.bench.clips import Clip
from tools.bench.replay import replay
from tools.bench.report import SCHEMA, machine
from tools.bench.systems.offline import Offline
from tools.bench.tables import Table, number, percent, wide_console
from tools.bench.text import words_of
from voice_daemon._lib.process import resident_mb
from voice_daemon.asr import StreamingConfig, StreamingDecoder, WhisperModel, load_model
from voice_daemon.errors import UsageError
from voice_daemon.events import SAMPLE_RATE

STEP_S: Final = StreamingConfig().min_chunk_duration
PAUSE_S: Final = 0.4
"""Silence between two clips."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the stream."""

    audio_s: float
    compute_s: float
    resident_mb: int


@dataclass(frozen=True, slots=True)
class LongRun:
    """The whole stream beside offline windows."""

    steps: tuple[Step, ...]
    audio_s: float
    final_compute_s: float
    text: str
    offline_text: str
    spoken: tuple[str, ...]
    taken_back: int
    """How often committed text did not begin with the committed text before."""

    def wrong_percent(self, text: str) -> float:
        """Word error rate against the transcripts."""
        return 100 * edits(self.spoken, words_of(text)) / len(self.spoken)


def joined(clips: Sequence[Clip], *, seconds: float) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Whole clips with transcripts until `seconds` are full: the samples and the words."""
    usable = [clip for clip in clips if clip.text]
    if not usable:
        raise UsageError(
            "bench.no_transcripts", "none of the clips has a transcript", remedy="name others"
        )
    pieces: list[NDArray[np.float32]] = []
    words: list[str] = []
    n_samples = 0
    while n_samples < seconds * SAMPLE_RATE:
        clip = usable[len(pieces) // 2 % len(usable)]
        pieces += [clip.samples(), np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)]
        words += words_of(clip.text or "")
        n_samples += len(pieces[-2]) + len(pieces[-1])
    return np.concatenate(pieces), tuple(words)


def stream(
    model: WhisperModel,
    samples: NDArray[np.float32],
    spoken: tuple[str, ...],
    *,
    now_s: Callable[[], float],
    progress: Progress,
) -> LongRun:
    """Stream (n,) samples as one utterance, then read them by offline windows."""
    decoder = StreamingDecoder(model)
    size = round(STEP_S * SAMPLE_RATE)
    steps: list[Step] = []
    committed, taken_back = "", 0
    for first in progress.track(range(0, len(samples), size), description="streaming"):
        begun_s = now_s()
        decoder.feed(samples[first : first + size])
        results = decoder.step()
        compute_s = now_s() - begun_s
        for result in results:
            taken_back += not result.text.startswith(committed)
            committed = result.text
        end_s = min(first + size, len(samples)) / SAMPLE_RATE
        steps.append(Step(end_s, compute_s, resident_mb()))
    begun_s = now_s()
    text = decoder.finish().text
    final_s = now_s() - begun_s
    offline = replay(Offline(model), samples, step_s=None)
    return LongRun(
        steps=tuple(steps),
        audio_s=len(samples) / SAMPLE_RATE,
        final_compute_s=final_s,
        text=text,
        offline_text=offline.final.text,
        spoken=spoken,
        taken_back=taken_back,
    )


def table(run: LongRun) -> Table:
    """A row for each minute, and what was read."""
    rows = []
    for minute in range(int(run.audio_s // 60) + 1):
        steps = [step for step in run.steps if minute * 60 < step.audio_s <= (minute + 1) * 60]
        if steps:
            costs = [1000 * step.compute_s for step in steps]
            rows.append(
                (
                    f"{minute + 1}",
                    number(float(np.median(costs)), 0),
                    number(float(np.percentile(costs, 95)), 0),
                    f"{steps[-1].resident_mb}",
                )
            )
    return Table(
        title=f"{run.audio_s / 60:.1f} minutes of speech, steps of {STEP_S:g} s",
        columns=("minute", "step ms, p50", "p95", "resident MiB"),
        rows=tuple(rows),
        note=f"Word error rate {percent(run.wrong_percent(run.text))}, by offline windows "
        f"{percent(run.wrong_percent(run.offline_text))} of {len(run.spoken)} words; committed "
        f"text taken back {run.taken_back} times; final computed in {run.final_compute_s:.2f} s.",
    )


def main(arguments: Sequence[str]) -> int:
    """Stream, print a table, and write long.json and long.png."""
    parser = argparse.ArgumentParser(prog="scripts/bench long", description=__doc__)
    add_clip_arguments(parser)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="%(default)g")
    args = parser.parse_args(arguments)
    model = load_model(model_folder(args.model))
    clips = chosen_clips(args, multilingual=model.tokenizer.is_multilingual)
    samples, spoken = joined(clips, seconds=60 * args.minutes)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        run = stream(model, samples, spoken, now_s=CLOCKS[args.clock], progress=progress)
    found = table(run)
    wide_console().print(found.for_terminal())
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "machine": machine(), "model": args.model, **asdict(run)}
    (out / "long.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (out / "long.md").write_text(found.as_markdown(), encoding="utf-8")
    from tools.bench import pictures  # noqa: PLC0415 - matplotlib

    pictures.long_speech(run, out / "long.png")
    return 0
