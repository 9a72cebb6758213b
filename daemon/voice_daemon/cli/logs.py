"""`daemonctl logs`: the JSON log for people, whole, followed, or one session's story."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from voice_daemon._lib.files import open_to_read
from voice_daemon._lib.terminal import BOLD, RED, Painter, printable
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import DEFAULT_LOG_LINES
from voice_daemon.cli.service import crash_files
from voice_daemon.errors import EXIT_OK, UsageError, VoiceDaemonError
from voice_daemon.logs.crashes import Crash, entries_of, read_crashes
from voice_daemon.logs.format import SessionTimeline, record_lines
from voice_daemon.logs.reader import LogFiles
from voice_daemon.logs.records import LogFilter, Record, find_session, read_record

CRASHES_SHOWN: Final = 5
FOLLOW_INTERVAL_S: Final = 0.25


def run(args: argparse.Namespace, context: Context) -> int:
    """Show what is wanted; raises `UsageError` for a session that is not there."""
    _refuse_odd_numbers(args)
    _refuse_unreadable(context.paths().log_file)
    files = LogFiles(context.paths().log_file)
    printer = _Printer(args, context)
    try:
        if args.session is not None:
            choice, show = _tell_session(args, context, printer, files)
        else:
            choice, show = _show_newest(args, context, printer, files)
        if args.follow:
            _follow(choice, show, files, () if args.session else printer.crash_followers())
    finally:
        files.close()
    return EXIT_OK


def _refuse_odd_numbers(args: argparse.Namespace) -> None:
    if args.lines is not None and args.lines < 0:
        raise UsageError(
            "usage.arguments", "--lines must be 0 or more", remedy="leave it out for the newest 200"
        )


def _refuse_unreadable(log_file: Path) -> None:
    """Tell a log that may not be read from one that holds nothing."""
    try:
        open_to_read(log_file).close()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise VoiceDaemonError(
            "logs.unreadable",
            f"{log_file} cannot be read: {error.strerror or error}",
            remedy="run daemonctl as the user who runs the daemon, and look at what is there",
        ) from error


def _show_newest(
    args: argparse.Namespace, context: Context, printer: _Printer, files: LogFiles
) -> tuple[LogFilter, Callable[[Record], None]]:
    choice = LogFilter(args.level)
    most = None if args.json and args.lines is None else args.lines
    if most is None and not args.json:
        most = DEFAULT_LOG_LINES
    if most is not None:
        most = min(most, sys.maxsize)
    shown = deque((r for r in _records(files.history()) if choice.takes(r)), maxlen=most)
    for record in shown:
        printer.show(record)
    n_crashes = printer.show_crashes()
    if not shown and not n_crashes:
        context.err.write(f"daemonctl: nothing of this kind is in {context.paths().log_file}\n")
    return choice, printer.show


def _tell_session(
    args: argparse.Namespace, context: Context, printer: _Printer, files: LogFiles
) -> tuple[LogFilter, Callable[[Record], None]]:
    found = find_session(_records(files.history()), args.session)
    if found is None:
        raise UsageError(
            "logs.no_such_session",
            f"there is no session {args.session!r} in {context.paths().log_file}",
            remedy="`daemonctl logs` shows which there are; old ones go with old log files",
        )
    session_id, records = found
    choice, story = LogFilter(args.level, session_id), SessionTimeline(session_id, printer.paint)

    def show(record: Record) -> None:
        if args.json:
            context.print_json(record.to_dict())
        else:
            printer.print(story.lines(record))

    kept = [record for record in records if choice.takes(record)]
    for record in kept[-args.lines :] if args.lines else kept:
        show(record)
    return choice, show


def _follow(
    choice: LogFilter,
    show: Callable[[Record], None],
    files: LogFiles,
    others: Iterable[Callable[[], None]],
) -> None:
    """Go on until Ctrl-C, which the caller turns into 130."""
    followers = tuple(others)
    while True:
        for record in _records(files.news()):
            if choice.takes(record):
                show(record)
        for follower in followers:
            follower()
        time.sleep(FOLLOW_INTERVAL_S)


def _records(lines: Iterable[str]) -> Iterator[Record]:
    return (record for line in lines if (record := read_record(line)) is not None)


@dataclass(frozen=True, slots=True)
class _Printer:
    """Writes records and crashes as JSON, or as text that is coloured on a terminal."""

    args: argparse.Namespace
    context: Context

    def paint(self, text: str, code: str) -> str:
        """Colour text on a terminal."""
        return Painter(colour=self.context.wants_colour)(text, code)

    def print(self, lines: Iterable[str]) -> None:
        """Write lines now."""
        self.context.out.writelines(f"{line}\n" for line in lines)
        self.context.out.flush()

    def show(self, record: Record) -> None:
        """Write a record."""
        if self.args.json:
            self.context.print_json(record.to_dict())
        else:
            self.print(record_lines(record, self.paint))

    def show_crashes(self) -> int:
        """Write the newest entries of launchd's files, and give how many there were."""
        n_shown = 0
        for path in crash_files(self.context):
            crashes = read_crashes(path)[-CRASHES_SHOWN:]
            if crashes and not self.args.json:
                self.print(("", self.paint(_heading(path), BOLD)))
            for crash in crashes:
                self._show_crash(path, crash)
            n_shown += len(crashes)
        return n_shown

    def crash_followers(self) -> list[Callable[[], None]]:
        """Give, for each of launchd's files, what writes the news of it."""

        def follower(path: Path) -> Callable[[], None]:
            files = LogFiles(path)
            files.skip()

            def show_news() -> None:
                for crash in entries_of(files.news()):
                    self._show_crash(path, crash)

            return show_news

        return [follower(path) for path in crash_files(self.context)]

    def _show_crash(self, path: Path, crash: Crash) -> None:
        if self.args.json:
            told = {"file": str(path), "kind": crash.kind.value, "text": "\n".join(crash.lines)}
            level = "info" if crash.kind.value == "text" else "error"
            self.context.print_json({"at": None, "level": level, "event": "launchd.entry", **told})
            return
        first, *more = map(printable, crash.lines)
        self.print((f"  {self.paint(first, RED)}", *(f"  {line}" for line in more)))


def _heading(path: Path) -> str:
    try:
        at = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    except OSError:
        return f"{path.name}:"
    return f"{path.name}, last written {at.isoformat(sep=' ', timespec='seconds')[:19]}:"
