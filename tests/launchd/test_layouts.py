"""Installing from every kind of place that Python packages live in, and upgrading there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import voice_daemon
from rigs.fake_launchd.mac import Mac
from rigs.macos.tcc import MICROPHONE, Answer

SOURCES = Path(voice_daemon.__file__).parents[1]
PACKAGES = next(Path(path) for path in sys.path if path.endswith("site-packages"))
ASK = "from voice_daemon.launchd.app_bundle import stable_python; print(stable_python(), end='')"


def environment(folder: Path, *, by_uv: bool = False, copies: bool = False) -> Path:
    """Make a real environment that finds the daemon and what it needs."""
    if by_uv:
        uv = shutil.which("uv") or "uv"
        command = [uv, "venv", "-q", "--python", sys.executable, str(folder)]
    else:
        kind = ["--copies"] if copies else []
        command = [sys.executable, "-m", "venv", "--without-pip", *kind, str(folder)]
    subprocess.run(command, check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "daemon.pth").write_text(f"{SOURCES}\n{PACKAGES}\n", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Layout:
    """Where an environment is made, below the home folder, and the path that stays."""

    made_at: str
    stays: str
    link: tuple[str, str] | None = None
    """A link to the version in use, and where it leads."""
    by_uv: bool = False
    copies: bool = False

    def make(self, home: Path) -> Path:
        """Make it; give the Python that the user would run."""
        folder = environment(home / self.made_at, by_uv=self.by_uv, copies=self.copies)
        if self.link is not None:
            link, target = home / self.link[0], home / self.link[1]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        return folder / "bin" / "python3"


CELLAR = "homebrew/Cellar/voice-daemon"
LAYOUTS = {
    "venv": Layout("voice-daemon/.venv", "voice-daemon/.venv/bin/python"),
    "venv of copies": Layout("copied/.venv", "copied/.venv/bin/python", copies=True),
    "pipx": Layout(
        ".local/share/pipx/venvs/voice-daemon",
        ".local/share/pipx/venvs/voice-daemon/bin/python",
    ),
    "uv tool": Layout(
        ".local/share/uv/tools/voice-daemon",
        ".local/share/uv/tools/voice-daemon/bin/python",
        by_uv=True,
    ),
    "Homebrew": Layout(
        f"{CELLAR}/1.0.0/libexec",
        "homebrew/opt/voice-daemon/libexec/bin/python",
        link=("homebrew/opt/voice-daemon", f"{CELLAR}/1.0.0"),
    ),
    "spaces and letters": Layout(
        "Meine Dienste/Zoë & 日本/.venv", "Meine Dienste/Zoë & 日本/.venv/bin/python"
    ),
}


def stable_python_of(python: Path) -> Path:
    done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True)
    return Path(done.stdout)


def sealed_python(mac: Mac) -> Path:
    sealed = mac.places.app / "Contents" / "Resources" / "command"
    return Path(sealed.read_bytes().split(b"\0")[0].decode())


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    found = LAYOUTS[request.param]
    if found.by_uv and shutil.which("uv") is None:
        pytest.skip("uv is not here")
    return found


def test_it_installs_runs_and_keeps_its_permission_over_an_upgrade(
    mac: Mac, layout: Layout
) -> None:
    python = layout.make(mac.home)
    mac.python = stable_python_of(python)
    assert mac.python == mac.home / layout.stays
    done = mac.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    assert sealed_python(mac) == mac.python
    mac.tcc.answer(MICROPHONE, mac.places.program, allowed=True)
    before = mac.cdhash
    upgrade(mac, layout)
    mac.python = stable_python_of(mac.python)
    done = mac.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    assert mac.cdhash == before
    assert mac.tcc.ask(MICROPHONE, mac.places.program) is Answer.GRANTED
    assert mac.daemonctl("uninstall", "--purge", "--yes").code == 0
    assert not mac.places.app.exists()


def upgrade(mac: Mac, layout: Layout) -> None:
    """Make the environment anew, as a new Python or a new version of the daemon does."""
    shutil.rmtree(mac.home / layout.made_at)
    if layout.link is None:
        layout.make(mac.home)
        return
    newer = layout.made_at.replace("1.0.0", "1.1.0")
    link, target = layout.link
    Layout(newer, layout.stays, link=(link, target.replace("1.0.0", "1.1.0"))).make(mac.home)
