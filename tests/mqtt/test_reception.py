"""What arrives: who hears it, and what is said about bad commands."""

from __future__ import annotations

from datetime import UTC, datetime

from voice_daemon.mqtt.messages import Command, Topics
from voice_daemon.mqtt.reception import Reception

TOPICS = Topics("voice", "den")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Heard:
    """A reception, and what it passed on."""

    def __init__(self, *filters: str) -> None:
        self.commands: list[Command] = []
        self.news: list[tuple[str, bytes]] = []
        self.reception = Reception(
            TOPICS,
            self.commands.append,
            listeners={name: lambda *news: self.news.append(news) for name in filters},
        )

    def receive(self, topic: str, payload: bytes, *, retain: bool = False) -> list[str]:
        """Receive a message; give the topics of what is said about it."""
        replies = self.reception.receive(topic, payload, retain=retain, at=AT)
        return [reply.topic for reply in replies]


def test_a_listener_hears_its_filter_and_nothing_else() -> None:
    heard = Heard("homeassistant/status", "voice/+/wake")
    heard.receive("homeassistant/status", b"online")
    heard.receive("voice/attic/wake", b"{}", retain=True)
    heard.receive("voice/den/cmd/listen", b"")
    assert heard.news == [("homeassistant/status", b"online"), ("voice/attic/wake", b"{}")]
    assert [command.verb for command in heard.commands] == ["listen"]
    assert heard.reception.ignored == 0


def test_the_filters_are_those_of_the_commands_and_of_the_listeners() -> None:
    heard = Heard("homeassistant/status")
    assert heard.reception.filters == (*TOPICS.command_filters, "homeassistant/status")
