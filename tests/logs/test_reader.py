from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from voice_daemon.logs.reader import LogFiles

WRITER = """
import logging, sys
from logging.handlers import RotatingFileHandler
handler = RotatingFileHandler(sys.argv[1], maxBytes=4000, backupCount=50)
for n in range(int(sys.argv[2])):
    handler.emit(logging.makeLogRecord({"msg": f"line {n} of many"}))
"""


class Writer:
    """Writes lines with the daemon's own kind of rotation."""

    def __init__(self, path: Path, *, max_bytes: int = 200, backups: int = 20) -> None:
        self._handler = RotatingFileHandler(path, maxBytes=max_bytes, backupCount=backups)
        self._written = 0

    def write(self, n: int = 1) -> list[str]:
        lines = [f"line {number}" for number in range(self._written, self._written + n)]
        self._written += n
        for line in lines:
            self._handler.emit(logging.makeLogRecord({"msg": line}))
        return lines

    def close(self) -> None:
        self._handler.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "voice-daemon.jsonl"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    made = Writer(path)
    yield made
    made.close()


@pytest.fixture
def files(path: Path) -> Iterator[LogFiles]:
    made = LogFiles(path)
    yield made
    made.close()


def test_history_is_in_the_order_of_writing_over_all_rotations(
    path: Path, writer: Writer, files: LogFiles
) -> None:
    written = writer.write(300)
    assert path.with_name(f"{path.name}.10").exists()
    assert list(files.history()) == written


def test_what_is_added_is_given_once(writer: Writer, files: LogFiles) -> None:
    before = writer.write(3)
    assert list(files.history()) == before
    assert list(files.news()) == []
    added = writer.write(2)
    assert list(files.news()) == added
    assert list(files.news()) == []


@pytest.mark.parametrize("n", [30, 60, 200])
def test_rotations_between_two_looks_lose_nothing(writer: Writer, files: LogFiles, n: int) -> None:
    before = writer.write(5)
    assert list(files.history()) == before
    added = writer.write(n)
    assert list(files.news()) == added


def test_a_line_is_given_when_it_is_whole(path: Path, files: LogFiles) -> None:
    path.write_bytes(b"one\ntw")
    assert list(files.history()) == ["one"]
    with path.open("ab") as file:
        file.write(b"o\n")
    assert list(files.news()) == ["two"]


def test_half_a_character_waits_for_the_other_half(path: Path, files: LogFiles) -> None:
    path.write_bytes("Zoë".encode()[:-1])
    assert list(files.history()) == []
    with path.open("ab") as file:
        file.write("Zoë".encode()[-1:] + b"\n")
    assert list(files.news()) == ["Zoë"]


def test_an_unfinished_line_is_given_once_nobody_will_finish_it(
    path: Path, files: LogFiles
) -> None:
    path.write_bytes(b"whole\ntorn")
    assert list(files.history()) == ["whole"]
    path.rename(path.with_name(f"{path.name}.1"))
    path.write_bytes(b"new\n")
    assert list(files.news()) == ["torn", "new"]


def test_no_file_yet_is_an_empty_one(path: Path, files: LogFiles) -> None:
    assert list(files.history()) == []
    assert list(files.news()) == []
    path.write_bytes(b"first\n")
    assert list(files.news()) == ["first"]


def test_an_emptied_file_is_read_from_its_start(path: Path, files: LogFiles) -> None:
    path.write_bytes(b"a long line of before\n")
    assert list(files.history()) == ["a long line of before"]
    path.write_bytes(b"new\n")
    assert list(files.news()) == ["new"]


def test_a_removed_log_is_waited_for(path: Path, files: LogFiles) -> None:
    path.write_bytes(b"old\n")
    assert list(files.history()) == ["old"]
    path.unlink()
    assert list(files.news()) == []
    path.write_bytes(b"new\n")
    assert list(files.news()) == ["new"]


def test_skipping_leaves_out_what_is_there(path: Path, files: LogFiles) -> None:
    path.write_bytes(b"old\n")
    files.skip()
    with path.open("ab") as file:
        file.write(b"new\n")
    assert list(files.news()) == ["new"]


def test_a_rotation_between_listing_and_opening_hides_no_file(
    path: Path, writer: Writer, files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = writer.write(10)
    turns = iter([True, False, True])
    list_folder = type(path).iterdir

    def rotated_behind_the_list(folder: Path) -> list[Path]:
        entries = list(list_folder(folder))
        if next(turns, False):
            written.extend(writer.write(20))
        return entries

    monkeypatch.setattr(type(path), "iterdir", rotated_behind_the_list)
    assert list(files.history()) == written


def test_a_process_that_writes_and_rotates_meanwhile_loses_nothing(
    path: Path, files: LogFiles
) -> None:
    n = 1500
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)]) as process:
        got = list(files.history())
        while process.poll() is None:
            got += files.news()
    got += files.news()
    assert got == [f"line {number} of many" for number in range(n)]
