"""The daemon's health, put together from its parts: the `status` reply and the `health` message.

Reads only what other threads may read. Decides nothing, and knows nothing of sockets or topics.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from voice_daemon import __version__
from voice_daemon._lib.memory import resident_mb
from voice_daemon.events import SAMPLE_RATE, samples_to_ms
from voice_daemon.mqtt.messages import Health
from voice_daemon.runtime.moment import Moment
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    Problem,
    SessionStatus,
    Status,
    WakeStatus,
)

if TYPE_CHECKING:
    from pathlib import Path

    from voice_daemon.audio.input import Intake
    from voice_daemon.config import Settings
    from voice_daemon.mqtt.client import MqttClient
    from voice_daemon.mqtt.publisher import Announcer, Picture
    from voice_daemon.mqtt.status import MqttStatus
    from voice_daemon.runtime.live_view import Glance
    from voice_daemon.runtime.worker import Worker


_AUDIO_IS_KEPT: Final = Problem(
    "privacy",
    "the sound of every session is kept on disk",
    "set privacy.save_audio = false and restart to end that",
)


@dataclass(frozen=True, slots=True)
class Reporter:
    """The parts that are asked, and what does not change while the daemon runs."""

    settings: Settings
    announcer: Announcer
    intake: Intake
    worker: Worker
    mqtt: MqttClient
    started_s: float
    """On the monotonic clock."""
    log_file: Path | None
    glance: Glance

    def status(self) -> Status:
        """Take the picture that `daemonctl status` shows."""
        picture = self.announcer.picture()
        broker = self.mqtt.status()
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self.started_s, 1),
            mic=self._mic(),
            wake=self._wake(picture),
            asr=AsrStatus(
                model=picture.model,
                warm=self.worker.engine_ready,
                rtf_p95=picture.totals.rtf_p95,
                sessions=picture.totals.sessions,
                finals=picture.totals.finals,
                no_speech=picture.totals.no_speech,
                failed=picture.totals.failed,
            ),
            mqtt=_broker(broker),
            session=SessionStatus(
                state=picture.state.value,
                muted=picture.muted,
                session_id=picture.session_id,
                last_end_reason=picture.totals.last_end_reason,
            ),
            problems=(*picture.problems.values(), *_broker_problems(broker)),
            log_file=str(self.log_file or ""),
            notes=(_AUDIO_IS_KEPT,) if self.settings.privacy.save_audio else (),
        )

    def moment(self) -> Moment:
        """Take the picture of this instant that `daemonctl status --watch` draws."""
        picture = self.announcer.picture()
        scores, words = self.glance.look()
        return Moment(
            state=picture.state.value,
            level_dbfs=self.intake.level_dbfs,
            wake_scores=scores,
            wake_threshold=picture.wake_threshold,
            session_id=picture.session_id,
            words=words,
        )

    def health(self) -> Health:
        """Take the picture that is published on `health`."""
        picture = self.announcer.picture()
        broker = self.mqtt.status()
        mic_problems = [p.message for p in picture.problems.values() if p.part == "mic"]
        return Health(
            uptime_s=round(time.monotonic() - self.started_s),
            wakes=picture.totals.wakes,
            sessions=picture.totals.sessions,
            finals=picture.totals.finals,
            no_speech=picture.totals.no_speech,
            failed=picture.totals.failed,
            stood_down=self.worker.counters.stood_down,
            finals_lost=broker.finals_lost,
            dropped_audio_ms=samples_to_ms(self.worker.counters.lost_samples),
            mqtt_reconnects=broker.reconnects,
            mqtt_dropped=broker.dropped + broker.expired,
            rtf=picture.totals.rtf_p95,
            lag_ms=picture.totals.last_lag_ms,
            level_dbfs=self.intake.level_dbfs,
            memory_mb=resident_mb(),
            threads=threading.active_count(),
            mic_problem=mic_problems[0] if mic_problems else None,
        )

    def _mic(self) -> MicStatus:
        source = self.intake.source
        age_ms = self.intake.last_block_age_ms
        return MicStatus(
            device=self.intake.device or self.settings.audio.device,
            sample_rate_hz=SAMPLE_RATE,
            level_dbfs=self.intake.level_dbfs,
            last_block_age_ms=age_ms,
            reopens=self.intake.reopens,
            dropped_samples=source.dropped_samples if source else 0,
        )

    def _wake(self, picture: Picture) -> WakeStatus:
        if not self.worker.engine_ready:
            self_test = "pending"
        else:
            self_test = "fail" if "wake.self_test" in picture.problems else "pass"
        return WakeStatus(
            wake_words=picture.wake_words,
            threshold=picture.wake_threshold,
            self_test=self_test,
            last_at=picture.last_wake_at,
            last_score=picture.totals.last_score,
            detections=picture.totals.wakes,
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
