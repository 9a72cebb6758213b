from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from voice_daemon import __version__
from voice_daemon.cli import main
from voice_daemon.commands import Context
from voice_daemon.commands.status import run
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import NotRunningError
from voice_daemon.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    Problem,
    SessionStatus,
    Status,
    WakeStatus,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEALTHY = Status(
    version=__version__,
    pid=812,
    uptime_s=61.0,
    mic=MicStatus("default", 16_000),
    wake=WakeStatus(("hey_jarvis",), 0.5, "pass"),
    asr=AsrStatus("tiny.en", warm=True),
    mqtt=BrokerStatus("mqtt://127.0.0.1:1883", "c", connected=True),
    session=SessionStatus("idle", muted=False),
)
DEGRADED = dataclasses.replace(
    HEALTHY, problems=(Problem("mqtt", "connection refused", "start the broker"),)
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # pytest's own tmp_path is too long for a Unix socket on macOS.
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as folder:
        monkeypatch.setenv("VOICE_DAEMON_HOME", folder)
        yield Path(folder)


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[[Status], ControlServer]]:
    servers: list[ControlServer] = []

    def start(status: Status) -> ControlServer:
        server = ControlServer(home / "voice-daemon.sock", {"status": lambda _: status.to_dict()})
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def call(home: Path, *, as_json: bool = False) -> tuple[int, str, str]:
    """Run the command once -> exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    context = Context(None, {"VOICE_DAEMON_HOME": str(home)}, out, err)
    code = run(argparse.Namespace(watch=False, json=as_json), context)
    return code, out.getvalue(), err.getvalue()


def test_a_healthy_daemon_gives_0_and_its_picture(
    home: Path, serve: Callable[[Status], ControlServer]
) -> None:
    serve(HEALTHY)
    assert call(home) == (0, render(HEALTHY, colour=False) + "\n", "")


def test_a_degraded_daemon_gives_1(home: Path, serve: Callable[[Status], ControlServer]) -> None:
    serve(DEGRADED)
    code, out, _ = call(home)
    assert code == 1
    assert "! mqtt: connection refused — start the broker" in out


def test_json_is_the_status_itself(home: Path, serve: Callable[[Status], ControlServer]) -> None:
    serve(DEGRADED)
    code, out, _ = call(home, as_json=True)
    assert code == 1
    document = json.loads(out)
    assert document["running"] is True
    assert Status.from_dict(document) == DEGRADED


def test_no_daemon_gives_3(home: Path) -> None:
    with pytest.raises(NotRunningError) as raised:
        call(home)
    assert raised.value.exit_code == 3


def test_no_daemon_as_json_is_a_document_too(home: Path) -> None:
    code, out, _ = call(home, as_json=True)
    assert code == 3
    document = json.loads(out)
    assert (document["schema"], document["running"], document["healthy"]) == (1, False, False)
    assert document["error"]["code"] == "control.not_running"


def test_the_command_line_gives_the_same_codes(
    serve: Callable[[Status], ControlServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 3
    assert "daemonctl run" in capsys.readouterr().err
    serve(HEALTHY)
    assert main(["status"]) == 0


def test_another_version_is_warned_of_on_stderr(
    home: Path,
    serve: Callable[[Status], ControlServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(HEALTHY)
    monkeypatch.setattr("voice_daemon.control.protocol.__version__", "9.9.9")
    code, out, err = call(home, as_json=True)
    assert code == 0
    assert json.loads(out)["running"] is True
    assert "the daemon is version 9.9.9" in err


def command(home: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "VOICE_DAEMON_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }
    return [sys.executable, "-m", "voice_daemon", "status", *arguments], environment


def test_watch_in_a_pipe_prints_one_picture_after_another(
    home: Path, serve: Callable[[Status], ControlServer]
) -> None:
    server = serve(HEALTHY)
    argv, environment = command(home, "--watch", "--json")
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        second = json.loads(process.stdout.readline())
        server.stop()
        while (last := json.loads(process.stdout.readline()))["running"]:
            pass
        process.send_signal(signal.SIGINT)
    assert first == second
    assert last["error"]["code"] == "control.not_running"
    assert process.returncode == 130


def test_watch_redraws_on_a_terminal_until_ctrl_c(
    home: Path, serve: Callable[[Status], ControlServer]
) -> None:
    server = serve(DEGRADED)
    argv, environment = command(home, "--watch")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        argv, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = read_until(ours, "connection refused")
        shown += read_until(ours, "connection refused")
        server.stop()
        shown += read_until(ours, "not running")
        process.send_signal(signal.SIGINT)
        shown += read_until(ours, None)
    os.close(ours)
    assert process.returncode == 130
    assert re.search("\x1b\\[\\d*A", shown), "the cursor moves up to draw over the old picture"
    assert "Traceback" not in shown


def read_until(terminal: int, text: str | None) -> str:
    """Read what the terminal shows until `text`, or until the other end closes."""
    shown = ""
    while text is None or text not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux's way to say that nobody writes any more
            part = b""
        if not part:
            break
        shown += part.decode(errors="replace")
    return shown
