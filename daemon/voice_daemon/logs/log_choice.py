"""Which records of a log are wanted: by level, or those of one session.

Pure. Knows nothing of files or of how a record is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voice_daemon.logs.records import Record

LAST: Final = "last"
"""Asks for the newest session."""


@dataclass(frozen=True, slots=True)
class Choice:
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
