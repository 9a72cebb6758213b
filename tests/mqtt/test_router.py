"""What arrives: who hears it, and what is said about bad commands."""

from __future__ import annotations

from datetime import UTC, datetime

from voice_daemon._lib.rate import TokenBucket
from voice_daemon.mqtt.commands import Command
from voice_daemon.mqtt.router import CALLS_BURST, CALLS_PER_S, WORDS_BURST, CommandRouter, Listener
from voice_daemon.mqtt.topics import Topics

TOPICS = Topics("voice", "den")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Heard:
    """A router, and what it passed on."""

    def __init__(self, *filters: str) -> None:
        self.commands: list[Command] = []
        self.news: list[tuple[str, bytes]] = []
        self.now_s = 0.0
        self.router = CommandRouter(
            TOPICS,
            self.commands.append,
            listeners=[Listener(name, lambda *news: self.news.append(news)) for name in filters],
            clock_s=lambda: self.now_s,
        )

    def receive(self, topic: str, payload: bytes, *, retain: bool = False) -> list[str]:
        """Receive a message; give the topics of what is said about it."""
        replies = self.router.receive(topic, payload, retain=retain, at=AT)
        return [reply.topic for reply in replies]


def test_a_listener_hears_its_filter_and_nothing_else() -> None:
    heard = Heard("homeassistant/status", "voice/+/wake")
    heard.receive("homeassistant/status", b"online")
    heard.receive("voice/attic/wake", b"{}", retain=True)
    heard.receive("voice/den/cmd/listen", b"")
    assert heard.news == [("homeassistant/status", b"online"), ("voice/attic/wake", b"{}")]
    assert [command.verb for command in heard.commands] == ["listen"]
    assert heard.router.ignored == 0


def test_a_retained_command_is_ignored_whatever_it_holds() -> None:
    heard = Heard()
    assert heard.receive("voice/den/cmd/listen", b"", retain=True) == []
    assert heard.receive("voice/den/mute/set", b"\xff", retain=True) == []
    assert heard.commands == []
    assert heard.router.ignored == 2


def test_the_filters_are_those_of_the_commands_and_of_the_listeners() -> None:
    heard = Heard("homeassistant/status")
    assert heard.router.filters == (*TOPICS.command_filters, "homeassistant/status")


def test_a_flood_of_calls_is_carried_out_in_part_and_a_setting_always() -> None:
    heard = Heard()
    for _ in range(500):
        heard.receive("voice/den/cmd/listen", b"")
        heard.receive("voice/den/mute/set", b"ON")
    verbs = [command.verb for command in heard.commands]
    assert verbs.count("mute") == 500
    assert verbs.count("listen") == CALLS_BURST
    assert heard.router.refused == 500 - CALLS_BURST
    heard.now_s += 1.0
    for _ in range(500):
        heard.receive("voice/den/cmd/listen", b"")
    assert len(heard.commands) == 500 + CALLS_BURST + CALLS_PER_S


def test_a_flood_of_nonsense_is_complained_about_in_part_and_counted_in_full() -> None:
    heard = Heard()
    said = [topic for _ in range(500) for topic in heard.receive("voice/den/cmd/listen", b"{")]
    assert said.count("voice/den/error") == said.count("voice/den/response/listen") == WORDS_BURST
    assert heard.router.refused == 500
    heard.now_s += 60.0
    assert heard.receive("voice/den/cmd/listen", b"{") == [
        *("voice/den/error", "voice/den/response/listen")
    ]


def test_a_clock_that_stands_still_or_goes_back_earns_nothing() -> None:
    now_s = [10.0]
    throttle = TokenBucket(burst=1, per_s=1, clock_s=lambda: now_s[0])
    assert throttle.allows()
    now_s[0] = 5.0
    assert not throttle.allows()
    now_s[0] = 6.5
    assert throttle.allows()
