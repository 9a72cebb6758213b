"""The Python that runs this, seen from outside: what a copy of its program needs to be it again.

A copy finds its standard library by a `pyvenv.cfg` one folder above it, exactly as a virtual
environment's does, and its packages by a `.pth` file in that environment.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

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
