from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.daemon_process import daemon_environment, run_daemonctl
from voice_daemon.cli import logs
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import parse
from voice_daemon.errors import UsageError, VoiceDaemonError

SID = "3f9a01c2d4e5"


def line(second: float, event: str, level: str = "info", **fields: object) -> str:
    at = f"2026-11-22T10:00:{second:09.6f}Z"
    return json.dumps({"at": at, "level": level, "event": event, **fields}) + "\n"


SESSION = (
    line(1.0, "daemon.started", version="0.1.0", pid=812)
    + line(2.0, "wake.detected", wake_word="hey_jarvis", score=0.94, session_id=SID)
    + line(2.001, "session.started", session_id=SID, wake_word="hey_jarvis")
    + line(2.4, "speech.started", session_id=SID, session_ms=210)
    + line(3.1, "transcript.partial", "debug", session_id=SID, seq=1, lag_ms=310,
           text="turn on", draft=" the kit")
    + line(3.2, "mqtt.fault", "warning", code="mqtt.connection_lost", reason="connection lost")
    + line(4.2, "speech.ended", session_id=SID, session_ms=2310)
    + line(4.3, "transcript.final", session_id=SID, confidence=0.91, text="***")
    + line(4.35, "session.done", session_id=SID, reason="silence", wake_word="hey_jarvis",
           finals=1, partials=1, session_ms=2900, speech_ms=2100, max_lag_ms=310,
           first_draft_ms=410, first_committed_ms=640, finalize_ms=180, rtf=0.21)
    + line(4.4, "mqtt.final_delivered", session_id=SID)
    + '{"at": "2026-11-22T10:00:05Z", "level": "in\n'
    + line(6.0, "asr.failed", "error", exception="Traceback:\n  boom")
)  # fmt: skip

CRASHES = 'Traceback (most recent call last):\n  File "x.py", line 3\nValueError: odd\n'


@pytest.fixture
def folder(voice_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    made = voice_home / "logs"
    made.mkdir()
    return made


@pytest.fixture
def log_file(folder: Path) -> Path:
    path = folder / "voice-daemon.jsonl"
    path.write_text(SESSION)
    return path


def call(home: Path, *arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    context = Context(None, {"VOICE_DAEMON_HOME": str(home)}, out, err)
    args = parse(["logs", *arguments])
    return logs.run(args, context), out.getvalue(), err.getvalue()


def test_a_session_is_told_as_a_story(voice_home: Path, log_file: Path) -> None:
    assert log_file.exists()
    code, out, err = call(voice_home, "--session", "last")
    assert (code, err) == (0, "")
    assert (
        out
        == f"""\
session {SID}  2026-11-22 10:00:02.000
    +0.00 s  wake      hey_jarvis heard with a score of 0.94
    +0.00 s  session   opened by the wake word
    +0.40 s  speech    begins 0.21 s into the session's audio
    +1.10 s  words     “turn on” [the kit]  310 ms behind
    +1.20 s  warning   mqtt.fault  code=mqtt.connection_lost reason='connection lost'
    +2.20 s  endpoint  speech ended 2.31 s into the session's audio
    +2.30 s  final     (words are not logged: privacy.log_transcripts)  confidence 0.91
    +2.35 s  done      ended by silence after 2.90 s, 2.10 s of speech, first words after 0.41 s, \
first sure ones after 0.64 s, final 0.18 s after the last sound, 0.31 s behind at most, 0.21 of \
real time computed
    +2.40 s  publish   the broker has the final
"""
    )


def test_records_are_a_line_each_and_a_torn_one_survives(voice_home: Path, log_file: Path) -> None:
    with log_file.with_name("launchd.err.log").open("w") as crashes:
        crashes.write(CRASHES)
    os.utime(log_file.with_name("launchd.err.log"), (1_795_341_600, 1_795_341_600))
    code, out, err = call(voice_home, "-n", "4")
    assert (code, err) == (0, "")
    assert (
        out
        == f"""\
2026-11-22 10:00:04.350  info    session.done  session_id={SID} reason=silence \
wake_word=hey_jarvis finals=1 partials=1 session_ms=2900 speech_ms=2100 max_lag_ms=310 \
first_draft_ms=410 first_committed_ms=640 finalize_ms=180 rtf=0.21
2026-11-22 10:00:04.400  info    mqtt.final_delivered  session_id={SID}
?                        ?       {{"at": "2026-11-22T10:00:05Z", "level": "in
2026-11-22 10:00:06.000  error   asr.failed
    Traceback:
      boom

launchd.err.log, last written 2026-11-22 10:00:00:
  Traceback (most recent call last):
    File "x.py", line 3
  ValueError: odd
"""
    )


def test_json_is_a_line_for_each_record_and_each_crash(voice_home: Path, log_file: Path) -> None:
    log_file.with_name("launchd.err.log").write_text(CRASHES)
    code, out, _ = call(voice_home, "--json", "--level", "error")
    documents = [json.loads(text) for text in out.splitlines()]
    assert code == 0
    assert [(d["schema"], d["event"]) for d in documents] == [
        (1, "log.unreadable"),
        (1, "asr.failed"),
        (1, "launchd.entry"),
    ]
    assert documents[2]["text"].endswith("ValueError: odd")


def test_a_session_as_json_is_its_records(voice_home: Path, log_file: Path) -> None:
    assert log_file.exists()
    _, out, _ = call(voice_home, "--json", "--session", SID[:4])
    events = [json.loads(text)["event"] for text in out.splitlines()]
    assert events[0] == "wake.detected"
    assert events[-1] == "mqtt.final_delivered"


def test_an_older_version_s_records_are_shown_as_they_are(voice_home: Path, folder: Path) -> None:
    record = line(1, "wake.detected", wake_word=3, session_id="s")
    (folder / "voice-daemon.jsonl").write_text(record)
    _, out, _ = call(voice_home, "--session", "s")
    assert "wake.detected  wake_word=3" in out


def test_an_unknown_session_is_a_usage_error(voice_home: Path, log_file: Path) -> None:
    assert log_file.exists()
    with pytest.raises(UsageError, match="no session 'zz'") as raised:
        call(voice_home, "--session", "zz")
    assert raised.value.exit_code == 2


def test_no_log_is_said_on_stderr(voice_home: Path) -> None:
    code, out, err = call(voice_home)
    assert (code, out) == (0, "")
    assert "voice-daemon.jsonl" in err


def test_a_log_that_cannot_be_read_is_not_called_empty(voice_home: Path, log_file: Path) -> None:
    log_file.unlink(missing_ok=True)
    log_file.mkdir(parents=True)
    with pytest.raises(VoiceDaemonError, match="cannot be read: Is a directory"):
        call(voice_home)


def next_event(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    event: str = json.loads(process.stdout.readline())["event"]
    return event


def test_following_over_a_rotation_until_ctrl_c(voice_home: Path, log_file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "voice_daemon", "logs", "-f", "--json", "--level", "error"],
        env=daemon_environment(voice_home),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert [next_event(process), next_event(process)] == ["log.unreadable", "asr.failed"]
        with log_file.open("a") as file:
            file.write(line(7, "before.rotation", "error") + line(7, "unimportant"))
        assert next_event(process) == "before.rotation"
        log_file.rename(log_file.with_name("voice-daemon.jsonl.1"))
        log_file.write_text(line(8, "after.rotation", "error"))
        assert next_event(process) == "after.rotation"
        log_file.with_name("launchd.err.log").write_text(CRASHES)
        assert next_event(process) == "launchd.entry"
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130


def test_a_terminal_is_given_colour_and_a_pipe_is_not(voice_home: Path, log_file: Path) -> None:
    assert log_file.exists()
    assert "\x1b[" not in run_daemonctl("logs", home=voice_home).stdout
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "voice_daemon", "logs", "--level", "error"],
        env=daemon_environment(voice_home, TERM="xterm"),
        stdout=theirs,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "\x1b[31merror" in shown


def test_what_a_crash_wrote_cannot_steer_the_terminal(voice_home: Path, log_file: Path) -> None:
    log_file.with_name("launchd.err.log").write_text("\x1b[2Jgone\n")
    _, out, _ = call(voice_home)
    assert "gone" in out
    assert "\x1b" not in out
