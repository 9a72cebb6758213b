"""The daemon's status as one frozen value, and its JSON.

`daemonctl status` answers at once because nothing here loads a model's libraries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, TypeVar

from voice_daemon.errors import ControlError, Problem

SCHEMA: Final = 1
"""Version of the JSON that `Status.to_dict` writes."""

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class MicStatus:
    """The audio input."""

    device: str
    sample_rate_hz: int
    channels: int = 1
    level_dbfs: float = -math.inf
    """RMS of the newest block; minus infinity is digital silence."""
    last_block_age_ms: int | None = None
    """None until the first block came."""
    reopens: int = 0
    dropped_samples: int = 0
    permission: str = ""
    """macOS' `authorized`, `denied`, `restricted` or `not_determined`; empty elsewhere."""


@dataclass(frozen=True, slots=True)
class WakeStatus:
    """The wake-word detector."""

    wake_words: tuple[str, ...]
    threshold: float
    self_test: str
    """`pass`, `fail` or `pending`; a detector that has not passed is not listening."""
    last_at: str | None = None
    """RFC 3339 UTC time of the newest detection."""
    last_score: float | None = None
    detections: int = 0


@dataclass(frozen=True, slots=True)
class AsrStatus:
    """The recogniser."""

    model: str
    warm: bool
    """True once the model is loaded and has run."""
    rtf_p95: float | None = None
    """95th percentile of compute time by audio time; None before the first session."""
    sessions: int = 0
    finals: int = 0
    no_speech: int = 0
    failed: int = 0
    """Sessions that ended in `overload`, `mic_lost` or `error`."""
    self_test: str = "pending"
    """`pass` once it has read a recording here, `skipped` for one that did not and need not, being
    for another language than the recording's; one that fails is not used."""


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The connection to the MQTT broker."""

    url: str
    """`mqtt://host:port` or `mqtts://host:port`; never with credentials."""
    client_id: str
    connected: bool
    protocol: str = ""
    """`5` or `3.1.1`; empty before the first connection."""
    queued: int = 0
    dropped: int = 0
    expired: int = 0
    reconnects: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class VocabularyStatus:
    """The home's names: how many, never which."""

    state: str = "none"
    """`none`, `loading`, `ready` or `unused`."""
    names: int = 0
    sentences: int = 0
    left_out: int = 0
    language: str | None = None
    source: str | None = None
    why: str | None = None
    """The problem that keeps them from being used."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """The session machine."""

    state: str
    """An `events.State` value."""
    muted: bool
    session_id: str | None = None
    last_end_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One consistent snapshot of the running daemon."""

    version: str
    pid: int
    uptime_s: float
    mic: MicStatus
    wake: WakeStatus
    asr: AsrStatus
    mqtt: BrokerStatus
    session: SessionStatus
    problems: tuple[Problem, ...] = ()
    log_file: str = ""
    notes: tuple[Problem, ...] = ()
    """Notes for the owner that are no fault."""
    vocabulary: VocabularyStatus = VocabularyStatus()

    @property
    def healthy(self) -> bool:
        """True when nothing needs the owner's attention."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values. Digital silence is `null`: JSON has no minus infinity."""
        data = asdict(self)
        if not math.isfinite(self.mic.level_dbfs):
            data["mic"]["level_dbfs"] = None
        return {"schema": SCHEMA, "running": True, "healthy": self.healthy, **data}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Status:
        """Read what `to_dict` wrote; keys that a newer daemon added are ignored.

        Raises `ControlError` for another schema and for missing or malformed parts.
        """
        if data.get("schema") != SCHEMA:
            raise _unreadable(f"schema {data.get('schema')!r}, this command reads {SCHEMA}")
        try:
            mic = dict(data["mic"])
            level_dbfs = mic.get("level_dbfs")
            mic["level_dbfs"] = -math.inf if level_dbfs is None else float(level_dbfs)
            wake = dict(data["wake"])
            wake["wake_words"] = tuple(wake["wake_words"])
            parts = {
                "mic": part_of(MicStatus, mic),
                "wake": part_of(WakeStatus, wake),
                "asr": part_of(AsrStatus, data["asr"]),
                "mqtt": part_of(BrokerStatus, data["mqtt"]),
                "session": part_of(SessionStatus, data["session"]),
                "vocabulary": part_of(VocabularyStatus, data.get("vocabulary", {})),
                "problems": tuple(part_of(Problem, item) for item in data["problems"]),
                "notes": tuple(part_of(Problem, item) for item in data.get("notes", ())),
            }
            return part_of(cls, {**data, **parts})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}") from error


def part_of(kind: type[_Part], data: Mapping[str, Any]) -> _Part:
    """Build `kind` from the keys that it knows; a missing required one is a TypeError."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type] # dataclasses only
    return kind(**{key: value for key, value in data.items() if key in known})


def _unreadable(detail: str) -> ControlError:
    return ControlError(
        "control.unreadable_status",
        f"the daemon's status cannot be read: {detail}",
        remedy="restart the daemon, so that it and this command are the same version",
    )
