"""The daemon on a file that begins when a line comes on stdin, so that several begin at once."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from voice_daemon.app import Input
from voice_daemon.audio.file import FileReplay
from voice_daemon.cli import run
from voice_daemon.cli.main import main
from voice_daemon.config import Settings
from voice_daemon.events import SAMPLE_RATE, AudioBlock

READY = "ready"
_SILENCE_SAMPLES = 1280


class OnDemand:
    """A replay with silence before it, until it may begin."""

    exhausted = False
    dropped_samples = 0
    wanted_sample = 0

    def __init__(self, replay: FileReplay) -> None:
        self._replay = replay
        self._may_begin = threading.Event()
        self._has_begun = False
        self._silence_samples = 0

    @property
    def description(self) -> str:
        return self._replay.description

    @property
    def clock(self) -> OnDemand:
        return self

    def now_sample(self) -> int:
        since = self._replay.now_sample() if self._has_begun else 0
        return self._silence_samples + since

    def start(self) -> None:
        threading.Thread(target=self._await_the_word, daemon=True).start()

    def stop(self) -> None:
        self._replay.stop()

    def read(self, timeout_s: float) -> AudioBlock | None:
        if self._has_begun:
            block = self._replay.read(timeout_s)
            return block and replace(block, first_sample=self._silence_samples + block.first_sample)
        if self._may_begin.wait(_SILENCE_SAMPLES / SAMPLE_RATE):
            self._replay.start()
            self._has_begun = True
            return None
        silence = AudioBlock(self._silence_samples, np.zeros(_SILENCE_SAMPLES, np.int16))
        self._silence_samples += _SILENCE_SAMPLES
        return silence

    def _await_the_word(self) -> None:
        print(READY, flush=True)  # noqa: T201 - it is how the processes talk
        sys.stdin.readline()
        self._may_begin.set()


def file_on_demand(path: Path, settings: Settings, *, realtime: bool) -> tuple[Input, FileReplay]:
    _, replay = _file_input(path, settings, realtime=realtime)
    return Input(lambda: OnDemand(replay), replay=replay), replay


_file_input = run.file_input

if __name__ == "__main__":
    run.file_input = file_on_demand
    sys.exit(main(["run", "--input", sys.argv[1]]))
