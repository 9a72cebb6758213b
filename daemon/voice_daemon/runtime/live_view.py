"""The live view of a running daemon: wake scores, the words and their lag.

Words are kept only while somebody watches, and leave over the control socket, which is its
owner's alone; never in a log. Callable from any thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from voice_daemon.events import Event, SessionStarted, TranscriptFinal, TranscriptPartial
from voice_daemon.runtime.status import part_of


@dataclass(frozen=True, slots=True)
class LiveTranscript:
    """The words of the newest session, as far as they go."""

    session_id: str
    text: str = ""
    draft: str = ""
    is_final: bool = False
    lag_ms: int | None = None
    """Lag of the newest partial behind the sound; None before the first."""


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """The values that change several times a second."""

    state: str
    """An `events.State` value."""
    level_dbfs: float
    """RMS of the newest block; minus infinity is digital silence."""
    wake_scores: Mapping[str, float]
    """The highest of the last second, 0..1, by wake word."""
    wake_threshold: float
    session_id: str | None
    words: LiveTranscript | None

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values. Digital silence is `null`: JSON has no minus infinity."""
        return {
            "state": self.state,
            "level_dbfs": self.level_dbfs if math.isfinite(self.level_dbfs) else None,
            "wake_scores": {word: round(score, 3) for word, score in self.wake_scores.items()},
            "wake_threshold": self.wake_threshold,
            "session_id": self.session_id,
            "words": None if self.words is None else asdict(self.words),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LiveSnapshot:
        """Read what `to_dict` wrote; raises KeyError, TypeError or ValueError for anything else."""
        level, words = data["level_dbfs"], data["words"]
        return cls(
            state=str(data["state"]),
            level_dbfs=-math.inf if level is None else float(level),
            wake_scores={str(word): float(s) for word, s in data["wake_scores"].items()},
            wake_threshold=float(data["wake_threshold"]),
            session_id=data["session_id"],
            words=None if words is None else part_of(LiveTranscript, words),
        )


WATCHED_S: Final = 5.0
"""A watcher that has not polled for this long is gone."""
PEAK_S: Final = 1.0
"""A wake word's score is high for an instant: the highest of this long is shown."""


class LiveView:
    """Remembers the last second, and the newest session while it is watched."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._polled_s = -WATCHED_S
        self._scores: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=64)
        self._words: LiveTranscript | None = None

    def on_scores(self, scores: Mapping[str, float]) -> None:
        """Take the wake words' scores after a block."""
        with self._lock:
            self._scores.append((self._clock_s(), dict(scores)))

    def on_event(self, event: Event) -> None:
        """Take an event; what was said is kept only while somebody watches."""
        with self._lock:
            if not self._is_watched:
                self._words = None
                return
            match event:
                case SessionStarted():
                    self._words = LiveTranscript(event.session_id)
                case TranscriptPartial():
                    self._words = LiveTranscript(
                        event.session_id, event.text, event.draft, lag_ms=event.lag_ms
                    )
                case TranscriptFinal():
                    lag_ms = self._words.lag_ms if self._words else None
                    self._words = LiveTranscript(
                        event.session_id, event.text, is_final=True, lag_ms=lag_ms
                    )
                case _:
                    pass

    def snapshot(self) -> tuple[Mapping[str, float], LiveTranscript | None]:
        """Return the highest recent score of each wake word, and the words."""
        with self._lock:
            if not self._is_watched:
                self._words = None
            now_s = self._polled_s = self._clock_s()
            peaks: dict[str, float] = {}
            for at_s, scores in self._scores:
                for word, score in scores.items():
                    recent = score if now_s - at_s <= PEAK_S else 0.0
                    peaks[word] = max(peaks.get(word, 0.0), recent)
            return peaks, self._words

    @property
    def _is_watched(self) -> bool:
        return self._clock_s() - self._polled_s < WATCHED_S
