"""What a person waits for: the wake word, the first word on the screen, the final.

    scripts/bench latency --wake FOLDER COMMANDS... [--word alexa] [--gaps 0,150,400]
        [--behind FOLDER --below 15] [--document HOME.json] [--device] [--simulated audio]

Real recordings of a wake word, each with a command behind it, played to a real daemon in real
time; a real broker; a subscriber in a process of its own. Every time is that of the message's
arrival, on the clock of the recording: when the words were spoken is known from the recordings
alone. Sound begins for the daemon when it says that it is idle, one block after the first.

Device: it is spoken into a virtual microphone, not read from a file, so that what PortAudio and the
sound server wait for counts too. Linux with PulseAudio.

Behind: other speech, as of a television, goes on all the time, so many dB below each command, and
each wake word is as loud as its command, as one speaker's.

Document: the names of a home, whose grammar then says of its sentences whether they are over.

Simulated: the daemon's pipeline in this process, on a clock that counts audio alone, which leaves
what its rules wait for, or audio and this process's computing, for a machine that is not quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from rigs.brokers import Mosquitto
from rigs.virtual_microphone import DEVICE, VirtualMicrophone
from support.daemon_process import DaemonProcess
from tools.bench.arguments import DEFAULT_OUT, chosen_clips, model_folder, numbers
from tools.bench.clips import Clip, load_clips
from tools.bench.latency_match import NODE, Heard, Spoken, match
from tools.bench.latency_simulated import COMPUTING, simulate
from tools.bench.metrics import percentile
from tools.bench.report import SCHEMA, machine
from tools.bench.tables import Table, number, wide_console
from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import UsageError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.session.options import PipelineOptions

LEAD_S: Final = 1.5
"""Quiet before each wake word."""
TAIL_S: Final = 2.5
"""Quiet after each command: more than any silence that ends one."""
NOISE: Final = 2e-4
"""Of full scale (-74 dBFS): a quiet room, for perfect silence is a fault of a microphone."""
PERCENTS: Final = (50, 90)
STARTING_S: Final = 90.0
SETTLING_S: Final = 2.0
ENDING_S: Final = 3.0
FRAGMENT: Final = 160
"""Samples that the second reader waits for: it is late by 10 ms at most."""


def main(arguments: Sequence[str]) -> int:
    """Measure and show it; raises `UsageError` for arguments that cannot be used."""
    args = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False)
    gaps_ms = numbers(args.gaps)
    wakes, commands = chosen_speech(args)
    behind = load_clips(args.behind) if args.behind else ()
    television = Television(behind, args.below) if behind else None
    reader = Reader(model_folder(args.model))
    heard: list[Heard] = []
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("speaking", total=len(gaps_ms))
        for gap_ms in gaps_ms:
            sound, spoken = scene(
                wakes, commands, gap_ms=gap_ms, reader=reader, television=television
            )
            if args.simulated:
                compute_s = COMPUTING[args.simulated]
                heard += simulate(
                    sound,
                    spoken,
                    model=reader.model,
                    word=args.word,
                    compute_s=compute_s,
                    document=args.document,
                )
            else:
                heard += play(
                    sound,
                    spoken,
                    model=args.model,
                    word=args.word,
                    by_device=args.device,
                    document=args.document,
                )
            progress.advance(task)
    show(heard, args.out)
    return 0


def chosen_speech(args: argparse.Namespace) -> tuple[list[Clip], list[Clip]]:
    """The wake words and the commands to speak; raises `UsageError` without any."""
    wakes = [c for c in load_clips(args.wake) if args.word in {c.text, *c.slots.values()}]
    if not wakes:
        raise UsageError(
            "bench.no_wake_words",
            f"no recording in {args.wake} says {args.word!r}",
            remedy="name a folder whose manifest has it as a text, or give --word",
        )
    commands = [clip for clip in chosen_clips(args, multilingual=False) if clip.is_speech]
    if args.half:
        first = ("even", "odd").index(args.half)
        wakes, commands = wakes[first::2], commands[first::2]
    return wakes, commands


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench latency", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="COMMANDS")
    parser.add_argument("--wake", type=Path, required=True, metavar="FOLDER", help="wake words")
    parser.add_argument("--word", default="alexa", metavar="W", help="default: %(default)s")
    parser.add_argument("--gaps", default="0,150,400", metavar="MS,MS", help="%(default)s")
    parser.add_argument("--half", choices=("even", "odd"), help="every other recording alone")
    parser.add_argument("--device", action="store_true", help="by a virtual microphone")
    parser.add_argument("--simulated", choices=tuple(COMPUTING), help="the clock: see above")
    parser.add_argument("--model", default="tiny.en", metavar="M", help="default: %(default)s")
    parser.add_argument("--behind", type=Path, metavar="FOLDER", help="other speech, all along")
    parser.add_argument("--below", type=float, default=15.0, metavar="DB", help="%(default)g")
    parser.add_argument("--document", type=Path, metavar="FILE", help="the home's names")
    parser.add_argument("--limit", type=int, metavar="N", help="commands of each folder")
    parser.add_argument("--longest", type=float, default=6.0, metavar="S", help="%(default)g")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR")
    return parser


class Reader:
    """The recogniser on a command alone: its words and when the first of them ends."""

    def __init__(self, model: Path) -> None:
        self.model = load_model(model)
        self._transcriber = WhisperTranscriber(self.model)

    def read(self, samples: NDArray[np.int16]) -> tuple[str, float | None]:
        """Return the text of (n,) samples, and the end of its first word in seconds."""
        self._transcriber.start(wake_phrase=None)
        self._transcriber.feed(samples)
        transcript = self._transcriber.finish()
        self._transcriber.reset()
        return transcript.text, transcript.words[0].end_s if transcript.words else None


def voiced(samples: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Cut (n,) samples to the voice in them; None without any."""
    vad = SileroVad()
    frames = np.flatnonzero(np.array(vad.feed(to_int16(samples))) >= PipelineOptions().voice_on)
    if not len(frames):
        return None
    return samples[frames[0] * vad.frame_samples : (frames[-1] + 1) * vad.frame_samples]


class Television:
    """Other speech that goes on, one recording after the other, without its pauses' ends."""

    def __init__(self, clips: Sequence[Clip], below_db: float) -> None:
        self._clips = cycle(clips)
        self._below_db = below_db
        self._left = np.zeros(0, np.float32)

    def behind(self, samples: NDArray[np.float32], said: NDArray[np.float32]) -> NDArray[Any]:
        """Return (n,) samples with it behind them, so far below what was `said`, (m,)."""
        while len(self._left) < len(samples):
            heard = voiced(next(self._clips).samples())
            if heard is not None:
                self._left = np.concatenate((self._left, heard / rms(heard)))
        own, self._left = np.split(self._left, [len(samples)])
        return samples + own * rms(said) * np.float32(10 ** (-self._below_db / 20))


def rms(samples: NDArray[np.float32]) -> np.float32:
    """Return the root mean square of (n,) samples."""
    return np.float32(np.sqrt(np.mean(np.square(samples))))


def scene(
    wakes: Sequence[Clip],
    commands: Sequence[Clip],
    *,
    gap_ms: float,
    reader: Reader,
    television: Television | None = None,
) -> tuple[NDArray[np.int16], list[Spoken]]:
    """Put every command behind a wake word; return the sound and when each was spoken."""
    noise = np.random.default_rng(0)

    def quiet(seconds: float) -> NDArray[np.float32]:
        samples = noise.normal(0, NOISE, round(seconds * SAMPLE_RATE))
        return samples.astype(np.float32)

    pieces: list[NDArray[np.float32]] = []
    spoken = []
    for n, command in enumerate(commands):
        wake = wakes[n % len(wakes)]
        said, called = voiced(command.samples()), voiced(wake.samples())
        if said is None or called is None:
            continue
        if television:
            called = called * (rms(said) / rms(called))
        text, first_word_end_s = reader.read(to_int16(said))
        if first_word_end_s is None:
            continue
        at_s = sum(map(len, pieces)) / SAMPLE_RATE + LEAD_S
        wake_end_s = at_s + len(called) / SAMPLE_RATE
        command_s = wake_end_s + gap_ms / 1000
        spoken.append(
            Spoken(
                wake_clip=wake.name,
                command_clip=command.name,
                gap_ms=gap_ms,
                wake_end_s=wake_end_s,
                first_word_end_s=command_s + first_word_end_s,
                speech_end_s=command_s + len(said) / SAMPLE_RATE,
                offline=text,
            )
        )
        parts = (quiet(LEAD_S), called, quiet(gap_ms / 1000), said, quiet(TAIL_S))
        piece = np.concatenate(parts)
        pieces.append(television.behind(piece, said) if television else piece)
    return to_int16(np.concatenate(pieces)), spoken


def play(
    sound: NDArray[np.int16],
    spoken: Sequence[Spoken],
    *,
    model: str,
    word: str,
    by_device: bool = False,
    document: Path | None = None,
) -> list[Heard]:
    """Let a daemon hear it in real time; return what arrived of each command."""
    with tempfile.TemporaryDirectory(prefix="latency-", dir="/tmp") as name:
        folder = Path(name)
        recording = folder / "room.wav"
        soundfile.write(recording, sound, SAMPLE_RATE)
        broker = Mosquitto(folder).start()
        variables = {
            "VOICE_DAEMON_NODE_ID": NODE,
            "VOICE_DAEMON_MQTT__PORT": str(broker.port),
            "VOICE_DAEMON_ASR__MODEL": model,
            "VOICE_DAEMON_WAKE__MODELS": word,
        }
        if document:
            variables["VOICE_DAEMON_VOCABULARY__FILE"] = str(document.resolve())
        began_s = None
        try:
            with _listening(broker.port, folder) as lines:
                if by_device:
                    began_s = _speak(
                        recording,
                        folder / "home",
                        variables,
                        is_idle=lambda: '"text": "idle"' in lines.read_text(),
                    )
                else:
                    _read_out(
                        recording, folder / "home", variables, seconds=len(sound) / SAMPLE_RATE
                    )
                time.sleep(0.5)  # what is still on its way to the subscriber
            messages = [json.loads(line) for line in lines.read_text().splitlines()]
        finally:
            broker.kill()
    return match(messages, spoken, began_s=began_s)


def _speak(
    recording: Path, home: Path, variables: Mapping[str, str], *, is_idle: Callable[[], bool]
) -> float:
    """Let a daemon hear it by a microphone; return the monotonic time of its first sample.

    The microphone is virtual and its stream is PortAudio's own, so that what that waits for
    counts. A second reader of the same microphone tells when the sound began.
    """
    microphone = VirtualMicrophone().start()
    heard = {**variables, **microphone.additions, "VOICE_DAEMON_AUDIO__DEVICE": DEVICE}
    try:
        with DaemonProcess((), home, heard) as daemon:
            give_up_s = time.monotonic() + STARTING_S
            while not is_idle():
                if not daemon.is_running or time.monotonic() > give_up_s:
                    raise UsageError("bench.daemon", daemon.last_words().strip(), remedy="see why")
                time.sleep(0.1)
            time.sleep(SETTLING_S)
            reader = microphone.record()
            player = microphone.begin(recording)
            assert reader.stdout is not None
            began_s = _first_sound_s(reader.stdout)
            reader.kill()
            reader.wait()
            player.wait()
            time.sleep(ENDING_S)
    finally:
        microphone.stop()
    return began_s


def _first_sound_s(samples: IO[bytes]) -> float:
    while True:
        content = samples.read(2 * FRAGMENT)
        arrived_s = time.monotonic()
        if not content:
            raise UsageError(
                "bench.device", "the microphone is gone", remedy="is PulseAudio there?"
            )
        block = np.frombuffer(content, np.int16)
        if block.any():
            return arrived_s - (len(block) - int(np.flatnonzero(block)[0])) / SAMPLE_RATE


def _read_out(recording: Path, home: Path, variables: dict[str, str], *, seconds: float) -> None:
    """Let a daemon hear a file in real time."""
    with DaemonProcess(("--input", recording), home, variables) as daemon:
        code = daemon.wait(timeout_s=seconds + 120)
        if code:
            why = daemon.last_words().strip()
            raise UsageError("bench.daemon", why, remedy=f"it ended with {code}")


@contextmanager
def _listening(port: int, folder: Path) -> Iterator[Path]:
    """Run the subscriber; its lines are complete when the block ends."""
    file = folder / "arrived.jsonl"
    with file.open("w") as out:
        process = _start_listener(port, out)
        give_up_s = time.monotonic() + 15
        while not file.stat().st_size and time.monotonic() < give_up_s:
            time.sleep(0.05)
        yield file
        process.terminate()
        process.wait()


def _start_listener(port: int, out: IO[str]) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-P", "-m", "tools.bench.latency_listener"]
    return subprocess.Popen([*program, str(port), f"voice/{NODE}/#"], stdout=out)


def table(heard: Sequence[Heard]) -> Table:
    """Percentiles of each delay, a row for each gap and one for all."""
    gaps = sorted({h.spoken.gap_ms for h in heard})
    groups = [(f"{gap:g} ms", [h for h in heard if h.spoken.gap_ms == gap]) for gap in gaps]
    rows = [_row(name, group) for name, group in (*groups, ("all", list(heard)))]
    measures = ("wake", "first text", "committed", "final")
    columns = ("gap", "n", "no wake", "no final", *(f"{m} p50 / p90 s" for m in measures), "whole")
    return Table("From the spoken word to its message", columns, tuple(rows))


def _row(name: str, heard: Sequence[Heard]) -> tuple[str, ...]:
    delays = [h.delays_s() for h in heard]
    cells = []
    for measure in ("wake", "first text", "committed", "final"):
        values = [d[measure] for d in delays]
        present = [value for value in values if value is not None]
        cells.append(" / ".join(number(percentile(present, p)) for p in PERCENTS))
    missed = sum(h.wake_s is None for h in heard)
    silent = sum(h.wake_s is not None and h.final_s is None for h in heard)
    whole = f"{sum(h.is_whole for h in heard)}/{len(heard)}"
    return (name, str(len(heard)), str(missed), str(silent), *cells, whole)


def show(heard: Sequence[Heard], out: Path) -> None:
    """Print the table; write it, the figures of each command and a picture."""
    shown = table(heard)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    console = wide_console()
    console.print(shown.for_terminal())
    console.print(f"Load of the machine over 1, 5 and 15 minutes: {load}", highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "machine": machine(), "load": load}
    rows = [{**asdict(h), "delays_s": h.delays_s(), "whole": h.is_whole} for h in heard]
    (out / "latency.json").write_text(json.dumps({**document, "commands": rows}, indent=1))
    (out / "latency.md").write_text(shown.as_markdown(), encoding="utf-8")
    try:
        from tools.bench import pictures  # noqa: PLC0415 - matplotlib
    except ImportError:
        return
    pictures.latency(heard, out / "latency.png")
    console.print(f"Written: {out}/latency.json, latency.md and latency.png", markup=False)
