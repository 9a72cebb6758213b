"""What a daemon that runs says of itself."""

from __future__ import annotations

from voice_daemon import __version__
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
