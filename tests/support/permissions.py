"""macOS' word on the microphone, as a test says it."""

from __future__ import annotations

from dataclasses import dataclass

from voice_daemon.audio.authorization import Authorization


@dataclass
class ScriptedPermission:
    """Gives one answer after another, and then the last one for ever."""

    statuses: list[Authorization]
    requests: int = 0

    def status(self) -> Authorization:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def request(self) -> None:
        self.requests += 1
