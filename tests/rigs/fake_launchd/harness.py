"""Starts the fake launchd for a test, and gives it a `launchctl` to find on the PATH."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from rigs.brokers import eventually
from rigs.macos import native_launcher

TESTS = Path(__file__).parents[2]
CLIENT = Path(__file__).with_name("client.c")
UID = 501
"""The user that tests install for: the first one of a Mac, and never root."""

NOBODY_THERE = 70
"""The client's exit code where it reaches no fake launchd."""

PATIENCE_S = 180.0
"""A daemon loads its models in 3 s of a core's time; only a failing test waits so long."""


@functools.cache
def built_client() -> Path:
    """Build the client for this machine, once."""
    return native_launcher.build(Path(tempfile.mkdtemp(prefix="launchctl-")), CLIENT)


def patiently(condition: Callable[[], object], what: str) -> None:
    """Wait for something that a whole daemon has to do first."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_s:
            pytest.fail(f"never came true: {what}")
        time.sleep(0.05)


@dataclass
class FakeLaunchd:
    """A login session on a Mac that is not there; ended with everything in it.

    `folder` is short, because a socket is in it. `throttle_scale` shortens ThrottleInterval.
    """

    folder: Path
    home: Path
    throttle_scale: float = 1.0
    session: bool = True
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        self.programs.mkdir(parents=True, exist_ok=True)
        options = [
            *("--socket", str(self._socket), "--journal", str(self._journal_file)),
            *("--home", str(self.home), "--uid", str(UID)),
            *("--throttle-scale", str(self.throttle_scale)),
            *([] if self.session else ["--no-session"]),
        ]
        self._journal_file.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rigs.fake_launchd.server", *options],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        eventually(self._socket.exists, "the fake launchd listens")
        self.add_client("launchctl")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def programs(self) -> Path:
        """A folder for PATH."""
        return self.folder / "bin"

    @property
    def search_path(self) -> str:
        """A PATH that finds the fake programs first."""
        return f"{self.programs}:/usr/bin:/bin"

    @property
    def _socket(self) -> Path:
        return self.folder / "launchd.sock"

    @property
    def _journal_file(self) -> Path:
        return self.folder / "journal.jsonl"

    def add_program(self, name: str, script: str) -> None:
        """Put a shell script on the PATH under a program's name."""
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)

    def add_client(self, name: str) -> None:
        """Put a program on the PATH whose work this process of the Mac does."""
        command = shlex.join([str(built_client()), str(self._socket), name])
        self.add_program(name, f'exec {command} "$@"\n')

    def launchctl(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Type a launchctl command."""
        done = subprocess.run(
            [self.programs / "launchctl", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != NOBODY_THERE, done.stderr
        return done

    def journal(self, event: str | None = None) -> list[dict[str, Any]]:
        """What has happened so far, oldest first."""
        lines = self._journal_file.read_text().splitlines()
        notes: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [note for note in notes if event in {None, note["event"]}]

    def await_events(self, event: str, n: int) -> Sequence[dict[str, Any]]:
        """Wait until something has happened `n` times."""
        patiently(lambda: len(self.journal(event)) >= n, f"{n} times {event}")
        return self.journal(event)
