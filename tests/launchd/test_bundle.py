"""The app bundle: macOS knows the daemon by it, and its copy of Python finds everything."""

from __future__ import annotations

import ast
import plistlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import voice_daemon
from voice_daemon.errors import ServiceError
from voice_daemon.launchd.agent import program_of
from voice_daemon.launchd.app_bundle import AD_HOC, Bundle, Interpreter

SOURCES = Path(voice_daemon.__file__).parents[1]
SHOW = "from voice_daemon.launchd.app_bundle import Interpreter; print(Interpreter.running())"


def make(bundle: Bundle, app: Path) -> Path:
    for step in bundle.steps_into(app):
        step.do()
    return app


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "Zoë's Mac & mini"
    folder.mkdir()
    return make(Bundle(Interpreter.running(), AD_HOC), folder / "VoiceDaemon.app")


def say(program: Path, code: str) -> str:
    """Run code as launchd would: with nearly no environment."""
    done = subprocess.run(
        [program, "-P", "-c", code],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_copied_interpreter_finds_the_daemon_and_what_it_needs(app: Path) -> None:
    said = say(program_of(app), "import voice_daemon, numpy; print(voice_daemon.__file__)")
    assert said == voice_daemon.__file__


def test_the_process_is_the_program_in_the_bundle(app: Path) -> None:
    assert say(program_of(app), "import sys; print(sys.executable)") == str(program_of(app))


def test_the_program_is_machine_code_and_can_be_run(app: Path) -> None:
    assert program_of(app).read_bytes()[:4] in {b"\x7fELF", b"\xcf\xfa\xed\xfe"}
    assert program_of(app).stat().st_mode & 0o777 == 0o755


def test_a_script_is_refused_as_its_program(tmp_path: Path) -> None:
    script = tmp_path / "python3"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ServiceError, match="is a script"):
        Bundle(replace(Interpreter.running(), program=script), AD_HOC).steps_into(tmp_path / "x")


def test_macos_is_told_why_it_wants_the_microphone_and_the_network(app: Path) -> None:
    info = plistlib.loads((app / "Contents" / "Info.plist").read_bytes())
    assert info["CFBundleIdentifier"] == "io.github.voice-daemon"
    assert info["LSUIElement"] is True
    assert "wake word" in info["NSMicrophoneUsageDescription"]
    assert "local network" in info["NSLocalNetworkUsageDescription"]
    assert program_of(app).name == info["CFBundleExecutable"]
    assert info["CFBundlePackageType"] == "APPL"


def test_the_same_recipe_is_recognised(app: Path) -> None:
    assert Bundle(Interpreter.running(), AD_HOC).is_at(app)


def test_another_python_identity_or_place_of_packages_is_another_bundle(
    app: Path, tmp_path: Path
) -> None:
    ours = Interpreter.running()
    other = tmp_path / "python3"
    other.write_bytes(b"\x7fELF and more")
    assert not Bundle(ours, "My Certificate").is_at(app)
    assert not Bundle(replace(ours, program=other), AD_HOC).is_at(app)
    assert not Bundle(replace(ours, site_folders=(tmp_path,)), AD_HOC).is_at(app)


def test_an_upgrade_of_the_daemon_keeps_the_bundle(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_daemon, "__version__", "99.0")
    assert Bundle(Interpreter.running(), AD_HOC).is_at(app)


@pytest.mark.parametrize("lost", ["Contents/Info.plist", "Contents/MacOS/voice-daemon"])
def test_a_bundle_that_lost_a_file_is_not_whole(app: Path, lost: str) -> None:
    (app / lost).unlink()
    assert not Bundle(Interpreter.running(), AD_HOC).is_at(app)


@pytest.mark.parametrize("options", [["--without-pip"], ["--without-pip", "--copies"]])
def test_it_works_from_an_environment_in_a_folder_with_a_difficult_name(
    tmp_path: Path, options: list[str]
) -> None:
    """As pipx and uv make them, below `~/.local`, with symbolic links or with copies."""
    venv = tmp_path / "Zoë's tools, x"
    subprocess.run([sys.executable, "-m", "venv", *options, venv], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "daemon.pth").write_text(f"{SOURCES}\n{_site_packages()}\n", encoding="utf-8")
    interpreter = _interpreter_of(venv / "bin" / "python")
    assert interpreter.site_folders == (packages,)
    app = make(Bundle(interpreter, AD_HOC), tmp_path / "VoiceDaemon.app")
    said = say(
        program_of(app), "import voice_daemon, sys; print([voice_daemon.__file__, sys.path])"
    )
    file, search_path = ast.literal_eval(said)
    assert file == voice_daemon.__file__
    assert str(packages) in search_path


def _site_packages() -> Path:
    return Interpreter.running().site_folders[0]


def _interpreter_of(python: Path) -> Interpreter:
    done = subprocess.run([python, "-c", SHOW], capture_output=True, text=True, check=True)
    described = done.stdout.replace("PosixPath(", "Path(")
    made: Interpreter = eval(  # noqa: S307 - its own repr
        described, {"Interpreter": Interpreter, "Path": Path}
    )
    return made


def test_libraries_beside_the_program_are_copied_with_it(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    program = tmp_path / "bin" / "python3.12"
    program.write_bytes(b"\xcf\xfa\xed\xfe...@executable_path/../lib/libpython3.12.dylib\0")
    (tmp_path / "lib" / "libpython3.12.dylib").write_bytes(b"library")
    interpreter = replace(Interpreter.running(), program=program, home=program.parent)
    app = make(Bundle(interpreter, AD_HOC), tmp_path / "VoiceDaemon.app")
    assert (app / "Contents" / "lib" / "libpython3.12.dylib").read_bytes() == b"library"
