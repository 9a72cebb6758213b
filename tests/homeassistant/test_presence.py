"""Commands that Home Assistant may have missed, by what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from voice_daemon.events import ErrorRaised
from voice_daemon.homeassistant.announce import ENDING_S, Presence


@dataclass
class Hub:
    """Home Assistant's words and the commands on their way to it, with a clock."""

    now_s: float = 1000.0
    reports: list[ErrorRaised] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.presence = Presence(self.reports.append, clock_s=lambda: self.now_s)

    def say(self, word: str) -> None:
        self.presence.on_status("homeassistant/status", word.encode())

    @property
    def missed(self) -> list[str | None]:
        return [report.session_id for report in self.reports]


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_while_it_is_there_nothing_is_missed(hub: Hub) -> None:
    hub.presence.expect("unknown yet")
    hub.say("online")
    hub.presence.expect("s1")
    hub.now_s += ENDING_S
    hub.say("offline")
    hub.say("online")
    hub.presence.expect("s2")
    assert hub.missed == []


def test_what_is_said_while_it_is_away_or_goes_is_reported_once(hub: Hub) -> None:
    hub.presence.expect("on the way")
    hub.say("offline")
    hub.say("offline")
    hub.presence.expect("later")
    assert hub.missed == ["on the way", "later"]
    hub.presence.forget()  # a new connection: `online` may have been said before it
    hub.presence.expect("after that")
    assert len(hub.reports) == 2
