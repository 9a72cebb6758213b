"""What a daemon that runs says of itself."""

from __future__ import annotations

from voice_daemon import __version__
from voice_daemon.errors import Problem
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)

RUNNING = Status(
    version=__version__,
    pid=812,
    uptime_s=61.0,
    mic=MicStatus("Anker", 16_000, level_dbfs=-52.0, last_block_age_ms=10),
    wake=WakeStatus(("hey_jarvis",), 0.5, "pass"),
    asr=AsrStatus("tiny.en", warm=True),
    mqtt=BrokerStatus("mqtt://127.0.0.1:1883", "c", connected=True),
    session=SessionStatus("idle", muted=False),
)

DEGRADED = Status(
    version="0.3.1",
    pid=812,
    uptime_s=93_800.0,
    mic=MicStatus("Anker PowerConf", 16_000, last_block_age_ms=40, reopens=1),
    wake=WakeStatus(("hey_jarvis",), 0.5, "pass", last_at="2026-03-01T18:02:11Z", last_score=0.94),
    asr=AsrStatus("small", warm=True, rtf_p95=0.21, sessions=12, no_speech=2),
    mqtt=BrokerStatus("mqtts://ha:8883", "mini", connected=True, protocol="5"),
    session=SessionStatus("idle", muted=False),
    problems=(
        Problem("mic", "8.2 s of digital silence", "microphone permission? `daemonctl doctor`"),
    ),
    log_file="~/Library/Logs/voice-daemon/voice-daemon.jsonl",
)
