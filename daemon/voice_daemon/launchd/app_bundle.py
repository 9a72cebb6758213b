"""The app bundle around the interpreter: the identity by which macOS grants the microphone.

macOS asks for the microphone, and remembers the answer, for the program that a bundle with a
usage text is signed around. So the bundle holds a copy of the interpreter and no script, and
it is made again only when its recipe changes: a new signature would lose the permission.
Knows what is in it, and nothing of launchd.
"""

from __future__ import annotations

import hashlib
import json
import plistlib
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voice_daemon.errors import ServiceError
from voice_daemon.launchd.agent import LABEL, program_of
from voice_daemon.launchd.steps import Step, copy_file, write_file

_RELATIVE_LIBRARY = (b"/../lib/libpython", b"@rpath/libpython", b"$ORIGIN/../lib")
"""How a program names a libpython that it expects beside its own folder."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One installed Python and the folders that its packages are in."""

    program: Path
    """The interpreter itself: on a framework build not `bin/python3`, which starts another."""
    home: Path
    """The folder of its `python3`: `home` in a pyvenv.cfg."""
    version: str
    """`3.12.4`."""
    library_folder_name: str
    """`python3.12`, or `python3.13t`."""
    site_folders: tuple[Path, ...]
    """Where the packages are, the virtual environment's first."""

    @classmethod
    def running(cls) -> Interpreter:
        """Describe the Python of this process."""
        base = Path(sys.base_prefix)
        name = Path(sysconfig.get_path("stdlib")).name
        program = (base / "bin" / name).resolve()
        if sysconfig.get_config_var("PYTHONFRAMEWORK"):
            program = base / "Resources" / "Python.app" / "Contents" / "MacOS" / "Python"
        folders = [*site.getsitepackages()]
        if site.ENABLE_USER_SITE:
            folders.append(site.getusersitepackages())
        return cls(
            program=program,
            home=base / "bin",
            version=".".join(map(str, sys.version_info[:3])),
            library_folder_name=name,
            site_folders=tuple(dict.fromkeys(Path(f) for f in folders if Path(f).is_dir())),
        )

    def relative_libraries(self) -> tuple[Path, ...]:
        """Give the libraries that the program, and so a copy, looks for beside its folder."""
        code = self.program.read_bytes()
        if not any(mark in code for mark in _RELATIVE_LIBRARY):
            return ()
        folder = self.home.parent / "lib"
        return tuple(sorted(path for path in folder.glob("libpython*") if path.is_file()))


AD_HOC: Final = "-"
"""codesign's name for a signature without an identity."""

INFO: Final = {
    "CFBundleIdentifier": LABEL,
    "CFBundleName": "VoiceDaemon",
    "CFBundleDisplayName": "Voice Daemon",
    "CFBundleExecutable": "voice-daemon",
    "CFBundlePackageType": "APPL",
    "CFBundleInfoDictionaryVersion": "6.0",
    # Not the product's version: the bundle, and with it its signature, outlives upgrades.
    "CFBundleShortVersionString": "1",
    "CFBundleVersion": "1",
    "LSMinimumSystemVersion": "14.0",
    "LSUIElement": True,
    "NSMicrophoneUsageDescription": (
        "Voice Daemon listens for its wake word, and turns the command after it into text on "
        "this Mac."
    ),
    "NSLocalNetworkUsageDescription": (
        "Voice Daemon sends the recognised text to your MQTT broker on the local network."
    ),
}

_MACHINE_CODE = (
    b"\xcf\xfa\xed\xfe",  # Mach-O, 64 bit
    b"\xca\xfe\xba\xbe",  # Mach-O for several processors
    b"\x7fELF",
)
_RECIPE_FILE = "Contents/Resources/recipe.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An app bundle as it should be. `identity` is codesign's; see `AD_HOC`."""

    interpreter: Interpreter
    identity: str

    def steps_into(self, app: Path) -> list[Step]:
        """Give the steps that make it, unsigned, at a place where there is nothing yet.

        Raises `ServiceError` when the interpreter is none that a bundle may hold.
        """
        libraries = [
            copy_file(path, app / "Contents" / "lib" / path.name, mode=0o644)
            for path in self.interpreter.relative_libraries()
        ]
        texts = [write_file(app / name, text) for name, text in self._texts().items()]
        program = copy_file(self._checked_program(), program_of(app), mode=0o755)
        return [program, *libraries, *texts]

    def is_at(self, app: Path) -> bool:
        """True when `app` was made by the same recipe and is whole."""
        return program_of(app).is_file() and all(
            _content(app / name) == text for name, text in self._texts().items()
        )

    def _texts(self) -> dict[str, bytes]:
        """Everything but machine code: name -> content."""
        packages = f"Contents/lib/{self.interpreter.library_folder_name}/site-packages"
        texts = {
            "Contents/Info.plist": plistlib.dumps(INFO),
            "Contents/pyvenv.cfg": self._environment().encode(),
            f"{packages}/voice-daemon.pth": self._package_folders().encode("ascii"),
        }
        return {**texts, _RECIPE_FILE: self._recipe(texts)}

    def _environment(self) -> str:
        return (
            f"home = {self.interpreter.home}\n"
            "include-system-site-packages = false\n"
            f"version = {self.interpreter.version}\n"
        )

    def _package_folders(self) -> str:
        """Lines for a .pth file that take the folders' own .pth files into account.

        Only ASCII: in which encoding Python reads the file depends on its version.
        """
        folders = self.interpreter.site_folders
        return "".join(f"import site; site.addsitedir({str(path)!a})\n" for path in folders)

    def _recipe(self, texts: dict[str, bytes]) -> bytes:
        """Write what the bundle is made of, in one digest: the signed program differs from ours."""
        digest = hashlib.sha256(self.identity.encode())
        code = [self.interpreter.program, *self.interpreter.relative_libraries()]
        for content in (*texts.values(), *(path.read_bytes() for path in code)):
            digest.update(hashlib.sha256(content).digest())
        recipe = {"signed_by": self.identity, "sha256": digest.hexdigest()}
        return json.dumps(recipe).encode()

    def _checked_program(self) -> Path:
        program = self.interpreter.program
        with program.open("rb") as file:
            first = file.read(4)
        if first not in _MACHINE_CODE:
            raise ServiceError(
                "service.not_machine_code",
                f"the Python interpreter {program} is a script, and macOS grants the microphone "
                "to programs only",
                remedy="install with a Python from python.org, Homebrew or uv",
            )
        return program


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
