from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from voice_daemon import __version__
from voice_daemon.cli.context import Context
from voice_daemon.cli.main import main
from voice_daemon.cli.status import run
from voice_daemon.control.server import ControlServer
from voice_daemon.control.socket import InstanceLock
from voice_daemon.errors import Problem
from voice_daemon.runtime.live_view import LiveSnapshot, LiveTranscript
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)

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
    code, out, err = call(home)
    assert (code, err) == (0, "")
    first, *parts = out.splitlines()
    assert first == f"voice-daemon {__version__}  ● healthy  (pid 812, up 1m 1s)"
    assert [line.split()[0] for line in parts] == ["mic", "wake", "asr", "mqtt", "session"]


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


@pytest.mark.skipif(sys.platform == "darwin", reason="there a launchd has a say in it")
def test_no_daemon_gives_3_and_how_to_start_it(home: Path) -> None:
    code, out, err = call(home)
    assert (code, err) == (3, "")
    assert out == (
        f"voice-daemon {__version__}  ● not running\n"
        f"  ! the daemon is not running: no control socket at {home}/voice-daemon.sock — "
        "start it with `daemonctl run`\n"
        f"logs    {home}/logs/voice-daemon.jsonl\n"
    )


@pytest.mark.skipif(sys.platform == "darwin", reason="there a launchd has a say in it")
def test_no_daemon_as_json_is_a_document_too(home: Path) -> None:
    code, out, _ = call(home, as_json=True)
    assert code == 3
    document = json.loads(out)
    assert (document["schema"], document["running"], document["healthy"]) == (1, False, False)
    assert document["condition"] == "stopped"
    assert document["error"]["code"] == "control.not_running"


@pytest.mark.skipif(sys.platform == "darwin", reason="there a launchd has a say in it")
def test_a_socket_without_a_daemon_is_told_apart_and_with_the_last_error(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home / "voice-daemon.sock"))
        left.listen()
    (home / "logs").mkdir()
    (home / "logs" / "launchd.err.log").write_text("daemonctl: no microphone\n  -> plug one in\n")
    code, out, _ = call(home)
    assert code == 3
    assert "it was killed or crashed, and left" in out
    assert re.search(r"! last error \(.*\): no microphone — plug one in\n", out)
    document = json.loads(call(home, as_json=True)[1])
    assert document["condition"] == "stale_socket"
    assert document["last_error"]["message"] == "no microphone"


def test_a_lock_without_a_socket_is_a_daemon_that_starts(home: Path) -> None:
    lock = InstanceLock(home / "voice-daemon.sock.lock")
    lock.acquire()
    code, out, _ = call(home, as_json=True)
    lock.release()
    assert code == 1
    document = json.loads(out)
    assert (document["condition"], document["running"]) == ("starting", True)


def test_the_command_line_gives_the_same_codes(
    serve: Callable[[Status], ControlServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) in {3, 4}
    assert "daemonctl run" in capsys.readouterr().out
    serve(HEALTHY)
    assert main(["status"]) == 0


def test_another_version_comes_first_and_changes_nothing_else(
    home: Path,
    serve: Callable[[Status], ControlServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(HEALTHY)
    monkeypatch.setattr("voice_daemon.control.protocol.__version__", "9.9.9")
    code, out, _ = call(home)
    assert code == 0
    assert out.splitlines()[1] == (
        f"  ! version: the daemon is version 9.9.9, this command {__version__} — restart the "
        "daemon: `daemonctl restart`"
    )
    document = json.loads(call(home, as_json=True)[1])
    assert (document["version_mismatch"], document["command_version"]) == (True, __version__)


def command(home: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "VOICE_DAEMON_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }
    return [sys.executable, "-m", "voice_daemon", "status", *arguments], environment


class Moments:
    """A daemon that is watched; a test says what is to be seen."""

    def __init__(self, home: Path) -> None:
        self.status = HEALTHY
        self.moment = LiveSnapshot("idle", -42.0, {"hey_jarvis": 0.02}, 0.5, None, None)
        handlers = {
            "status": lambda _: self.status.to_dict(),
            "watch": lambda _: self.moment.to_dict(),
        }
        self.server = ControlServer(home / "voice-daemon.sock", handlers)
        self.server.start()


@pytest.fixture
def moments(home: Path) -> Iterator[Moments]:
    made = Moments(home)
    yield made
    made.server.stop()


SPOKEN = LiveSnapshot(
    "transcribing",
    -12.0,
    {"hey_jarvis": 0.94},
    0.5,
    "a1",
    LiveTranscript("a1", "turn on", " the", lag_ms=90),
)


def test_watch_in_a_pipe_is_a_json_line_for_each_change(home: Path, moments: Moments) -> None:
    argv, environment = command(home, "--watch", "--json")
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        moments.moment = dataclasses.replace(moments.moment, level_dbfs=-20.0)  # no change
        moments.moment = SPOKEN
        second = json.loads(process.stdout.readline())
        moments.status = DEGRADED
        third = json.loads(process.stdout.readline())
        moments.server.stop()
        while (last := json.loads(process.stdout.readline()))["running"]:
            pass
        process.send_signal(signal.SIGINT)
    assert (first["schema"], first["condition"], first["now"]["words"]) == (1, "running", None)
    assert second["now"]["words"]["text"] == "turn on"
    assert (third["condition"], third["problems"][0]["part"]) == ("degraded", "mqtt")
    assert last["healthy"] is False
    assert process.returncode == 130


def test_watch_in_a_pipe_is_a_line_for_each_change(home: Path, moments: Moments) -> None:
    argv, environment = command(home, "--watch")
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline()]
        moments.moment = SPOKEN
        lines.append(process.stdout.readline())
        moments.moment = dataclasses.replace(
            SPOKEN,
            state="idle",
            session_id=None,
            words=LiveTranscript("a1", "Turn on.", is_final=True),
        )
        lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert [line[10:] for line in lines] == [
        "idle\n",
        "transcribing  session a1  words “turn on” [the]  90 ms behind\n",
        "idle  final “Turn on.”\n",
    ]
    assert process.returncode == 130


def test_watch_draws_level_score_state_and_words(home: Path, moments: Moments) -> None:
    moments.moment = SPOKEN
    argv, environment = command(home, "--watch")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        argv, env={**environment, "NO_COLOR": "1"}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = read_until(ours, "mqtt ")
        process.send_signal(signal.SIGINT)
        read_until(ours, None)
    os.close(ours)
    drawn = [line.rstrip() for line in shown.replace("\r", "").splitlines()]
    assert [line.split("▏")[-1].strip() for line in drawn if "▕" in line] == [
        "-12 dBFS",
        "0.94 of 0.50  hey_jarvis",
    ]
    assert "state   transcribing  session a1  90 ms behind" in drawn
    assert "words   turn on the" in drawn


def test_watching_a_daemon_that_gives_no_moment_shows_its_status(
    home: Path, serve: Callable[[Status], ControlServer]
) -> None:
    serve(DEGRADED)
    argv, environment = command(home, "--watch")
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
    assert line[10:] == "idle  ! mqtt: connection refused — start the broker\n"


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
