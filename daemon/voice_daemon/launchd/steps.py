"""The steps of an installation: each is told before it is done, or told only.

A step is made of values that are known beforehand, so that `--dry-run` shows exactly what would
happen.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voice_daemon.errors import ServiceError

_REFUSED: Final = (
    "make sure that you own {folder} and that the disk is not full; an app may also be kept by "
    "System Settings > Privacy & Security > App Management: allow the terminal there"
)
PROGRAM_TIMEOUT_S: Final = 60.0
"""For a program that answers in a second: macOS checks a new one before its first start."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change to this machine: how it is told, and how it is done."""

    text: str
    do: Callable[[], None]
    is_optional: bool = False
    """Where it fails the others are taken all the same, and the user is told."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A program's exit code and output."""

    code: int
    out: str
    err: str


def run_program(arguments: Sequence[str | Path], *, variables: dict[str, str]) -> StepOutcome:
    """Run a program to its end in the given environment; raises `ServiceError` if it cannot be."""
    command = [os.fspath(argument) for argument in arguments]
    try:
        done = subprocess.run(
            command,
            env=variables,
            # A program that asks something would wait for ever.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(
            "service.program_failed",
            f"{command[0]} could not be run: {error}",
            remedy="try again; if it stays, please report it with this message",
        ) from error
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return StepOutcome(done.returncode, out, err)


def make_folder(path: Path, mode: int) -> Step:
    """Make a folder and those above it; one that is there stays as it is."""

    def do() -> None:
        with _told("made", path):
            path.mkdir(mode=mode, parents=True, exist_ok=True)

    return Step(f"make folder {path}", do)


def unfinished(path: Path) -> Path:
    """Give where a file is written before it takes its place; a crash may leave it there."""
    return path.with_name(f".{path.name}.new")


def write_file(path: Path, content: bytes, *, mode: int = 0o644) -> Step:
    """Write a file at once: whoever reads it sees the old one or the new one."""

    def do() -> None:
        with _told("written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = unfinished(path)
            fresh.write_bytes(content)
            # Before it takes its place: nobody finds it with another mode.
            fresh.chmod(mode)
            fresh.replace(path)

    return Step(f"write {path} ({len(content)} bytes, mode {mode:04o})", do)


def copy_program(source: Path, path: Path) -> Step:
    """Copy a program's content, without its attributes: a quarantine mark is one of them."""

    def do() -> None:
        with _told("written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
            path.chmod(0o755)

    return Step(f"copy {source} to {path}", do)


def remove(path: Path) -> Step:
    """Remove a file or a folder with what is in it; harmless where there is none."""

    def do() -> None:
        with _told("removed", path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    return Step(f"remove {path}", do)


def move(source: Path, path: Path) -> Step:
    """Put something into its place; what was there before has been removed."""

    def do() -> None:
        with _told("moved", source):
            source.replace(path)

    return Step(f"move {source} to {path}", do)


@contextmanager
def _told(verb: str, path: Path) -> Iterator[None]:
    """Turn what the system refuses into an error with a remedy."""
    try:
        yield
    except OSError as error:
        raise ServiceError(
            "service.file_refused",
            f"{path} could not be {verb}: {error.strerror or error}",
            remedy=_REFUSED.format(folder=path.parent),
        ) from error
