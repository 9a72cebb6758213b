"""`daemonctl` whose microphone plays a file; a program of its own, for tests of a whole daemon.

`python file_microphone.py FILE ARGUMENTS...` goes on as the real program, control socket included.
While the file that `CRASH_VARIABLE` names exists, the recogniser fails after each step.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from voice_daemon.app import Input
from voice_daemon.asr import WhisperTranscriber
from voice_daemon.audio.file import FileReplay, FileSource
from voice_daemon.cli import run
from voice_daemon.cli.main import main as daemonctl
from voice_daemon.config import Settings

CRASH_VARIABLE = "FILE_MICROPHONE_CRASH_WHILE"


def with_microphone(file: Path) -> tuple[str, ...]:
    """Give the program for a `DaemonProcess`."""
    return (sys.executable, __file__, str(file))


def main(file: str, *arguments: str) -> int:
    source = FileReplay(FileSource(Path(file), realtime=True), realtime=True, max_silence_s=0)

    def microphone_input(settings: Settings, *, is_app: bool) -> Input:  # noqa: ARG001 - as the real one
        return Input(lambda: source)

    run.microphone_input = microphone_input
    flag = Path(os.environ.get(CRASH_VARIABLE, "/nonexistent"))
    step = WhisperTranscriber.step

    def failing(self: WhisperTranscriber) -> object:
        heard = step(self)
        if flag.exists():
            raise RuntimeError(f"the model failed with {type(heard).__name__} in its hands")
        return heard

    WhisperTranscriber.step = failing  # type: ignore[assignment,method-assign]
    return daemonctl(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
