"""The shared outbox: its clock, its account of losses and its report."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from support.manual_clock import ManualClock
from support.mqtt_clients import TOPICS
from support.transcripts import final_of
from voice_daemon.events import SessionStarted
from voice_daemon.mqtt.messages import MqttMessage, for_event
from voice_daemon.mqtt.outbox import WINDOW, Mailbox, steady_s

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mailbox(clock: ManualClock) -> Mailbox:
    return Mailbox(capacity=100, stall_s=3, clock_s=clock)


def final(session_id: str) -> MqttMessage:
    return for_event(final_of(session_id), topics=TOPICS, at=AT, final_ttl_s=30)[0]


def test_the_broker_is_told_the_rest_of_a_life_and_not_the_whole(
    mailbox: Mailbox, clock: ManualClock
) -> None:
    mailbox.put(final("s1"))
    clock.now_s += 19.5
    mailbox.link_up((), mark=0, receive_maximum=20)
    outgoing = mailbox.take()
    assert outgoing is not None
    assert outgoing.expiry_s == 11


def test_a_machine_that_slept_wakes_to_no_old_command(mailbox: Mailbox, clock: ManualClock) -> None:
    mailbox.link_up((), mark=0, receive_maximum=20)
    mailbox.put(final("s1"))
    clock.now_s += 3600
    assert mailbox.take() is None
    assert mailbox.counts.finals_lost == 0  # counted when settled
    losses, report = mailbox.settle()
    assert [loss.why for loss in losses] == ["expired"]
    assert report is not None
    assert mailbox.counts.finals_lost == 1


def test_the_clock_runs_on() -> None:
    before_s = steady_s()
    time.sleep(0.001)  # what is measured is that time passes
    assert steady_s() > before_s


def test_a_report_waits_for_the_link_and_comes_once(mailbox: Mailbox, clock: ManualClock) -> None:
    for name in ("s1", "s2"):
        mailbox.put(final(name))
    clock.now_s += 31
    losses, report = mailbox.settle()
    assert len(losses) == 2
    assert report is None
    mailbox.link_up((), mark=0, receive_maximum=20)
    _, report = mailbox.settle()
    assert report is not None
    assert report.code == "mqtt.final_lost"
    assert report.message.startswith("2 transcripts were not delivered: the broker was away")
    assert "session s1, s2" in report.message
    assert report.session_id is None
    assert mailbox.settle() == ((), None)


def test_a_report_waits_for_room_so_that_it_displaces_no_other_final(clock: ManualClock) -> None:
    mailbox = Mailbox(capacity=2, stall_s=3, clock_s=clock)
    for name in ("s1", "s2", "s3"):
        mailbox.put(final(name))
    mailbox.link_up((), mark=0, receive_maximum=20)
    losses, report = mailbox.settle()
    assert len(losses) == 1
    assert report is None
    assert mailbox.take() is not None
    _, report = mailbox.settle()
    assert report is not None
    assert report.session_id == "s1"


def test_only_lost_finals_are_worth_a_report(mailbox: Mailbox, clock: ManualClock) -> None:
    for message in for_event(SessionStarted("s1", None, 0), topics=TOPICS, at=AT):
        mailbox.put(message)
    clock.now_s += 3600
    mailbox.link_up((), mark=0, receive_maximum=20)
    losses, report = mailbox.settle()
    assert len(losses) == 1
    assert report is None
    assert (mailbox.counts.expired, mailbox.counts.finals_lost) == (1, 0)


def test_a_broker_that_takes_less_at_a_time_gets_less(mailbox: Mailbox) -> None:
    for number in range(WINDOW + 2):
        mailbox.put(final(f"s{number}"))
    mailbox.link_up((), mark=0, receive_maximum=3)
    assert sum(mailbox.take() is not None for _ in range(WINDOW + 2)) == 3
    mailbox.link_down()
    mailbox.link_up((), mark=0, receive_maximum=65_535)
    assert sum(mailbox.take() is not None for _ in range(WINDOW + 2)) == WINDOW


def test_what_comes_after_the_end_is_lost_at_once(mailbox: Mailbox) -> None:
    mailbox.put(final("s1"))
    mailbox.close()
    mailbox.put(final("s2"))
    losses, _ = mailbox.settle()
    assert [loss.why for loss in losses] == ["stopped", "stopped"]
    assert mailbox.is_empty
