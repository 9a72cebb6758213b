"""`daemonctl`: how it finds a command, tells errors and ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from voice_daemon import __version__
from voice_daemon._lib.terminal import print_error
from voice_daemon.cli.main import main
from voice_daemon.cli.parser import COMMANDS, parse
from voice_daemon.errors import VoiceDaemonError

MODULE = (sys.executable, "-m", "voice_daemon")


@pytest.fixture(autouse=True)
def _own_home(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VOICE_DAEMON_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(short_folder))


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out.split("commands:\n")[1]
    listed = re.findall(r"^ {4}(\S+)", shown, flags=re.MULTILINE)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[name]
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: daemonctl {name} ")
    assert command.help in shown
    assert "--config PATH" in shown
    assert f"example:\n  {command.example}\n" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_example_is_a_good_command_line(name: str) -> None:
    program, *arguments = shlex.split(COMMANDS[name].example)
    assert program == "daemonctl"
    assert parse(arguments).command == name


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"voice-daemon {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["confg"], "there is no command 'confg'\n  -> did you mean `daemonctl config`?"),
        (["xyzzy"], "there is no command 'xyzzy'\n  -> see `daemonctl --help`"),
        ([], "the following arguments are required: COMMAND\n  -> see `daemonctl --help`"),
        (["status", "--jsn"], "unrecognized arguments: --jsn\n  -> see `daemonctl status --help`"),
        (["status", "--js"], "unrecognized arguments: --js\n  -> see `daemonctl status --help`"),
        (["config", "chekc"], "argument ACTION: invalid choice: 'chekc' (choose from "),
        (["--config"], "argument --config: expected one argument\n  -> see `daemonctl --help`"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line_and_gives_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"daemonctl: {said}")
    assert captured.err.count("\n") == 2


@pytest.mark.parametrize("before", [True, False])
def test_the_configuration_may_be_named_before_or_after_the_command(
    before: bool,  # noqa: FBT001 - a parameter of a test
    short_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = short_folder / "mine.toml"
    file.write_text("[wake]\nthreshold = 0.7\n")
    named = ["--config", str(file)]
    arguments = [*named, "config", "show"] if before else ["config", *named, "show"]
    assert main(arguments) == 0
    assert f"# {file}\n" in capsys.readouterr().out


def test_a_running_daemon_is_missed_with_its_own_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["listen"]) == 3
    assert capsys.readouterr().err.startswith("daemonctl: ")


def test_every_mistake_in_the_configuration_is_a_line(
    short_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (short_folder / "config.toml").write_text("[wake]\nthreshold = 7\nx = 1\n")
    assert main(["devices"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"daemonctl: {short_folder}/config.toml: [wake] ") for line in lines)


def test_an_error_is_told_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(VoiceDaemonError("x.y", "it broke", remedy="mend it"), sys.stderr)
    assert capsys.readouterr().err == "daemonctl: it broke\n  -> mend it\n"


def test_the_module_is_the_same_program() -> None:
    done = subprocess.run([*MODULE, "confg"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "daemonctl: there is no command 'confg'\n  -> did you mean `daemonctl config`?\n"
    )


def test_a_reader_that_has_gone_is_no_news() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = (*MODULE, "config", "show")
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        _, stderr = process.communicate()
    assert stderr == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("command", "outputs", "expected"),
    [
        ("config show", ">/dev/full", 1),
        ("config show", "2>&-", 0),
        ("config show", ">&- <&-", 0),
        ("mute", "2>/dev/full", 3),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_takes_nothing_is_one_line_and_changes_no_exit_code(
    command: str, outputs: str, expected: int
) -> None:
    line = f"{shlex.join(MODULE)} {command} {outputs}"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False)
    assert done.returncode == expected
    assert done.stderr.count(b"\n") <= 2
    assert done.stderr.startswith(b"daemonctl: the system refuses: No space" * (expected == 1))


def test_no_umask_keeps_a_command_from_its_own_files(short_folder: Path) -> None:
    home = short_folder / "new"
    environ = {**os.environ, "VOICE_DAEMON_HOME": str(home)}
    subprocess.run([*MODULE, "config", "show"], env=environ, umask=0o777, check=True)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "state.json").stat().st_mode) == 0o600


def test_ctrl_c_gives_130_and_no_traceback(short_folder: Path) -> None:
    environ = {**os.environ, "VOICE_DAEMON_HOME": str(short_folder)}
    with subprocess.Popen(
        [*MODULE, "status", "--watch"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is under way
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert stderr == b""
    assert process.returncode == 130
