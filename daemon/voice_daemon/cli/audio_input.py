"""Audio for the commands that test what is heard: the configured microphone, or a file.

Beside a running daemon the microphone is opened once more, which the system allows or refuses.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from voice_daemon.audio import AudioSource
from voice_daemon.audio.file import FileSource
from voice_daemon.audio.microphone import MicrophoneCapture
from voice_daemon.cli.context import Context
from voice_daemon.control.client import ask
from voice_daemon.errors import AudioDeviceError, AudioFileError, UsageError, VoiceDaemonError
from voice_daemon.events import AudioBlock

MAX_S: Final = 3600.0
_READ_TIMEOUT_S: Final = 0.2


def check_seconds(seconds: float | None) -> None:
    """Raise `UsageError` for a length of time that makes no sense."""
    if seconds is not None and not 0 < seconds <= MAX_S:
        raise UsageError(
            "test.seconds",
            f"--seconds {seconds:g} is out of bounds",
            remedy=f"give a number above 0, up to {MAX_S:g}",
        )


def open_file(path: Path) -> AudioSource:
    """Open a file to be read as fast as it goes; raises `UsageError` where it is no audio."""
    source = FileSource(path, realtime=False)
    try:
        source.start()
    except AudioFileError as error:
        raise UsageError(error.code, error.message, remedy=error.remedy) from error
    return source


def open_microphone(context: Context) -> AudioSource:
    """Open the configured microphone, and say so where the daemon listens to it as well.

    Raises `AudioDeviceError`.
    """
    settings = context.settings().audio
    beside = daemon_runs(context)
    if beside:
        context.err.write("the daemon is running: both listen to the microphone meanwhile\n")
    source = MicrophoneCapture(settings)
    try:
        source.start()
    except AudioDeviceError as error:
        if not beside:
            raise
        raise AudioDeviceError(
            error.code,
            error.message,
            remedy="the daemon may be using it: run `daemonctl stop` for the test; "
            f"else {error.remedy}",
        ) from error
    return source


@contextmanager
def listening(source: AudioSource) -> Iterator[AudioSource]:
    """Close the input at the end."""
    try:
        yield source
    finally:
        source.stop()


def blocks(source: AudioSource, seconds: float | None) -> Iterator[AudioBlock | None]:
    """Yield blocks until the file is over or so many seconds have passed; None while there is none.

    A microphone's seconds are the clock's: one that delivers nothing is not waited for.
    """
    end_s = None if seconds is None else time.monotonic() + seconds
    while not source.exhausted and (end_s is None or time.monotonic() < end_s):
        yield source.read(_READ_TIMEOUT_S)


def daemon_runs(context: Context) -> bool:
    """Tell whether a daemon answers."""
    try:
        ask(context.paths().socket_path, "status", err=None)
    except VoiceDaemonError:
        return False
    return True
