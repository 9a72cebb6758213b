"""Whether a command comes through whole where people do not speak as in a studio.

    scripts/bench scenes --wake FOLDER COMMANDS... [--word alexa] [--digits FOLDER]
        [--scenes plain,again,corrected,faint40,faint48,digits] [--half even]

Real recordings of a wake word and of commands, put together to a scene each, heard by the daemon's
pipeline at once. `plain`: the command behind its wake word. `again`: the wake word twice.
`corrected`: the wake word, the first words of another command, the wake word and the command.
`faintN`: all of it at N dB under full scale. `digits`: one digit said five times, then two others,
all of one speaker. Right is what the same model reads in the command alone, at its own level.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from tools.bench.arguments import DEFAULT_OUT, model_folder
from tools.bench.clips import Clip, load_clips
from tools.bench.latency import LEAD_S, NOISE, TAIL_S, Reader, chosen_speech, rms, voiced
from tools.bench.latency_match import Heard, Spoken
from tools.bench.latency_simulated import COMPUTING, simulate
from tools.bench.tables import Table, wide_console
from tools.bench.text import words_of
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import SAMPLE_RATE

GAP_S: Final = 0.15
"""Between a wake word and what follows."""
GIVEN_UP_S: Final = 0.8
"""How much of a command is said before its speaker calls again."""
LEVEL_DBFS: Final = -20.0
"""Of voice where the scene does not say."""
REPEATS: Final = 5
SCENES: Final = ("plain", "again", "corrected", "faint40", "faint48", "digits")
_FAINT: Final = re.compile(r"faint(\d+)")

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Take:
    """One wake word and one command, cut to their voice, and another command."""

    wake: Clip
    command: str
    called: Samples
    said: Samples
    other: Samples


def main(arguments: Sequence[str]) -> int:
    """Play every scene and show the table; raises `UsageError` for arguments of no use."""
    args = _parser().parse_args(arguments)
    reader = Reader(model_folder(args.model))
    wakes, commands = chosen_speech(args)
    digits = spread(digit_rows(args.digits), len(commands)) if args.digits else []
    names = [name for name in args.scenes.split(",") if name != "digits" or args.digits]
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("playing", total=len(names))
        for name in names:
            said = digits if name == "digits" else sounds(commands)
            sound, spoken = scene(name, list(takes(wakes, said)), reader=reader)
            heard = simulate(
                sound, spoken, model=reader.model, word=args.word, compute_s=COMPUTING["audio"]
            )
            rows.append(row(name, heard))
            for one in heard:
                if not one.is_whole:
                    progress.console.print(f"{name}: {one.spoken.offline!r} -> {one.final!r}")
            progress.advance(task)
    table = Table(
        "Commands that come through",
        ("scene", "n", "no wake", "whole", "other words", "none", "more than one"),
        tuple(rows),
    )
    wide_console().print(table.for_terminal())
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "scenes.md").write_text(table.as_markdown(), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench scenes", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="COMMANDS")
    parser.add_argument("--wake", type=Path, required=True, metavar="FOLDER", help="wake words")
    parser.add_argument("--word", default="alexa", metavar="W", help="default: %(default)s")
    parser.add_argument("--digits", type=Path, metavar="FOLDER", help="single digits, by speaker")
    parser.add_argument("--scenes", default=",".join(SCENES), metavar="A,B", help="%(default)s")
    parser.add_argument("--half", choices=("even", "odd"), help="every other recording alone")
    parser.add_argument("--model", default="tiny.en", metavar="M", help="default: %(default)s")
    parser.add_argument("--limit", type=int, metavar="N", help="commands of each folder")
    parser.add_argument("--longest", type=float, default=6.0, metavar="S", help="%(default)g")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR")
    return parser


def sounds(clips: Sequence[Clip]) -> list[tuple[str, Samples]]:
    """The voice of each recording, with its name."""
    cut = ((clip.name, voiced(clip.samples())) for clip in clips)
    return [(name, samples) for name, samples in cut if samples is not None]


def digit_rows(folder: Path) -> list[tuple[str, Samples]]:
    """Rows such as "five five five five five one two", each of one speaker's recordings."""
    clips = sorted(load_clips(folder), key=lambda clip: (_speaker(clip), clip.name))
    rows: list[tuple[str, Samples]] = []
    pause = np.zeros(round(0.12 * SAMPLE_RATE), np.float32)
    for speaker, group in groupby(clips, key=_speaker):
        own = [(clip.text or "", clip.samples()) for clip in group]
        for first in range(len(own)):
            word, repeated = own[first]
            others = [one for one in own if one[0] != word]
            picked = [others[(first + step) % len(others)] for step in (1, 2)] if others else []
            parts = [repeated] * REPEATS + [samples for _, samples in picked]
            said = [piece for part in parts for piece in (part / rms(part), pause)]
            rows.append((f"{speaker}: {word}", np.concatenate(said)))
    return rows


def spread(rows: Sequence[tuple[str, Samples]], n: int) -> list[tuple[str, Samples]]:
    """At most `n` of the rows, evenly spread."""
    step = max(1.0, len(rows) / n)
    return [rows[int(at * step)] for at in range(min(n, len(rows)))]


def _speaker(clip: Clip) -> str:
    return clip.path.stem.split("_")[1] if clip.path.stem.count("_") > 1 else ""


def takes(wakes: Sequence[Clip], said: Sequence[tuple[str, Samples]]) -> Iterator[Take]:
    """Pair every command with a wake word and with the next command."""
    for n, (name, samples) in enumerate(said):
        wake = wakes[n % len(wakes)]
        called = voiced(wake.samples())
        if called is not None:
            yield Take(wake, name, called, samples, said[(n + 1) % len(said)][1])


def scene(
    name: str, played: Sequence[Take], *, reader: Reader
) -> tuple[NDArray[np.int16], list[Spoken]]:
    """Put a scene together for each take; return the sound and what was spoken when."""
    faint = _FAINT.fullmatch(name)
    level_dbfs = -float(faint[1]) if faint else LEVEL_DBFS
    noise = np.random.default_rng(0)
    pieces: list[Samples] = []
    spoken = []
    for take in played:
        text, first_word_end_s = reader.read(to_int16(_at(take.said, LEVEL_DBFS)))
        if first_word_end_s is None:
            continue
        before = _before(name, take)
        voice = [_at(part, level_dbfs) if len(part) else part for part in (*before, take.said)]
        command_s = sum(map(len, (*pieces, *voice[:-1]))) / SAMPLE_RATE + LEAD_S
        began_s = sum(map(len, pieces)) / SAMPLE_RATE + LEAD_S
        spoken.append(
            Spoken(
                wake_clip=take.wake.name,
                command_clip=take.command,
                gap_ms=1000 * GAP_S,
                wake_end_s=began_s + len(take.called) / SAMPLE_RATE,
                first_word_end_s=command_s + first_word_end_s,
                speech_end_s=command_s + len(take.said) / SAMPLE_RATE,
                offline=text,
            )
        )
        piece = np.concatenate((_quiet(LEAD_S), *voice, _quiet(TAIL_S)))
        room = NOISE * 10 ** (min(0.0, level_dbfs - LEVEL_DBFS) / 20)
        pieces.append(piece + noise.normal(0, room, len(piece)).astype(np.float32))
    return to_int16(np.concatenate(pieces)), spoken


def _before(name: str, take: Take) -> tuple[Samples, ...]:
    """What is said before the command, and the gaps between."""
    call = (take.called, _quiet(GAP_S))
    if name == "again":
        return (take.called, _quiet(4 * GAP_S), *call)
    if name == "corrected":
        given_up = take.other[: round(GIVEN_UP_S * SAMPLE_RATE)]
        return (*call, given_up, _quiet(2 * GAP_S), *call)
    return call


def _quiet(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def _at(samples: Samples, dbfs: float) -> Samples:
    """(n,) samples at a level, by their power; silence as it is."""
    level = rms(samples)
    return samples * np.float32(10 ** (dbfs / 20) / level) if level else samples


def row(name: str, heard: Sequence[Heard]) -> tuple[str, ...]:
    """Count what became of a scene's commands."""
    judged: dict[str, Callable[[Heard], bool]] = {
        "no wake": lambda h: h.wake_s is None,
        "whole": lambda h: h.is_whole,
        "other": lambda h: bool(words_of(h.final)) and not h.is_whole,
        "none": lambda h: h.wake_s is not None and h.final_s is None,
        "more": lambda h: h.n_finals > 1,
    }
    counts = (str(sum(map(test, heard))) for test in judged.values())
    return (name, str(len(heard)), *counts)
