"""scripts/setup.sh finds a Python that everything runs on, or says what to get."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PRETEND = """#!/bin/sh
exec {python} -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2"
"""


def pretend(folder: Path, name: str, version: tuple[int, int]) -> Path:
    """Make a Python that says that it is of another version."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(PRETEND.format(python=sys.executable, version=(*version, 0)))
    program.chmod(0o755)
    return program


def uname(folder: Path, system: str) -> None:
    program = folder / "uname"
    program.write_text(f"#!/bin/sh\necho {system}\n")
    program.chmod(0o755)


def typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type a command of setup.sh where nothing but the folder's programs is on the PATH."""
    if not (folder / "uname").exists():
        uname(folder, "Linux")
    script = f". {PROJECT}/scripts/setup.sh; {command}"
    return subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=folder,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
def test_every_python_that_is_supported_is_taken(tmp_path: Path, version: tuple[int, int]) -> None:
    python = pretend(tmp_path, "python3", version)
    assert typed("find_python", tmp_path).stdout == f"{python}\n"


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 15), (3, 16)])
def test_others_are_passed_over_and_the_remedy_names_what_to_get(
    tmp_path: Path, version: tuple[int, int]
) -> None:
    """3.15 is what python.org offers first, and onnxruntime has nothing for it."""
    for minor in (11, 12, 13, 14):
        pretend(tmp_path, f"python3.{minor}", version)
    pretend(tmp_path, "python3", version)
    done = typed("make_venv demo", tmp_path)
    assert done.returncode == 1
    assert "No Python 3.11 to 3.14 was found" in done.stderr
    assert "python.org/downloads/macos" in done.stderr
    assert "brew install python@3.12" in done.stderr
    assert "uv python install 3.12" in done.stderr


def test_an_older_one_of_the_two_is_taken_where_the_newest_is_too_new(tmp_path: Path) -> None:
    pretend(tmp_path, "python3", (3, 15))
    fits = pretend(tmp_path, "python3.13", (3, 13))
    assert typed("find_python", tmp_path).stdout == f"{fits}\n"


def test_on_a_mac_hidden_files_of_the_environment_are_shown_again(tmp_path: Path) -> None:
    """Python skips a hidden .pth file, and with it the daemon (cpython#148121)."""
    (tmp_path / "pyproject.toml").touch()
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    python = bin_folder / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    flags = tmp_path / "chflags"
    flags.write_text('#!/bin/sh\necho "$@" >>told\n')
    flags.chmod(0o755)
    uname(tmp_path, "Darwin")
    typed("PATH=$PATH:/usr/bin:/bin; make_venv demo", tmp_path)
    assert (tmp_path / "told").read_text() == "-R nohidden .venv\n"
