"""The launcher of the app, built for the machine that runs the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "launchd" / "launcher.c"
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def why_not() -> str | None:
    """Say why it cannot be built here; None where it can."""
    return None if shutil.which("cc") else "there is no C compiler (cc)"


def build(folder: Path, source: Path = SOURCE) -> Path:
    """Build it, or another program of one file, into a folder."""
    program = folder / source.stem
    compiler = shutil.which("cc")
    assert compiler is not None
    subprocess.run([compiler, *_FLAGS, source, "-o", program], check=True)
    return program


def app_around(launcher: Path, app: Path, command: list[str]) -> Path:
    """Make an app that starts a command; give the program to run."""
    program = app / "Contents" / "MacOS" / "voice-daemon"
    sealed = app / "Contents" / "Resources" / "command"
    for file in (program, sealed):
        file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(launcher, program)
    program.chmod(0o755)
    sealed.write_bytes(b"".join(argument.encode() + b"\0" for argument in command))
    return program
