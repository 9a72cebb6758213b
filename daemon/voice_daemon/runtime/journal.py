"""The journal of what is open, on disk: sessions, finals, commands. Ids, and never a word.

A process that is killed takes with it what it still had to say. The next one finds the journal
and says it: every `started` gets its `ended`, and every final that was not confirmed is reported,
and every command that the satellite had taken over.
A file belongs to a process for as long as that holds its lock, and a lock dies with its process.
Callable from any thread.
"""

import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import structlog

from voice_daemon._lib.files import try_lock
from voice_daemon.events import EndReason, ErrorRaised, Event, SessionEnded
from voice_daemon.homeassistant.commands import SENT, SETTLED, WAITING, not_run, unconfirmed
from voice_daemon.mqtt.topics import Leaf, MqttMessage, Topics

log = structlog.get_logger()

PATTERN: Final = "unsettled-*.jsonl"
MAX_BYTES: Final = 256 * 1024
"""A longer file is not ours, or of no use: a line is shorter than a hundred bytes."""
COMPACT_BYTES: Final = 16 * 1024


@dataclass(slots=True)
class Unsettled:
    """Sessions that were announced as started, and finals by how far they got."""

    sessions: list[str] = field(default_factory=list)
    finals: dict[str, str] = field(default_factory=dict)
    """`WAITING`, `SENT` or `SETTLED`, by session."""
    commands: dict[str, str] = field(default_factory=dict)
    """Of the satellite, likewise: `SENT` is handed out."""

    def read(self, entry: dict[str, Any]) -> None:
        """Take one line of a journal into account."""
        if "started" in entry:
            self.sessions.append(str(entry["started"]))
        elif "ended" in entry:
            with suppress(ValueError):
                self.sessions.remove(str(entry["ended"]))
        elif "final" in entry:
            self.finals[str(entry["final"])] = str(entry["is"])
        elif "command" in entry:
            self.commands[str(entry["command"])] = str(entry["is"])

    def add(self, other: Self) -> None:
        """Take over what another journal left; a session may stand in both."""
        self.sessions += (each for each in other.sessions if each not in self.sessions)
        self.finals.update(other.finals)
        self.commands.update(other.commands)

    @property
    def is_empty(self) -> bool:
        """True when nothing is open."""
        open_ones = {*self.finals.values(), *self.commands.values()}
        return not self.sessions and open_ones <= {SETTLED}

    def events(self) -> Iterator[Event]:
        """Say what the process that was killed could not say."""
        for session_id, how in self.finals.items():
            if how == WAITING:
                yield _final_lost(session_id)
            elif how == SENT:
                yield _final_unconfirmed(session_id)
        for session_id, how in self.commands.items():
            if how != SETTLED:
                yield _command_not_run(session_id, may_have_run=how == SENT)
        for session_id in self.sessions:
            if session_id not in self.finals:
                yield _command_lost(session_id)
            yield SessionEnded(session_id, EndReason.ERROR, int(session_id in self.finals), 0)


class Journal:
    """One process's journal below `folder`; without a folder it keeps nothing."""

    def __init__(self, folder: Path | None, topics: Topics) -> None:
        self._folder = folder
        self._topics = topics
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._open = Unsettled()

    def begin(self) -> Unsettled:
        """Begin a file of our own; return what dead processes of our node left open."""
        left = Unsettled()
        if self._folder is None:
            return left
        try:
            self._begin(self._folder)
            for path in sorted(self._folder.glob(PATTERN)):
                if path != self._path:
                    self._take_over(path, left)
        except OSError as error:
            log.warning("journal.unusable", folder=str(self._folder), reason=str(error))
        return left

    def note(self, message: MqttMessage) -> None:
        """Note a message before it is handed over: on disk first, then it may leave."""
        if message.final_of is not None:
            self._write({"final": message.final_of, "is": WAITING}, durable=True)
        elif (session := self._session_of(message)) and session["event_type"] == "started":
            self._write({"started": session["session_id"]}, durable=True)

    def sent(self, message: MqttMessage) -> None:
        """Note that a final is about to leave: from then on it may have arrived."""
        if message.final_of is not None:
            self._write({"final": message.final_of, "is": SENT}, durable=True)

    def settled(self, message: MqttMessage) -> None:
        """Note that a message was confirmed, or given up and reported."""
        if message.final_of is not None:
            self._write({"final": message.final_of, "is": SETTLED})
        elif (session := self._session_of(message)) and session["event_type"] == "ended":
            self._write({"ended": session["session_id"]})
        elif message.topic == self._topics.path(Leaf.ERROR):
            # What a killed process left is settled by its report.
            reported = str(json.loads(message.payload)["session_id"])
            for kind, known in (("final", self._open.finals), ("command", self._open.commands)):
                if known.get(reported, SETTLED) != SETTLED:
                    self._write({kind: reported, "is": SETTLED})

    def command(self, session_id: str, how: str) -> None:
        """Note how far a command of the satellite has got."""
        self._write({"command": session_id, "is": how}, durable=how != SETTLED)

    def close(self) -> None:
        """End the file: it goes when nothing is open, else the next process settles it."""
        with self._lock:
            if self._descriptor is None or self._path is None:
                return
            if self._open.is_empty:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / PATTERN.replace("*", secrets.token_hex(4))
        # Exclusive: a file that is there already belongs to a process that may be alive.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor, self._path = os.open(path, flags, 0o600), path
        try_lock(self._descriptor)  # the file is new: nobody else can hold it
        _append(self._descriptor, {"root": self._topics.root}, durable=True)

    def _take_over(self, path: Path, left: Unsettled) -> None:
        """Read a dead process's file and remove it; one of a living process is left alone."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # gone by now, or a link or something else that is not ours
        try:
            if not try_lock(descriptor):
                raise OSError("its process is alive")
            entries = list(_entries(os.read(descriptor, MAX_BYTES)))
            if not entries or entries[0].get("root") != self._topics.root:
                return  # another node's: its own next process settles it
            found = Unsettled()
            for entry in entries[1:]:
                found.read(entry)
            # Ours from now on, so that a second kill loses nothing either.
            self._adopt(found)
            left.add(found)
            path.unlink(missing_ok=True)
        except (OSError, KeyError):
            log.info("journal.left_alone", file=path.name)
        finally:
            os.close(descriptor)

    def _adopt(self, found: Unsettled) -> None:
        for session_id in found.sessions:
            self._write({"started": session_id}, durable=True)
        for session_id, how in found.finals.items():
            self._write({"final": session_id, "is": how}, durable=True)
        for session_id, how in found.commands.items():
            self.command(session_id, how)

    def _session_of(self, message: MqttMessage) -> dict[str, Any] | None:
        if message.topic != self._topics.path(Leaf.SESSION):
            return None
        payload: dict[str, Any] = json.loads(message.payload)
        return payload

    def _write(self, entry: dict[str, str], *, durable: bool = False) -> None:
        with self._lock:
            if self._descriptor is None:
                return
            self._open.read(entry)
            try:
                _append(self._descriptor, entry, durable=durable)
                if self._open.is_empty and os.fstat(self._descriptor).st_size > COMPACT_BYTES:
                    self._open = Unsettled()
                    os.ftruncate(self._descriptor, 0)
                    _append(self._descriptor, {"root": self._topics.root})
            except OSError as error:  # a full disk: what is said now is said all the same
                log.warning("journal.not_written", reason=str(error))


def _append(descriptor: int, entry: dict[str, str], *, durable: bool = False) -> None:
    os.write(descriptor, json.dumps(entry).encode() + b"\n")
    # What settles something need not outlast a power cut: then it is reported once too often.
    if durable:
        os.fsync(descriptor)


def _entries(content: bytes) -> Iterator[dict[str, Any]]:
    """Read the lines of a journal; the last one may be cut short."""
    for line in content.splitlines():
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _command_lost(session_id: str) -> ErrorRaised:
    return ErrorRaised(
        "session.command_lost",
        "the daemon was killed in the middle of a command",
        "say it again",
        session_id,
    )


def _command_not_run(session_id: str, *, may_have_run: bool) -> ErrorRaised:
    if may_have_run:
        return unconfirmed(session_id, "the daemon was killed")
    return not_run(session_id, "the daemon was killed before Home Assistant asked for it")


def _final_lost(session_id: str) -> ErrorRaised:
    return ErrorRaised(
        "mqtt.final_lost",
        f"1 transcript was not delivered: the daemon was killed before (session {session_id})",
        "say it again",
        session_id,
    )


def _final_unconfirmed(session_id: str) -> ErrorRaised:
    return ErrorRaised(
        "mqtt.final_unconfirmed",
        "1 transcript may have arrived, or not: the daemon was killed before the broker confirmed "
        f"it (session {session_id})",
        "look whether it was done before you say it again",
        session_id,
    )
