"""What a killed process leaves behind: told by the next one, once, and without any words."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rigs.brokers import Mosquitto
from support.apps import command, make_app, on, replay_of
from support.subscriber import Subscriber
from voice_daemon.errors import BrokerError
from voice_daemon.events import EndReason, ErrorRaised, SessionEnded, SessionStarted
from voice_daemon.homeassistant.commands import SENT, SETTLED, WAITING
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.topics import Leaf, MqttMessage, Topics
from voice_daemon.runtime.journal import PATTERN, Journal, Unsettled

TOPICS = Topics("voice", "den")


def started(session_id: str) -> MqttMessage:
    (message,) = for_event(
        SessionStarted(session_id, wake_word="hey_jarvis", at_sample=0),
        topics=TOPICS,
        at=datetime.now(UTC),
    )
    return message


def ended(session_id: str) -> MqttMessage:
    event = SessionEnded(session_id, EndReason.SILENCE, 1, 16_000)
    (message,) = for_event(event, topics=TOPICS, at=datetime.now(UTC))
    return message


def final(session_id: str) -> MqttMessage:
    return MqttMessage(TOPICS.path(Leaf.FINAL), b"{}", final_of=session_id)


def kill(journal: Journal) -> None:
    """Take its lock away, as the end of its process does, and leave the file as it is."""
    assert journal._descriptor is not None
    os.close(journal._descriptor)
    journal._descriptor = None


def told(left: Unsettled) -> list[tuple[str, str]]:
    return [
        (event.code, str(event.session_id))
        if isinstance(event, ErrorRaised)
        else ("ended", event.session_id)
        for event in left.events()
        if isinstance(event, ErrorRaised | SessionEnded)
    ]


def assert_told_until_heard(
    journal: Journal, folder: Path, expected: list[tuple[str, str]]
) -> None:
    """Kill it, and the next before it could say so: the third says it again, until it is heard."""
    kill(journal)
    following = Journal(folder, TOPICS)
    left = following.begin()
    assert told(left) == expected
    kill(following)
    following = Journal(folder, TOPICS)
    assert told(following.begin()) == expected
    for event in left.events():
        for message in for_event(event, topics=TOPICS, at=datetime.now(UTC)):
            following.settled(message)
    kill(following)
    assert told(Journal(folder, TOPICS).begin()) == []


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path, TOPICS)
    assert journal.begin().is_empty
    return journal


@pytest.mark.parametrize(
    ("so_far", "expected"),
    [
        (1, [("session.command_lost", "s1"), ("ended", "s1")]),
        (2, [("mqtt.final_lost", "s1"), ("ended", "s1")]),
        (3, [("mqtt.final_unconfirmed", "s1"), ("ended", "s1")]),
        (4, [("ended", "s1")]),
        (5, []),
    ],
    ids=["started", "final", "sent", "confirmed", "ended"],
)
def test_a_kill_at_any_point_is_told_by_the_next_process(
    journal: Journal, tmp_path: Path, so_far: int, expected: list[tuple[str, str]]
) -> None:
    steps: tuple[Callable[[], None], ...] = (
        lambda: journal.note(started("s1")),
        lambda: journal.note(final("s1")),
        lambda: journal.sent(final("s1")),
        lambda: journal.settled(final("s1")),
        lambda: journal.settled(ended("s1")),
    )
    for step in steps[:so_far]:
        step()
    assert_told_until_heard(journal, tmp_path, expected)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (WAITING, [("satellite.not_run", "s1")]),
        (SENT, [("satellite.unconfirmed", "s1")]),
        (SETTLED, []),
    ],
)
def test_a_kill_while_home_assistant_had_a_command_is_told_until_it_was_heard(
    journal: Journal, tmp_path: Path, how: str, expected: list[tuple[str, str]]
) -> None:
    journal.command("s1", WAITING)
    journal.command("s1", how)
    assert_told_until_heard(journal, tmp_path, expected)


def test_an_end_that_was_not_confirmed_is_told_again(journal: Journal, tmp_path: Path) -> None:
    journal.note(started("s1"))
    kill(journal)
    second = Journal(tmp_path, TOPICS)
    second.begin()
    kill(second)  # before the broker had what it said
    assert ("ended", "s1") in told(Journal(tmp_path, TOPICS).begin())


def test_what_a_living_process_has_open_is_its_own(journal: Journal, tmp_path: Path) -> None:
    journal.note(started("s1"))
    beside = Journal(tmp_path, TOPICS)
    assert beside.begin().is_empty
    beside.close()
    assert len(list(tmp_path.glob(PATTERN))) == 1


def test_another_nodes_journal_is_left_to_it(journal: Journal, tmp_path: Path) -> None:
    journal.note(started("s1"))
    kill(journal)
    other = Journal(tmp_path, Topics("voice", "kitchen"))
    assert other.begin().is_empty
    other.close()
    assert told(Journal(tmp_path, TOPICS).begin())


def test_an_orderly_end_leaves_nothing(journal: Journal, tmp_path: Path) -> None:
    for message in (started("s1"), final("s1")):
        journal.note(message)
    for message in (final("s1"), ended("s1")):
        journal.settled(message)
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_does_not_grow(journal: Journal, tmp_path: Path) -> None:
    for number in range(400):
        session_id = f"{number:012}"
        journal.note(started(session_id))
        journal.note(final(session_id))
        journal.settled(final(session_id))
        journal.settled(ended(session_id))
    (path,) = tmp_path.glob(PATTERN)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]\n", b'{"root": 3}\n', b"{" * 99])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    stranger = tmp_path / PATTERN.replace("*", "stranger")
    stranger.write_bytes(content)
    assert Journal(tmp_path, TOPICS).begin().is_empty
    assert stranger.exists()


@pytest.mark.parametrize("odd", ["pipe", "link", "folder"])
def test_an_odd_file_in_a_journals_place_hangs_nobody(tmp_path: Path, odd: str) -> None:
    place = tmp_path / PATTERN.replace("*", "odd")
    match odd:
        case "pipe":
            os.mkfifo(place)
        case "link":
            place.symlink_to("/dev/zero")
        case _:
            place.mkdir()
    assert Journal(tmp_path, TOPICS).begin().is_empty


def test_without_a_folder_that_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "state", TOPICS)
    assert journal.begin().is_empty
    journal.note(started("s1"))
    journal.close()


def test_a_final_that_found_no_broker_is_reported_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("voice_daemon.runtime.parts.BROKER_WAIT_S", 0.1)
    scene = command()
    with pytest.raises(BrokerError):
        make_app(1, replay_of(scene), scene=scene, journal_folder=tmp_path / "state").run()
    (kept,) = (tmp_path / "state").glob(PATTERN)
    assert "kitchen" not in kept.read_text()
    broker = Mosquitto(tmp_path).start()
    subscriber = Subscriber(broker.port)
    scene = command()
    app = make_app(broker.port, replay_of(scene), scene=scene, journal_folder=tmp_path / "state")
    assert app.run() == 0
    subscriber.wait_for(lambda _: len(on(subscriber, "session")) == 3)
    assert [e["code"] for e in on(subscriber, "error")] == ["mqtt.final_lost"]
    first = on(subscriber, "session")[0]
    assert (first["event_type"], first["reason"], first["finals"]) == ("ended", "error", 1)
    assert list((tmp_path / "state").glob(PATTERN)) == []
    subscriber.close()
    broker.kill()
