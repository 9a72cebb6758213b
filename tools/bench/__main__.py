"""`scripts/bench`: reads the command line, runs what it asks for, shows and writes it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from tools.bench import (
    curves,
    endpoint,
    evidence,
    home,
    idle,
    latency,
    long_speech,
    owner_table,
    scenes,
    wake,
)
from tools.bench.arguments import CLOCKS, add_clip_arguments, chosen_clips, model_folder, numbers
from tools.bench.benchmark import Benchmark, shown_runs
from tools.bench.clips import Clip, joined_speech
from tools.bench.memory import Memory, measure
from tools.bench.report import Findings, headlines, tables, write
from tools.bench.systems import (
    NAMES,
    OFFLINE,
    OURS,
    USUAL,
    System,
    UnavailableError,
    load_system,
)
from tools.bench.tables import wide_console
from tools.bench.voice import daemon_texts
from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.errors import UsageError, VoiceDaemonError
from voice_daemon.events import SAMPLE_RATE

MEMORY_CLIP_S: Final = 12
PICTURE_WORDS: Final = 16
PICTURE_STEP_S: Final = 0.5
FAILED: Final = 1
COMMANDS: Final = {
    "curves": curves.main,
    "endpoint": endpoint.main,
    "evidence": evidence.main,
    "home": home.main,
    "idle": idle.main,
    "latency": latency.main,
    "long": long_speech.main,
    "scenes": scenes.main,
    "wake": wake.main,
}


def main(arguments: Sequence[str]) -> int:
    """Run a command; faults with a remedy are told in two lines."""
    errors = Console(stderr=True, highlight=False)
    try:
        if arguments and arguments[0] in COMMANDS:
            return COMMANDS[arguments[0]](arguments[1:])
        args = _parser().parse_args(arguments)
        return _owner_table(args) if args.owner_table else _benchmark(args, errors)
    except VoiceDaemonError as error:
        errors.print(f"bench: {error.message}\n  -> {error.remedy}", markup=False, soft_wrap=True)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Streams recorded clips through recognisers on a simulated real-time clock "
        "and compares speed, words and latency. `scripts/bench curves` sweeps our settings.",
    )
    add_clip_arguments(parser)
    parser.add_argument(
        "--steps", default="0.5,0.25,0.1", metavar="S,S", help="seconds (default: %(default)s)"
    )
    parser.add_argument(
        "--systems", default=",".join(USUAL), metavar="A,B", help="default: %(default)s"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument(
        "--owner-table",
        action="store_true",
        help="speech of --seconds in one decode and at steps of 0.5, 1, 2 and 3 s",
    )
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="%(default)g")
    return parser


def _benchmark(args: argparse.Namespace, errors: Console) -> int:
    model = model_folder(args.model)
    systems = _systems(args.systems, model, errors)
    clips = chosen_clips(args, multilingual=_is_multilingual(model))
    steps_s = numbers(args.steps)
    if not all(steps_s):
        raise UsageError("bench.steps", "a step of 0 s has no end", remedy="give --steps 0.5,0.25")
    n_streams = sum(system.streams for system in systems)
    n_runs = len(clips) * (n_streams * len(steps_s) + len(systems) - n_streams)
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("replaying", total=n_runs)
        bench = Benchmark(systems, now_s=CLOCKS[args.clock], on_run=lambda: progress.advance(task))
        bench.run(clips, steps_s=steps_s)
    findings = Findings(
        model=args.model,
        clock=args.clock,
        folders=tuple(dict.fromkeys(clip.folder for clip in clips)),
        scores=bench.scores(),
        skipped=tuple(bench.skipped),
        memory={} if args.no_memory else _memory(systems, model, clips, step_s=max(steps_s)),
        daemon_false_texts=_daemon_false_texts(model, clips),
    )
    write(findings, args.out)
    _draw(bench, findings, args.out)
    _show(findings, args.out)
    return 0


def _systems(names: str, model: Path, errors: Console) -> list[System]:
    """Load what is asked for, and offline in any case: the others are measured against it."""
    wanted = dict.fromkeys([OFFLINE, *names.split(",")])
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise UsageError(
            "bench.systems", f"there is no system {unknown[0]!r}", remedy=f"use {', '.join(NAMES)}"
        )
    systems = []
    for name in wanted:
        try:
            systems.append(load_system(name, model))
        except UnavailableError as error:
            errors.print(f"bench: {error.message}\n  -> {error.remedy}", markup=False)
    return systems


def _is_multilingual(model: Path) -> bool:
    return load_model(model).tokenizer.is_multilingual


def _memory(
    systems: Sequence[System], model: Path, clips: Sequence[Clip], *, step_s: float
) -> dict[str, Memory]:
    """Each system over one clip, alone in a process of its own."""
    clip = max(clips, key=lambda c: min(len(c.samples()), MEMORY_CLIP_S * SAMPLE_RATE))
    found = {s.name: measure(s.name, model, clip, step_s=step_s) for s in systems}
    return {name: memory for name, memory in found.items() if memory is not None}


def _daemon_false_texts(model: Path, clips: Sequence[Clip]) -> dict[str, tuple[str, ...]]:
    quiet = [clip for clip in clips if not clip.is_speech]
    if not quiet:
        return {}
    transcriber = WhisperTranscriber(load_model(model))
    return {clip.name: daemon_texts(transcriber, clip.samples()) for clip in quiet}


def _draw(bench: Benchmark, findings: Findings, out: Path) -> None:
    """Two pictures; none where matplotlib is not installed."""
    try:
        from tools.bench import pictures  # noqa: PLC0415 - matplotlib
    except ImportError:
        return
    pictures.bars(findings.summaries(), out / "bars.png")
    at_steps = [step_s for _, step_s in findings.scores if step_s is not None]
    at_step_s = max(at_steps, key=lambda s: (at_steps.count(s), -abs(s - PICTURE_STEP_S)))
    n_words = {name: len(reference.words) for name, reference in bench.references.items()}
    clip = max(n_words, key=lambda name: (n_words[name] <= PICTURE_WORDS, n_words[name]))
    shown = list(shown_runs(bench.outcomes, clip=clip, step_s=at_step_s))
    if shown and n_words[clip]:
        shown.sort(key=lambda outcome: (outcome.system != OURS, outcome.system))
        pictures.words_over_time(shown, bench.references[clip], out / "words.png")


def _show(findings: Findings, out: Path) -> None:
    console = wide_console()
    for table in tables(findings):
        console.print(table.for_terminal())
    for line in headlines(findings):
        console.print(f"* {line}", highlight=False, markup=False)
    console.print(f"\nWritten: {out}/results.json, results.md and pictures", markup=False)


def _owner_table(args: argparse.Namespace) -> int:
    model = model_folder(args.model)
    errors = Console(stderr=True, highlight=False)
    systems = owner_table.in_order(_systems(args.systems, model, errors))
    clips = chosen_clips(args, multilingual=_is_multilingual(model))
    samples = joined_speech(clips, seconds=args.seconds)
    lines = []
    with errors.status("reading") as status:
        for line in owner_table.measure(systems, samples, now_s=CLOCKS[args.clock]):
            status.update(f"{line.system} {line.step_s or ''}")
            lines.append(line)
    table = owner_table.table(lines, audio_s=args.seconds)
    wide_console().print(table.for_terminal())
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "owner-table.md").write_text(table.as_markdown(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
