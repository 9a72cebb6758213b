"""One instant of the running daemon as a value: what `daemonctl status --watch` draws.

A leaf: it knows its own JSON, and nothing of who measures or who draws.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Words:
    """The words of the newest session, as far as they go."""

    session_id: str
    text: str = ""
    draft: str = ""
    is_final: bool = False
    lag_ms: int | None = None
    """How far behind the sound the newest partial was; None before the first."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What changes several times a second."""

    state: str
    """An `events.State` value."""
    level_dbfs: float
    """RMS of the newest block; minus infinity is digital silence."""
    wake_scores: Mapping[str, float]
    """The highest of the last second, 0..1, by wake word."""
    wake_threshold: float
    session_id: str | None
    words: Words | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values. Digital silence is `null`: JSON has no minus infinity."""
        return {
            "state": self.state,
            "level_dbfs": self.level_dbfs if math.isfinite(self.level_dbfs) else None,
            "wake_scores": {word: round(score, 3) for word, score in self.wake_scores.items()},
            "wake_threshold": self.wake_threshold,
            "session_id": self.session_id,
            "words": None if self.words is None else asdict(self.words),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Moment:
        """Read what `to_dict` wrote; raises KeyError, TypeError or ValueError for anything else."""
        level, words = data["level_dbfs"], data["words"]
        known = Words.__dataclass_fields__
        return cls(
            state=str(data["state"]),
            level_dbfs=-math.inf if level is None else float(level),
            wake_scores={str(word): float(s) for word, s in data["wake_scores"].items()},
            wake_threshold=float(data["wake_threshold"]),
            session_id=data["session_id"],
            words=None
            if words is None
            else Words(**{key: value for key, value in words.items() if key in known}),
        )
