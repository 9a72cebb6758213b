"""One line of the JSON log as a value: when, how important, what, and its keys.

A line that is no record of ours (a torn one, another program's) stays readable as text.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from types import MappingProxyType
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
UNREADABLE: Final = "log.unreadable"
"""The event of a line that is no record."""


@dataclass(frozen=True, slots=True)
class Record:
    """A log event. `fields` has what is not named here."""

    at: datetime | None
    """UTC; None where the line does not say."""
    level: str
    event: str
    fields: Mapping[str, Any]

    @property
    def session_id(self) -> str | None:
        """The session that it is about."""
        session_id = self.fields.get("session_id")
        return session_id if isinstance(session_id, str) else None

    def is_at_least(self, level: str) -> bool:
        """Tell whether it is as important as `level`; a line that is no record always is."""
        return self.level not in LEVELS or LEVELS.index(self.level) >= LEVELS.index(level)

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, `at` as it was written."""
        at = None if self.at is None else self.at.isoformat().replace("+00:00", "Z")
        return {"at": at, "level": self.level, "event": self.event, **self.fields}


def read_record(line: str) -> Record | None:
    """Read a line; None for an empty one."""
    if not line.strip("\x00 \t\r\n"):  # zeros: what a power cut leaves of a file's end
        return None
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return _unreadable(line)
    if not isinstance(document, dict) or not isinstance(document.get("event"), str):
        return _unreadable(line)
    fields = {key: document[key] for key in document if key not in {"at", "level", "event"}}
    level = document.get("level")
    return Record(
        at=_time(document.get("at")),
        level=level if isinstance(level, str) else "info",
        event=document["event"],
        fields=MappingProxyType(fields),
    )


def _unreadable(line: str) -> Record:
    return Record(None, "unreadable", UNREADABLE, MappingProxyType({"line": line.strip("\x00\r")}))


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return at if MINYEAR < at.year < MAXYEAR else None  # others have no local time everywhere


LAST: Final = "last"
"""Asks for the newest session."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """`session_id` None: of no session in particular."""

    level: str
    session_id: str | None = None

    def takes(self, record: Record) -> bool:
        """Tell whether a record is wanted. With a session, what went wrong meanwhile is too."""
        if not record.is_at_least(self.level):
            return False
        if self.session_id is None or record.session_id == self.session_id:
            return True
        return record.session_id is None and record.is_at_least("warning")


def find_session(records: Iterable[Record], wanted: str) -> tuple[str, list[Record]] | None:
    """Find a session by its id, by the beginning of it, or the newest; None if there is none.

    Gives its id and every record from its first to its last; of several that begin alike, the
    newest.
    """
    kept: list[Record] = []
    spans: dict[str, tuple[int, int]] = {}
    for record in records:
        kept.append(record)
        if record.session_id:
            first, _ = spans.get(record.session_id, (len(kept) - 1, 0))
            spans[record.session_id] = first, len(kept)
    matching = [i for i in spans if wanted == LAST or i.startswith(wanted)]
    if not matching:
        return None
    session_id = wanted if wanted in spans else max(matching, key=lambda i: spans[i][0])
    first, end = spans[session_id]
    return session_id, kept[first:end]
