"""Processor time and wake-ups of a daemon that listens and hears nobody.

    scripts/bench idle [--seconds 60] [--python OTHER/.venv/bin/python] [--file]

A real daemon with a real broker, on faint noise in real time: by a virtual microphone where there
can be one, else by a file. `--python` measures the daemon of another installation. Linux only, as
wake-ups are counted in /proc; audio servers and the broker are not counted.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from rich.console import Console

from rigs.brokers import Mosquitto, Observer
from rigs.virtual_microphone import DEVICE, VirtualMicrophone, why_not
from support.daemon_process import DaemonProcess
from voice_daemon.errors import UsageError
from voice_daemon.events import SAMPLE_RATE

NOISE: Final = 1e-3
"""Of full scale (-60 dBFS): a quiet room."""
STARTING_S: Final = 90.0
SETTLING_S: Final = 5.0
NODE: Final = "idle"


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's use of the machine so far."""

    cpu_s: float
    wake_ups: dict[int, int]
    """Voluntary context switches of each thread."""


def usage(pid: int) -> Usage:
    """Read it from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / sysconf("SC_CLK_TCK")
    lines = {int(t.name): (t / "status").read_text() for t in Path(f"/proc/{pid}/task").iterdir()}
    key = "\nvoluntary_ctxt_switches:"
    return Usage(cpu_s, {n: int(text.split(key)[1].split()[0]) for n, text in lines.items()})


def measure(seconds: float, *, program: Path, by_file: bool) -> str:
    """Run a daemon; return what it costs, as a sentence."""
    with tempfile.TemporaryDirectory(prefix="idle-", dir="/tmp") as name:
        folder = Path(name)
        length = round((seconds + SETTLING_S + STARTING_S) * SAMPLE_RATE)
        noise = np.random.default_rng(0).normal(size=length) * NOISE
        soundfile.write(folder / "room.wav", noise, SAMPLE_RATE)
        broker = Mosquitto(folder).start()
        observer = Observer(broker.port)
        try:
            with _heard(folder / "room.wav", by_file=by_file) as (arguments, variables):
                variables |= {
                    "VOICE_DAEMON_NODE_ID": NODE,
                    "VOICE_DAEMON_MQTT__PORT": str(broker.port),
                }
                daemon = DaemonProcess(
                    arguments,
                    folder / "home",
                    variables,
                    program=(str(program), "-m", "voice_daemon"),
                )
                with daemon:
                    _await_idle(observer, daemon)
                    before, at_s = usage(daemon.pid), time.monotonic()
                    time.sleep(seconds)
                    after, took_s = usage(daemon.pid), time.monotonic() - at_s
        finally:
            broker.kill()
    cpu_s = (after.cpu_s - before.cpu_s) / took_s
    by_thread = [(n - before.wake_ups.get(t, 0)) / took_s for t, n in after.wake_ups.items()]
    each = " + ".join(f"{n:.0f}" for n in sorted(by_thread, reverse=True) if n >= 1)
    return (
        f"{cpu_s * 3600:.0f} s of processor time an hour ({cpu_s:.2%} of a core), "
        f"{sum(by_thread):.0f} wake-ups a second ({each}) in {took_s:.0f} s"
    )


@contextmanager
def _heard(
    noise: Path, *, by_file: bool
) -> Iterator[tuple[tuple[str | Path, ...], dict[str, str]]]:
    """Play the noise; give the daemon's arguments and variables for hearing it."""
    if by_file or why_not():
        yield ("--input", noise), {}
        return
    microphone = VirtualMicrophone().start()
    player = microphone.begin(noise)
    try:
        yield (), {**microphone.additions, "VOICE_DAEMON_AUDIO__DEVICE": DEVICE}
    finally:
        player.kill()
        player.wait()
        microphone.stop()


def _await_idle(observer: Observer, daemon: DaemonProcess) -> None:
    give_up_s = time.monotonic() + STARTING_S
    while not any(s.topic.endswith("/state") and s.payload == b"idle" for s in observer.seen):
        if not daemon.is_running or time.monotonic() > give_up_s:
            raise UsageError("bench.idle", "the daemon did not start", remedy="run it by itself")
        time.sleep(0.1)
    time.sleep(SETTLING_S)


def main(arguments: Sequence[str]) -> int:
    """Measure and show it."""
    parser = argparse.ArgumentParser(prog="scripts/bench idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="%(default)g")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), metavar="FILE")
    parser.add_argument("--file", action="store_true", help="no virtual microphone")
    args = parser.parse_args(arguments)
    if sys.platform != "linux":
        raise UsageError("bench.idle", "it reads /proc", remedy="run it on Linux")
    console = Console(highlight=False)
    console.print(measure(args.seconds, program=args.python, by_file=args.file), soft_wrap=True)
    return 0
