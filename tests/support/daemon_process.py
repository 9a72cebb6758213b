"""`daemonctl` as a process of its own, as launchd or a user would start it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import pytest

from support.silence import FOLDER_VARIABLE
from voice_daemon.cli.main import main

PATIENCE_S = 120.0
"""For a process that should end by itself in a few seconds."""


def daemonctl() -> tuple[str, ...]:
    """Give the program and what stands before its arguments; within the tests it starts quicker."""
    if FOLDER_VARIABLE in os.environ:
        return (sys.executable, "-P", str(Path(__file__).with_name("quick_daemonctl.py")))
    return (sys.executable, "-m", "voice_daemon")


def daemon_environment(home: Path, **variables: str) -> dict[str, str]:
    """Give this process's environment without any setting of the user's own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("VOICE_DAEMON_")}
    return {**inherited, "VOICE_DAEMON_HOME": str(home), **variables}


def run_daemonctl(
    *arguments: str | Path, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    return subprocess.run(
        [*daemonctl(), *map(str, arguments)],
        env=daemon_environment(home, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def daemonctl_here(
    *arguments: str | Path, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command line in this process: one of its own would cost more than all else."""
    out, err = io.StringIO(), io.StringIO()
    words = list(map(str, arguments))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith("VOICE_DAEMON_")]:
            patch.delenv(name)
        for name, value in {"VOICE_DAEMON_HOME": str(home), **variables}.items():
            patch.setenv(name, value)
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@dataclass
class DaemonProcess:
    """A daemon that is running; killed at the end of the block if it still does."""

    arguments: tuple[str | Path, ...]
    home: Path
    variables: dict[str, str]
    program: tuple[str, ...] = field(default_factory=daemonctl)
    """What stands before `run`; it must replace itself by the daemon, or be it."""
    _process: subprocess.Popen[str] = field(init=False)
    _output: IO[str] = field(init=False)

    def __enter__(self) -> Self:
        # A file, not a pipe that nobody reads: ALSA writes a page whenever a device is not there.
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*self.program, "run", *map(str, self.arguments)],
            env=daemon_environment(self.home, **self.variables),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Give the exit code; raises `subprocess.TimeoutExpired`."""
        return self._process.wait(timeout_s)

    def last_words(self) -> str:
        """Give what a process that has ended wrote to stdout and stderr."""
        self._process.wait()
        self._output.seek(0)
        return self._output.read()
