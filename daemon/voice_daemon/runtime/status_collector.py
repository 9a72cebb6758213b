"""The collector of the status: what `daemonctl status` shows and MQTT's `health`."""

import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from voice_daemon import __version__
from voice_daemon._lib.process import resident_mb
from voice_daemon.asr.load import held_memory_bytes
from voice_daemon.audio.input import AudioInput
from voice_daemon.config import Settings
from voice_daemon.errors import Problem
from voice_daemon.events import SAMPLE_RATE, samples_to_ms
from voice_daemon.mqtt.client import MqttClient, MqttStatus
from voice_daemon.mqtt.messages import Health
from voice_daemon.mqtt.publisher import Publisher, Snapshot
from voice_daemon.runtime.live_view import LiveSnapshot, LiveView
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    VocabularyStatus,
    WakeStatus,
    part_of,
)
from voice_daemon.runtime.vocabulary_keeper import VocabularyKeeper
from voice_daemon.runtime.worker import Worker
from voice_daemon.sound.output import Loudspeaker

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
    speaker: Loudspeaker | None = None

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
                self_test=self.worker.asr_self_test,
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
            notes=self._notes(),
            vocabulary=part_of(VocabularyStatus, asdict(self.vocabulary.summary)),
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
        mic_problem = next((p for p in now.problems.values() if p.part == "mic"), None)
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
            mic_problem=mic_problem.message if mic_problem else None,
            mic_remedy=mic_problem.remedy if mic_problem else None,
        )

    def _notes(self) -> tuple[Problem, ...]:
        """List what the owner should know; without an output everything else works."""
        kept = (_AUDIO_IS_KEPT,) if self.settings.privacy.save_audio else ()
        silent = self.speaker.problem if self.speaker is not None else None
        return kept if silent is None else (*kept, silent)

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
