from __future__ import annotations

from datetime import UTC, datetime

import pytest

from voice_daemon.logs.crashes import CrashKind, entries_of
from voice_daemon.logs.records import LAST, UNREADABLE, LogFilter, Record, find_session, read_record


def record(event: str, level: str = "info", **fields: object) -> Record:
    return Record(None, level, event, fields)


def test_a_line_is_read_into_its_parts() -> None:
    line = (
        '{"at": "2026-11-22T10:00:00Z", "level": "info", "event": "e", "session_id": "s", "n": 1}'
    )
    read = read_record(line)
    assert read is not None
    assert read.at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert (read.level, read.event, read.session_id) == ("info", "e", "s")
    assert read.to_dict() == {
        "at": "2026-11-22T10:00:00Z",
        "level": "info",
        "event": "e",
        "session_id": "s",
        "n": 1,
    }


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "torn, and then',
        "[1, 2]",
        "12",
        '{"level": "info"}',
        '{"event": 3}',
        "[" * 100_000,
        "Traceback (most recent call last):",
    ],
)
def test_a_line_that_is_no_record_survives_and_passes_every_level(line: str) -> None:
    read = read_record(line)
    assert read is not None
    assert read.event == UNREADABLE
    assert read.fields["line"] == line
    assert read.is_at_least("critical")


@pytest.mark.parametrize("line", ["", "  ", "\x00\x00\x00", "\r"])
def test_an_empty_line_is_no_record(line: str) -> None:
    assert read_record(line) is None


@pytest.mark.parametrize("at", ["yesterday", 3, None, ""])
def test_a_time_that_is_none_is_left_out(at: object) -> None:
    read = read_record(f'{{"event": "e", "at": "{at}"}}')
    assert read is not None
    assert read.at is None


def test_a_level_takes_what_is_as_important() -> None:
    events = [record(level, level) for level in ("debug", "info", "warning", "error", "critical")]
    taken = [r.event for r in events if LogFilter("warning").takes(r)]
    assert taken == ["warning", "error", "critical"]


def test_a_session_takes_what_went_wrong_meanwhile_and_no_other_session() -> None:
    choice = LogFilter("debug", "a1")
    assert choice.takes(record("mine", session_id="a1"))
    assert choice.takes(record("mqtt.fault", "warning"))
    assert not choice.takes(record("mqtt.connected"))
    assert not choice.takes(record("other", "error", session_id="b2"))


SESSIONS = [
    record("wake", session_id="a1"),
    record("fault", "error"),
    record("done", session_id="a1"),
    record("between"),
    record("wake", session_id="a2"),
    record("wake", session_id="b3"),
    record("after"),
]


@pytest.mark.parametrize(
    ("wanted", "session_id", "n"),
    [("a1", "a1", 3), ("a", "a2", 1), ("b", "b3", 1), (LAST, "b3", 1)],
)
def test_a_session_is_found_by_its_id_its_beginning_or_as_the_last(
    wanted: str, session_id: str, n: int
) -> None:
    found = find_session(SESSIONS, wanted)
    assert found is not None
    assert (found[0], len(found[1])) == (session_id, n)


def test_a_session_that_is_not_there_is_not_found() -> None:
    assert find_session(SESSIONS, "c") is None
    assert find_session([], LAST) is None


CRASH_FILE = """\
ALSA lib confmisc.c: no such card
daemonctl: [asr] model = small.en: is not installed
daemonctl: [mqtt] port = 0: is less than 1
  -> mend the configuration
Traceback (most recent call last):
  File "x.py", line 3, in <module>
    raise ValueError("odd")
ValueError: odd
daemonctl: no microphone
  -> plug one in
Fatal Python error: Segmentation fault

Current thread 0x1 (most recent call first):
  File "y.py", line 9 in feed

Traceback (most recent call last):
  File "z.py", line 1
KeyboardInterrupt
late words
"""


def test_a_crash_file_falls_into_its_entries() -> None:
    entries = entries_of(CRASH_FILE.splitlines())
    assert [(entry.kind, entry.summary, entry.remedy) for entry in entries] == [
        (CrashKind.TEXT, "ALSA lib confmisc.c: no such card", ""),
        (
            CrashKind.ERROR,
            "[asr] model = small.en: is not installed",
            "mend the configuration",
        ),
        (CrashKind.TRACEBACK, "ValueError: odd", ""),
        (CrashKind.ERROR, "no microphone", "plug one in"),
        (CrashKind.FATAL, "Fatal Python error: Segmentation fault", ""),
        (CrashKind.TRACEBACK, "KeyboardInterrupt", ""),
        (CrashKind.TEXT, "late words", ""),
    ]
    assert sum(len(entry.lines) for entry in entries) == 18


def test_a_python_whose_library_has_gone_is_told_with_its_remedy() -> None:
    """As after `brew upgrade`: macOS' loader speaks, and the launcher where there is no Python."""
    lines = [
        "dyld[812]: Library not loaded: /opt/homebrew/Cellar/python@3.12/3.12.4/Python",
        "  Referenced from: <4C4C44> /opt/homebrew/bin/python3.12",
        "  Reason: tried: '/opt/homebrew/Cellar/python@3.12/3.12.4/Python' (no such file)",
        "voice-daemon: cannot start /Users/zoe/.venv/bin/python: No such file or directory",
        "  -> run `daemonctl install`",
    ]
    loader, launcher = entries_of(lines)
    assert loader.kind is CrashKind.LOADER
    assert loader.summary.startswith("Library not loaded: /opt/homebrew/Cellar")
    assert "daemonctl install" in loader.remedy
    assert (launcher.kind, launcher.remedy) == (CrashKind.ERROR, "run `daemonctl install`")
    assert launcher.summary.startswith("cannot start /Users/zoe/.venv/bin/python")
