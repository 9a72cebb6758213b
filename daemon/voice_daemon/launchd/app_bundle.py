"""The app bundle around the launcher: the identity by which macOS grants the microphone.

macOS asks for the microphone, and remembers the answer, for the program that a bundle with a
usage text is signed around. That program is the launcher (launchd/launcher.c): machine code of
our own, which starts the one command that is sealed beside it. The bundle holds nothing else
that codesign could take for code, and nothing that changes with Python or with the daemon: its
hash, and with it the permission, outlives the upgrades of both.
"""

import hashlib
import json
import os
import plistlib
import signal
import stat
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from voice_daemon import assets
from voice_daemon.errors import UsageError
from voice_daemon.launchd.agent import LABEL, program_of
from voice_daemon.launchd.steps import Step, copy_program, write_file

log = structlog.get_logger()

PARENT_PIPE: Final = 3
"""The descriptor that the launcher gives it as."""
GIVE_UP_S: Final = 12.0
"""Longer than the daemon takes to stop in its own time."""
_KILLED: Final = 128 + signal.SIGTERM


def end_with_parent(descriptor: int) -> None:
    """Stop this process in its own time when the parent has gone, and at once where it hangs then.

    Raises `UsageError` where the descriptor is no pipe.
    """
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        is_pipe = False
    if not is_pipe:
        raise UsageError(
            "run.parent_pipe",
            f"--parent-pipe {descriptor}: there is no pipe",
            remedy="leave it out: only the app's launcher says it",
        )
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the library's

    def watch() -> None:
        while os.read(descriptor, 1):
            continue  # the launcher never writes, and what another may write means nothing
        log.warning("daemon.launcher_gone")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GIVE_UP_S)
        os._exit(_KILLED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


AD_HOC: Final = "-"
"""codesign's name for a signature without an identity."""

LAUNCHER: Final = Path(assets.__file__).with_name("launcher")
"""The launcher for Apple Silicon; scripts/make-launcher builds it."""

INFO: Final = {
    "CFBundleIdentifier": LABEL,
    "CFBundleName": "VoiceDaemon",
    "CFBundleDisplayName": "Voice Daemon",
    "CFBundleExecutable": "voice-daemon",
    "CFBundlePackageType": "APPL",
    "CFBundleInfoDictionaryVersion": "6.0",
    # The launcher's version, not the product's: each of its bytes is part of the signature.
    "CFBundleShortVersionString": "2",
    "CFBundleVersion": "2",
    "LSMinimumSystemVersion": "14.0",
    # No icon in the Dock, no menu: nobody ever looks at this app.
    "LSUIElement": True,
    "NSMicrophoneUsageDescription": (
        "Voice Daemon listens for its wake word, and turns the command after it into text on "
        "this Mac."
    ),
    "NSLocalNetworkUsageDescription": (
        "Voice Daemon sends the recognised text to your MQTT broker on the local network."
    ),
}

_COMMAND_FILE: Final = "Contents/Resources/command"
_RECIPE_FILE: Final = "Contents/Resources/recipe.json"


def command_of(python: Path, config_file: Path) -> tuple[str, ...]:
    """Give the command that the launcher starts.

    -E: no variable of whoever starts the app leads Python to other modules; -P: nor does the
    working folder. -u, because launchd's files should show the last words of a crash.
    """
    run = ("-E", "-P", "-u", "-m", "voice_daemon", "run", "--supervised")
    return (str(python), *run, "--parent-pipe", str(PARENT_PIPE), "--config", str(config_file))


@dataclass(frozen=True, slots=True)
class Bundle:
    """An app bundle as it should be. `identity` is codesign's; see `AD_HOC`."""

    launcher: Path
    command: tuple[str, ...]
    identity: str

    def steps_into(self, app: Path) -> list[Step]:
        """Give the steps that make it, unsigned, at a place where there is nothing yet."""
        texts = [write_file(app / name, text) for name, text in self._texts().items()]
        return [copy_program(self.launcher, program_of(app)), *texts]

    def is_at(self, app: Path) -> bool:
        """True when `app` was made by the same recipe; whether it is whole its signature tells."""
        return program_of(app).is_file() and self.grants_like(app)

    def grants_like(self, app: Path) -> bool:
        """True when macOS would take it, once signed, for what is at `app`.

        So it is where an app of the same content lost its program; a permission that was given to
        that one holds for this one.
        """
        return all(_content(app / name) == text for name, text in self._texts().items())

    def shares_an_identity_with(self, app: Path) -> bool:
        """True when `app` was signed with the same certificate, which macOS knows it by."""
        if self.identity == AD_HOC:
            return False
        try:
            recipe = json.loads(_content(app / _RECIPE_FILE) or b"null")
        except ValueError:
            return False
        return isinstance(recipe, dict) and recipe.get("signed_by") == self.identity

    def _texts(self) -> dict[str, bytes]:
        """Everything but the launcher: name -> content."""
        recipe = {
            "signed_by": self.identity,
            "launcher": hashlib.sha256(self.launcher.read_bytes()).hexdigest(),
        }
        return {
            "Contents/Info.plist": plistlib.dumps(INFO),
            # As /proc/PID/cmdline is written: any path can be told.
            _COMMAND_FILE: b"".join(os.fsencode(argument) + b"\0" for argument in self.command),
            _RECIPE_FILE: json.dumps(recipe).encode(),
        }


def stable_python(
    executable: str = sys.executable, prefix: str = sys.prefix, base_prefix: str = sys.base_prefix
) -> Path:
    """Give the path of this Python that stays the same when Python is upgraded.

    In a virtual environment that is `bin/python`, which `bin/python3.12` is not. Homebrew keeps
    versions apart in its Cellar, and has a name without one in `opt` for what is in use.
    """
    python = Path(executable)
    if prefix != base_prefix:
        plain = Path(prefix) / "bin" / "python"
        python = plain if plain.exists() else python
    return _outside_the_cellar(python)


def _outside_the_cellar(path: Path) -> Path:
    if "Cellar" not in path.parts:
        return path
    at = path.parts.index("Cellar")
    brew, (name, _version, *inside) = Path(*path.parts[:at]), path.parts[at + 1 :]
    stable = brew / "opt" / name / Path(*inside)
    return stable if stable.exists() and stable.samefile(path) else path


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
