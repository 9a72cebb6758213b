"""The daemon's status as one frozen value, and the collector that takes it.

`daemonctl status` shows it, the control socket carries it, and MQTT's `health` is a part of it.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from voice_daemon import __version__
from voice_daemon._lib.process import resident_mb
from voice_daemon.asr.load import held_memory_bytes
from voice_daemon.audio.input import AudioInput
from voice_daemon.config import Settings
from voice_daemon.errors import ControlError, Problem
from voice_daemon.events import SAMPLE_RATE, samples_to_ms
from voice_daemon.mqtt.client import MqttClient, MqttStatus
from voice_daemon.mqtt.messages import Health
from voice_daemon.mqtt.publisher import Publisher, Snapshot
from voice_daemon.runtime.live_view import LiveSnapshot, LiveView
from voice_daemon.runtime.vocabulary import VocabularyKeeper, VocabularySummary
from voice_daemon.runtime.worker import Worker

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
    """`pass` once it has read a recording here; one that fails is not used."""


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
    """What keeps them from being used."""


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
    """What the owner should know of, and that is no fault."""
    vocabulary: VocabularyStatus = VocabularyStatus()

    @property
    def healthy(self) -> bool:
        """True when nothing needs the owner's attention."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As JSON values. Digital silence is `null`: JSON has no minus infinity."""
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
                "mic": _part(MicStatus, mic),
                "wake": _part(WakeStatus, wake),
                "asr": _part(AsrStatus, data["asr"]),
                "mqtt": _part(BrokerStatus, data["mqtt"]),
                "session": _part(SessionStatus, data["session"]),
                "vocabulary": _part(VocabularyStatus, data.get("vocabulary", {})),
                "problems": tuple(_part(Problem, item) for item in data["problems"]),
                "notes": tuple(_part(Problem, item) for item in data.get("notes", ())),
            }
            return _part(cls, {**data, **parts})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}") from error


def _part(kind: type[_Part], data: Mapping[str, Any]) -> _Part:
    """Build `kind` from the keys that it knows; a missing required one is a TypeError."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type] # dataclasses only
    return kind(**{key: value for key, value in data.items() if key in known})


def _unreadable(detail: str) -> ControlError:
    return ControlError(
        "control.unreadable_status",
        f"the daemon's status cannot be read: {detail}",
        remedy="restart the daemon, so that it and this command are the same version",
    )


_AUDIO_IS_KEPT: Final = Problem(
    "privacy",
    "the sound of every session is kept on disk",
    "set privacy.save_audio = false and restart to end that",
)


@dataclass(frozen=True, slots=True)
class StatusCollector:
    """The parts that are asked, and what does not change while the daemon runs."""

    settings: Settings
    publisher: Publisher
    audio_input: AudioInput
    worker: Worker
    mqtt: MqttClient
    started_s: float
    """On the monotonic clock."""
    log_file: Path | None
    live_view: LiveView
    vocabulary: VocabularyKeeper

    def status(self) -> Status:
        """Take the snapshot that `daemonctl status` shows."""
        now = self.publisher.snapshot()
        broker = self.mqtt.status()
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self.started_s, 1),
            mic=self._mic(),
            wake=self._wake(now),
            asr=AsrStatus(
                model=now.model,
                warm=self.worker.engine_ready,
                rtf_p95=now.totals.rtf_p95,
                sessions=now.totals.sessions,
                finals=now.totals.finals,
                no_speech=now.totals.no_speech,
                failed=now.totals.failed,
                self_test="pass" if self.worker.engine_ready else "pending",
            ),
            mqtt=_broker(broker),
            session=SessionStatus(
                state=now.state.value,
                muted=now.muted,
                session_id=now.session_id,
                last_end_reason=now.totals.last_end_reason,
            ),
            problems=(*now.problems.values(), *_broker_problems(broker)),
            log_file=str(self.log_file or ""),
            notes=(_AUDIO_IS_KEPT,) if self.settings.privacy.save_audio else (),
            vocabulary=_vocabulary(self.vocabulary.summary),
        )

    def live_snapshot(self) -> LiveSnapshot:
        """Take the snapshot that `daemonctl status --watch` draws."""
        now = self.publisher.snapshot()
        scores, words = self.live_view.snapshot()
        return LiveSnapshot(
            state=now.state.value,
            level_dbfs=self.audio_input.level_dbfs,
            wake_scores=scores,
            wake_threshold=now.wake_threshold,
            session_id=now.session_id,
            words=words,
        )

    def health(self) -> Health:
        """Take the snapshot that is published on `health`."""
        now = self.publisher.snapshot()
        broker = self.mqtt.status()
        mic_problems = [p.message for p in now.problems.values() if p.part == "mic"]
        return Health(
            uptime_s=round(time.monotonic() - self.started_s),
            wakes=now.totals.wakes,
            sessions=now.totals.sessions,
            finals=now.totals.finals,
            no_speech=now.totals.no_speech,
            failed=now.totals.failed,
            stood_down=now.totals.stood_down,
            finals_lost=broker.finals_lost,
            finals_unconfirmed=broker.finals_unconfirmed,
            dropped_audio_ms=samples_to_ms(self.worker.lost_samples),
            mqtt_reconnects=broker.reconnects,
            mqtt_dropped=broker.dropped + broker.expired,
            rtf=now.totals.rtf_p95,
            lag_ms=now.totals.last_lag_ms,
            level_dbfs=self.audio_input.level_dbfs,
            memory_mb=resident_mb(),
            model_memory_mb=held_memory_bytes() // 2**20,
            threads=threading.active_count(),
            mic_problem=mic_problems[0] if mic_problems else None,
        )

    def _mic(self) -> MicStatus:
        source = self.audio_input.source
        age_ms = self.audio_input.last_block_age_ms
        authorization = self.worker.microphone.authorization
        return MicStatus(
            device=self.audio_input.device or self.settings.audio.device,
            sample_rate_hz=SAMPLE_RATE,
            level_dbfs=self.audio_input.level_dbfs,
            last_block_age_ms=age_ms,
            reopens=self.audio_input.reopens,
            dropped_samples=source.dropped_samples if source else 0,
            permission=authorization.name.lower() if authorization else "",
        )

    def _wake(self, now: Snapshot) -> WakeStatus:
        if not self.worker.engine_ready:
            self_test = "pending"
        else:
            self_test = "fail" if any(p.part == "wake" for p in now.problems.values()) else "pass"
        return WakeStatus(
            wake_words=now.wake_words,
            threshold=now.wake_threshold,
            self_test=self_test,
            last_at=now.last_wake_at,
            last_score=now.totals.last_score,
            detections=now.totals.wakes,
        )


def _vocabulary(summary: VocabularySummary) -> VocabularyStatus:
    return VocabularyStatus(
        state=summary.state.value,
        names=summary.names,
        sentences=summary.sentences,
        left_out=summary.left_out,
        language=summary.language or None,
        source=summary.source or None,
        why=summary.why or None,
    )


def _broker(broker: MqttStatus) -> BrokerStatus:
    return BrokerStatus(
        url=broker.url,
        client_id=broker.client_id,
        connected=broker.connected,
        protocol=broker.protocol,
        queued=broker.queued,
        dropped=broker.dropped,
        expired=broker.expired,
        reconnects=broker.reconnects,
        last_error=broker.last_error.message if broker.last_error else "",
    )


def _broker_problems(broker: MqttStatus) -> tuple[Problem, ...]:
    if broker.last_error is None:
        return ()
    return (Problem("mqtt", broker.last_error.message, broker.last_error.remedy),)
