"""The app bundle: macOS knows the daemon by it, and upgrades leave it as it is."""

from __future__ import annotations

import plistlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import voice_daemon
from rigs.macos.code import AD_HOC as FAKE_AD_HOC
from rigs.macos.code import Bundle as Signed
from rigs.macos.mach_o import read
from voice_daemon.launchd.agent import LABEL, program_of
from voice_daemon.launchd.app_bundle import AD_HOC, LAUNCHER, Bundle, command_of, stable_python

SOURCES = Path(voice_daemon.__file__).parents[1]
COMMAND = command_of(Path("/opt/x/bin/python"), Path("/Users/zoë/My Files/config.toml"))
BUNDLE = Bundle(LAUNCHER, COMMAND, AD_HOC)


def make(bundle: Bundle, app: Path) -> Path:
    for step in bundle.steps_into(app):
        step.do()
    return app


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "Zoë's Mac & mini"
    folder.mkdir()
    return make(BUNDLE, folder / "VoiceDaemon.app")


def signed_hash(app: Path) -> str:
    """Sign by Apple's rules, which refuse what they would refuse."""
    Signed(app).sign(LABEL, FAKE_AD_HOC)
    return Signed(app).verify().cdhash


def test_apples_rules_accept_what_is_in_it(app: Path) -> None:
    signed_hash(app)
    files = {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()}
    assert files == {
        "Contents/Info.plist",
        "Contents/MacOS/voice-daemon",
        "Contents/Resources/command",
        "Contents/Resources/recipe.json",
        "Contents/_CodeSignature/CodeDirectory",
        "Contents/_CodeSignature/CodeResources",
    }


def test_its_program_is_the_committed_launcher(app: Path) -> None:
    assert program_of(app).read_bytes() == LAUNCHER.read_bytes()
    assert program_of(app).stat().st_mode & 0o777 == 0o755
    assert read(program_of(app).read_bytes()).minos == (14, 0)


def test_macos_is_told_why_it_wants_the_microphone_and_the_network(app: Path) -> None:
    info = plistlib.loads((app / "Contents" / "Info.plist").read_bytes())
    assert info["CFBundleIdentifier"] == "io.github.voice-daemon"
    assert info["LSUIElement"] is True
    assert "wake word" in info["NSMicrophoneUsageDescription"]
    assert "local network" in info["NSLocalNetworkUsageDescription"]
    assert program_of(app).name == info["CFBundleExecutable"]
    assert info["CFBundlePackageType"] == "APPL"


def test_the_command_is_sealed_argument_by_argument(app: Path) -> None:
    sealed = (app / "Contents" / "Resources" / "command").read_bytes()
    assert tuple(sealed.decode().split("\0")) == (*COMMAND, "")


def test_the_same_recipe_is_recognised_and_gives_the_same_hash(app: Path, tmp_path: Path) -> None:
    again = make(Bundle(LAUNCHER, COMMAND, AD_HOC), tmp_path / "Again.app")
    assert BUNDLE.is_at(app)
    assert signed_hash(app) == signed_hash(again)


def test_an_upgrade_of_the_daemon_keeps_hash_and_bundle(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signed_hash(app)
    monkeypatch.setattr(voice_daemon, "__version__", "99.0")
    assert BUNDLE.is_at(app)
    assert signed_hash(make(BUNDLE, tmp_path / "Again.app")) == before


def test_another_command_identity_or_launcher_is_another_bundle(app: Path, tmp_path: Path) -> None:
    other = tmp_path / "launcher"
    other.write_bytes(LAUNCHER.read_bytes() + b"\0")
    assert not replace(BUNDLE, identity="My Certificate").is_at(app)
    assert not replace(BUNDLE, launcher=other).is_at(app)
    assert not replace(BUNDLE, command=("/elsewhere/python",)).is_at(app)


@pytest.mark.parametrize(
    "lost", ["Info.plist", "MacOS/voice-daemon", "Resources/command", "Resources/recipe.json"]
)
def test_a_bundle_that_lost_a_file_is_not_whole(app: Path, lost: str) -> None:
    (app / "Contents" / lost).unlink()
    assert not BUNDLE.is_at(app)


def test_a_permission_follows_the_certificate_and_an_ad_hoc_app_its_content(tmp_path: Path) -> None:
    app = make(replace(BUNDLE, identity="Mine"), tmp_path / "Mine.app")
    other = replace(BUNDLE, command=("/elsewhere/python",))
    assert replace(other, identity="Mine").shares_an_identity_with(app)
    assert not replace(other, identity="Theirs").shares_an_identity_with(app)
    assert not other.shares_an_identity_with(app)
    assert not other.grants_like(app)
    assert not replace(other, identity="Mine").shares_an_identity_with(tmp_path / "Nobody.app")


def python_that_runs(python: Path) -> Path:
    """Ask a Python for its path that stays."""
    code = (
        "from voice_daemon.launchd.app_bundle import stable_python; print(stable_python(), end='')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    made = tmp_path / "Zoë's tools, x"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    packages = next(made.glob("lib/python*/site-packages"))
    ours = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (packages / "daemon.pth").write_text(f"{SOURCES}\n{ours}\n", encoding="utf-8")
    return made


@pytest.mark.parametrize("name", ["python", "python3"])
def test_in_an_environment_it_is_the_name_without_a_version(venv: Path, name: str) -> None:
    versioned = next((venv / "bin").glob("python3.*"), venv / "bin" / name)
    for python in (venv / "bin" / name, versioned):
        assert python_that_runs(python) == venv / "bin" / "python"


def test_an_upgrade_of_the_environments_python_keeps_the_path(venv: Path, tmp_path: Path) -> None:
    before = python_that_runs(venv / "bin" / "python")
    newer = tmp_path / "python-next"
    newer.symlink_to(Path(sys.executable).resolve())
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(newer)
    assert python_that_runs(venv / "bin" / "python") == before


def test_what_homebrew_keeps_by_version_is_told_without_it(tmp_path: Path) -> None:
    brew = tmp_path / "homebrew"
    cellar = brew / "Cellar" / "voice-daemon" / "1.2.3" / "libexec"
    (cellar / "bin").mkdir(parents=True)
    (cellar / "bin" / "python").touch()
    (brew / "opt").mkdir()
    told = stable_python(str(cellar / "bin" / "python3.12"), str(cellar), "/base")
    assert told == cellar / "bin" / "python", "without a link there is no better name"
    (brew / "opt" / "voice-daemon").symlink_to(cellar.parent)
    told = stable_python(str(cellar / "bin" / "python3.12"), str(cellar), "/base")
    assert told == brew / "opt" / "voice-daemon" / "libexec" / "bin" / "python"


def test_outside_of_an_environment_it_is_the_interpreter_itself() -> None:
    assert stable_python("/usr/local/bin/python3.12", "/usr/local", "/usr/local") == Path(
        "/usr/local/bin/python3.12"
    )
