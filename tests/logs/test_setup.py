"""Where log events go, and what never gets there."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from voice_daemon.config import LogSettings
from voice_daemon.errors import ConfigError
from voice_daemon.logs import setup as logs

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    logs.configure(LogSettings(), log_file=None, console=False)
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "voice-daemon.jsonl"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_event_is_a_line_of_json_with_its_keys(file: Path) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    log.info("wake.detected", score=0.94, model="hey_jarvis", none=None)
    (line,) = lines(file)
    assert list(line)[:3] == ["at", "level", "event"]
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "wake.detected",
        "score": 0.94,
        "model": "hey_jarvis",
        "none": None,
        "level": "info",
    }


def test_loggers_of_libraries_go_the_same_way(file: Path) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    logging.getLogger("paho.mqtt").warning("lost %s", "it")
    (line,) = lines(file)
    assert (line["event"], line["level"], line["logger"]) == ("lost it", "warning", "paho.mqtt")


def test_chatty_libraries_are_heard_from_warnings_on(file: Path) -> None:
    logs.configure(LogSettings(level="debug"), log_file=file, console=False)
    logging.getLogger("httpx").info("GET https://me:hunter2@hub")
    logging.getLogger("httpx").warning("slow")
    assert [line["event"] for line in lines(file)] == ["slow"]


@pytest.mark.parametrize(("level", "n_lines"), [("debug", 4), ("info", 3), ("error", 1)])
def test_the_level_decides_what_is_logged(level: str, n_lines: int, file: Path) -> None:
    logs.configure(LogSettings.model_validate({"level": level}), log_file=file, console=False)
    log.debug("a")
    log.info("b")
    logging.getLogger("paho").warning("c")
    log.error("d")
    assert len(lines(file)) == n_lines


SPOKEN = {
    "text": "turn on",
    "draft": "the light",
    "payload": b"x",
    "words": ["turn", "on"],
    "final": {"text": "turn on", "seq": 3, "words": [{"text": "turn"}]},
}


def test_what_was_said_is_masked_however_deep_it_lies(file: Path) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    log.info("session", **SPOKEN)
    assert "turn" not in file.read_text()
    assert "light" not in file.read_text()
    (line,) = lines(file)
    assert line["final"] == {"text": "***", "seq": 3, "words": "***"}


def test_what_was_said_is_logged_when_it_is_asked_for(file: Path) -> None:
    logs.configure(LogSettings(), log_file=file, console=False, log_transcripts=True)
    log.info("session", final=SPOKEN["final"], password="hunter2")
    (line,) = lines(file)
    assert line["final"] == SPOKEN["final"]
    assert line["password"] == "***"


def test_a_password_is_masked_on_the_console_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(), log_file=None, console=True)
    log.info("mqtt.connect", user="me", mqtt={"password": "hunter2"}, text="turn on")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "mqtt.connect" in captured.err
    assert "user=me" in captured.err
    assert "hunter2" not in captured.err
    assert "turn" not in captured.err


def test_an_exception_is_logged_without_the_values_of_its_variables(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(), log_file=file, console=True)
    secret = "hunter2"
    try:
        int(secret == "x") // 0
    except ZeroDivisionError:
        log.exception("thread.failed")
        logging.getLogger("lib").exception("lib failed")
    ours, theirs = lines(file)
    for line in (ours, theirs):
        assert "ZeroDivisionError" in line["exception"]
    shown = capsys.readouterr().err
    assert shown.count("ZeroDivisionError") == 2
    assert "hunter2" not in shown + file.read_text()


def test_the_file_and_its_folder_are_the_owners_alone(file: Path) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    log.info("x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("")
    file.chmod(0o644)
    logs.configure(LogSettings(), log_file=file, console=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_full_file_is_put_aside_and_the_oldest_dropped(file: Path) -> None:
    logs.configure(LogSettings(max_mb=1, backups=2), log_file=file, console=False)
    for index in range(40):
        log.info("filler", index=index, filler="x" * 100_000)
    kept = sorted(path.name for path in file.parent.iterdir())
    assert kept == [file.name, f"{file.name}.1", f"{file.name}.2"]
    for path in file.parent.iterdir():
        assert path.stat().st_size <= 1_000_000
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert lines(file)[-1]["index"] == 39


def test_configuring_again_replaces_what_was_there(file: Path, tmp_path: Path) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    other = tmp_path / "other.jsonl"
    logs.configure(LogSettings(), log_file=other, console=False)
    log.info("x")
    assert file.read_text() == ""
    assert len(lines(other)) == 1


def test_a_file_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="cannot be written: ") as caught:
        logs.configure(LogSettings(), log_file=blocked / "x.jsonl", console=False)
    assert caught.value.code == "log.unwritable"


FULL_DISK = """
import resource, sys
from pathlib import Path
import structlog
from voice_daemon.logs import setup as logs
from voice_daemon.config import LogSettings

logs.configure(LogSettings(), log_file=Path(sys.argv[1]), console=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for _ in range(5):
    structlog.get_logger().info("filler", filler="x" * 400)
"""


def test_a_disk_that_fails_is_told_once(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(file)], capture_output=True, text=True, check=False
    )
    assert done.stderr == f"cannot write {file}: [Errno 27] File too large\n"
    assert done.returncode == 0
    assert json.loads(file.read_text().splitlines()[0])["event"] == "filler"
    full = "exec 2>/dev/full; exec " if Path("/dev/full").exists() else "exec 2>&-; exec "
    line = full + shlex.join([sys.executable, "-c", FULL_DISK, str(file)])
    assert subprocess.run(["/bin/sh", "-c", line], check=False).returncode == 0


def test_a_command_shows_warnings_on_stderr_and_nothing_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure_for_command()
    log.info("quiet")
    log.warning("loud", text="turn on")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loud" in captured.err
    assert "quiet" not in captured.err
    assert "turn" not in captured.err


@pytest.mark.parametrize("odd", ["pipe", "device", "folder", "dangling"])
def test_anything_but_a_file_in_the_logs_place_is_refused_at_once(file: Path, odd: str) -> None:
    file.parent.mkdir()
    match odd:
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/full")
        case "folder":
            file.mkdir()
        case _:
            file.symlink_to(file.parent / "missing" / "file")
    with pytest.raises(ConfigError, match="cannot be written"):
        logs.configure(LogSettings(), log_file=file, console=False)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_log_that_is_taken_away_goes_on_in_a_new_file(file: Path, what: str) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    log.info("before")
    if what == "file":
        file.rename(file.with_name("moved"))
    else:
        shutil.rmtree(file.parent)
    log.info("after")
    assert [line["event"] for line in lines(file)] == ["after"]


def test_a_log_that_cannot_be_written_is_a_problem_until_it_can(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(), log_file=file, console=False)
    assert logs.unwritable() is None
    shutil.rmtree(file.parent)
    file.parent.touch()
    log.info("lost")
    log.info("lost too")
    problem = logs.unwritable()
    assert problem is not None
    assert (problem.part, str(file) in problem.message) == ("log", True)
    assert capsys.readouterr().err.count("cannot write") == 1
    file.parent.unlink()
    log.info("back")
    assert logs.unwritable() is None
    assert [line["event"] for line in lines(file)] == ["back"]
