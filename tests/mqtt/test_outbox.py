"""The outbox: bounded, in order, never late, and it loses nothing without saying so."""

from __future__ import annotations

import time

import pytest

from support.mqtt_clients import TOPICS
from support.outboxes import AT, Box, event, final, partial, state
from voice_daemon.events import SessionStarted
from voice_daemon.mqtt.losses import Loss, LossReason
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.outbox import ASIDE_S, MAX_SENDINGS, WINDOW, steady_s
from voice_daemon.mqtt.topics import BrokerLimits, MqttMessage, packet_bytes


def test_messages_leave_in_the_order_they_came() -> None:
    box = Box()
    box.connected()
    box.put_all(event("a"), partial("b"), state("c"), event("d"))
    assert box.take_all() == ["a", "b", "c", "d"]


def test_nothing_leaves_without_a_connection() -> None:
    box = Box()
    box.put(event("a"))
    assert box.take() is None


def test_what_waited_goes_before_states_that_are_only_said_again() -> None:
    box = Box()
    box.put_all(event("old"), state("stale"), state("other", "other"))
    first = (state("online", "availability"), state("idle"))
    box.connected(first, mark=box.mark())
    assert box.take_all() == ["online", "old", "idle", "other"]


def test_a_state_that_changed_after_the_announcement_was_made_stands() -> None:
    box = Box()
    mark = box.mark()
    box.put(state("listening"))
    box.connected((state("online", "availability"), state("idle")), mark=mark)
    assert box.take_all() == ["online", "listening"]


def test_partials_are_forgotten_while_there_is_no_connection() -> None:
    box = Box()
    box.put(partial("a"))
    box.connected()
    box.put(partial("b"))
    box.breaks()
    assert box.take_all() == []
    assert box.counts.dropped == 0
    assert box.losses == ()


def test_the_oldest_event_goes_when_there_are_too_many() -> None:
    box = Box(capacity=2)
    box.put_all(*(event(name) for name in "abcd"))
    assert box.losses == (
        Loss(event("a"), LossReason.OVERFLOW),
        Loss(event("b"), LossReason.OVERFLOW),
    )
    box.connected()
    assert box.take_all() == ["c", "d"]


def test_a_partial_goes_before_any_event_does() -> None:
    box = Box(capacity=2)
    box.connected()
    box.put_all(event("a"), partial("b"), event("c"))
    assert box.take_all() == ["a", "c"]
    assert box.losses == ()


def test_a_final_goes_last() -> None:
    box = Box(capacity=2)
    spoken = MqttMessage("transcript/final", b"final", final_of="s1", expiry_s=30)
    box.put_all(spoken, event("a"), event("b"), event("c"))
    box.connected()
    assert box.take_all() == ["final", "c"]


def test_states_take_no_room_from_events() -> None:
    box = Box(capacity=1)
    box.put_all(event("a"), *(state("x", topic) for topic in ("state", "info", "mute/state")))
    assert box.losses == ()
    assert box.counts.queued == 4


def test_only_the_newest_state_of_a_topic_is_kept() -> None:
    box = Box()
    box.put_all(*(state(name) for name in ("idle", "listening", "idle")))
    box.connected()
    assert box.take_all() == ["idle"]
    assert box.losses == ()


def test_an_expired_event_is_lost_and_not_sent() -> None:
    box = Box()
    box.put(event("a"))
    box.clock.now_s = 30
    box.connected()
    assert box.take() is None
    assert box.losses == (Loss(event("a"), LossReason.EXPIRED),)


def test_what_was_not_acknowledged_is_sent_again_in_its_old_place() -> None:
    box = Box()
    box.connected()
    box.put_all(*(event(name) for name in "abc"))
    first = box.send()
    box.send()
    box.acknowledge(first.ticket)
    box.disconnected()
    box.put(event("d"))
    box.connected()
    assert box.take_all() == ["b", "c", "d"]


def test_an_unacknowledged_event_that_got_old_may_have_arrived_and_is_not_sent_again() -> None:
    box = Box()
    box.connected()
    box.put(event("a"))
    box.send()
    box.clock.now_s = 100
    assert box.losses == ()  # the broker may still confirm it
    box.breaks()
    assert box.take() is None
    losses, _ = box.settle()
    assert losses[0] == Loss(event("a"), LossReason.EXPIRED, may_have_arrived=True)


def test_an_unacknowledged_state_gives_way_to_a_newer_one() -> None:
    box = Box()
    box.connected()
    for name in ("listening", "transcribing"):
        box.put(state(name))
        box.send()
    box.put(state("idle"))
    box.breaks()
    assert box.take_all() == ["idle"]


@pytest.mark.parametrize(("receive_maximum", "at_a_time"), [(3, 3), (65_535, WINDOW)])
def test_a_broker_gets_no_more_at_a_time_than_it_takes(
    receive_maximum: int, at_a_time: int
) -> None:
    box = Box(capacity=100)
    box.put_all(*(event(str(number)) for number in range(WINDOW + 2)))
    box.connected(limits=BrokerLimits(receive_maximum=receive_maximum))
    taken = [box.take() for _ in range(WINDOW + 2)]
    assert sum(entry is not None for entry in taken) == at_a_time
    assert taken[0] is not None
    box.acknowledge(taken[0].ticket)
    assert box.take() is not None


def test_a_stalled_broker_is_given_no_more() -> None:
    box = Box()
    box.connected()
    box.put(event("a"))
    stuck = box.send()
    box.clock.now_s = 3
    box.put_all(partial("b"), event("c"))
    assert box.take() is None
    box.acknowledge(stuck.ticket)
    assert box.take_all() == ["b", "c"]


@pytest.mark.parametrize("why", [LossReason.REFUSED, LossReason.REJECTED])
def test_an_event_that_is_refused_for_good_is_lost_and_did_not_arrive(why: LossReason) -> None:
    box = Box()
    box.connected()
    box.put(event("a"))
    box.refuse(box.send().ticket, why)
    assert box.losses == (Loss(event("a"), why),)
    assert box.is_empty


def test_a_refusal_that_may_pass_is_followed_by_attempts_within_the_life_of_the_message() -> None:
    box = Box()
    box.connected()
    box.put(event("a", expiry_s=30))
    attempts = 0
    for second in range(30):
        box.clock.now_s = second
        while (entry := box.take()) is not None:
            assert entry.sendings == 1, "what was refused has not arrived"
            attempts += 1
            box.refuse(entry.ticket, None)
    assert attempts == 6  # at 0, 1, 3, 7, 15 and 23 s
    box.clock.now_s = 30
    assert box.losses == (Loss(event("a", expiry_s=30), LossReason.EXPIRED),)


@pytest.mark.parametrize("is_newer_sent", [False, True])
def test_a_state_refused_for_the_moment_does_not_come_after_a_newer_one(
    *, is_newer_sent: bool
) -> None:
    box = Box()
    box.connected()
    box.put(state("old"))
    old = box.send()
    box.put(state("new"))
    sent = box.take_all() if is_newer_sent else []
    box.refuse(old.ticket, None)
    box.clock.now_s += 60
    assert [*sent, *box.take_all()] == ["new"]


def test_a_refused_message_keeps_nothing_else_waiting() -> None:
    box = Box()
    box.connected()
    box.put_all(event("a"), event("b"))
    box.refuse(box.send().ticket, None)
    assert box.take_all() == ["b"]
    box.clock.now_s = 1
    assert box.take_all() == ["a"]


def test_an_event_is_sent_twice_at_most_and_may_have_arrived_then() -> None:
    box = Box()
    box.connected()
    box.put(final("s1"))
    for number in range(1, MAX_SENDINGS + 1):
        assert box.send().sendings == number
        box.breaks()
    assert box.take() is None
    losses, reports = box.settle()
    assert [(loss.why, loss.may_have_arrived) for loss in losses] == [
        (LossReason.UNCONFIRMED, True)
    ]
    assert [report.code for report in reports] == ["mqtt.final_unconfirmed"]
    assert "may have arrived" in reports[0].message
    counts = box.counts
    assert (counts.finals_lost, counts.finals_unconfirmed) == (0, 1)


def test_messages_beside_the_one_over_which_connections_end_arrive() -> None:
    box = Box()
    box.connected()
    box.put_all(event("poison"), event("b"), event("c"))
    delivered = []
    for _ in range(3):
        in_flight = []
        while (entry := box.take()) is not None:
            in_flight.append(entry)
            if len(in_flight) == 3:
                break
        for entry in in_flight:
            if entry.message.payload == b"poison":
                break
            delivered.append(entry.message.payload)
            box.acknowledge(entry.ticket)
        box.breaks()
    delivered += [payload.encode() for payload in box.take_all()]
    assert delivered == [b"b", b"c"]
    assert [loss.message.payload for loss in box.losses] == [b"poison"]


def test_a_state_over_which_two_connections_in_a_row_end_is_set_aside_for_a_time() -> None:
    box = Box()
    states = (state("online", "availability"), state("poison", "config"), state("idle"))
    for _ in range(2):
        box.connected(states, mark=box.mark())
        while (entry := box.send()).message.topic != "config":
            box.acknowledge(entry.ticket)
        box.disconnected()
    box.connected(states, mark=box.mark())
    assert box.take_all() == ["online", "idle"]
    _, reports = box.settle()
    assert [report.code for report in reports] == ["mqtt.message_set_aside"]
    box.disconnected()
    box.connected((states[0], state("cured", "config")), mark=box.mark())
    assert box.take_all() == ["online", "cured"]
    box.clock.now_s += ASIDE_S
    box.disconnected()
    box.connected(states, mark=box.mark())
    assert box.take_all() == ["online", "poison", "idle"]


def test_availability_is_never_set_aside() -> None:
    box = Box(never_aside=("availability",))
    for _ in range(4):
        box.connected((state("online", "availability"),), mark=box.mark())
        assert box.send().message.payload == b"online"
        box.disconnected()


def test_what_is_larger_than_the_broker_takes_is_left_out_and_said_once() -> None:
    box = Box()
    large, small = state("x" * 3000, "config"), event("small")
    limits = BrokerLimits(maximum_packet_bytes=2048)
    for _ in range(2):
        box.connected((large,), mark=box.mark(), limits=limits)
        box.put(small)
        assert box.take_all() == ["small"]
        box.settle()
        box.disconnected()
    box.connected((large, state("y" * 3000, "other")), mark=box.mark(), limits=limits)
    assert box.take() is None
    _, reports = box.settle()
    assert [report.code for report in reports] == ["mqtt.message_too_large"]
    assert "other is left out" in reports[0].message
    assert str(packet_bytes(state("y" * 3000, "other"))) in reports[0].remedy


def test_a_final_that_is_too_large_is_lost_for_certain() -> None:
    box = Box()
    box.connected(limits=BrokerLimits(maximum_packet_bytes=100))
    box.put(final("s1"))
    assert box.take() is None
    assert [report.code for report in box.settle()[1]] == ["mqtt.final_lost"]


def test_a_broker_that_confirms_nothing_is_not_waited_for() -> None:
    box = Box()
    box.connected(limits=BrokerLimits(maximum_qos=0))
    box.put(event("a"))
    box.send()
    assert box.is_empty
    box.disconnected()
    assert box.losses == ()


def test_the_deadline_of_an_unacknowledged_final_is_known() -> None:
    box = Box()
    box.connected()
    box.put(final("s1", ttl_s=5))
    assert box.final_due_s == float("inf")
    entry = box.send()
    box.clock.now_s = 4
    assert box.final_due_s == 1
    box.acknowledge(entry.ticket)
    assert box.final_due_s == float("inf")


def test_giving_up_counts_events_alone_as_lost() -> None:
    box = Box()
    box.connected()
    box.put_all(event("sent"), state("idle"), partial("p"), event("waiting"))
    box.send()
    box.close()
    assert [(loss.message.payload, loss.may_have_arrived) for loss in box.losses] == [
        (b"sent", True),
        (b"waiting", False),
    ]
    assert box.is_empty


@pytest.mark.parametrize("message", [partial("p"), state("s")])
def test_only_events_keep_a_stopping_client_busy(message: MqttMessage) -> None:
    box = Box()
    box.connected()
    box.put(message)
    assert not box.holds_events
    box.put(event("e"))
    assert box.holds_events


def test_the_broker_is_told_the_rest_of_a_life_and_not_the_whole() -> None:
    box = Box()
    box.put(final("s1"))
    box.clock.now_s = 19.7
    box.connected()
    assert box.send().expiry_s == 10


def test_a_machine_that_slept_wakes_to_no_old_command() -> None:
    box = Box()
    box.connected()
    box.put(final("s1"))
    box.clock.now_s = 3600
    assert box.take() is None
    losses, reports = box.settle()
    assert [loss.why for loss in losses] == ["expired"]
    assert len(reports) == 1
    assert box.counts.finals_lost == 1


def test_the_clock_runs_on() -> None:
    before_s = steady_s()
    time.sleep(0.001)  # what is measured is that time passes
    assert steady_s() > before_s


def test_a_report_waits_for_a_connection_and_comes_once() -> None:
    box = Box()
    box.put_all(final("s1"), final("s2"))
    box.clock.now_s = 31
    losses, reports = box.settle()
    assert (len(losses), reports) == (2, ())
    box.connected()
    _, (report,) = box.settle()
    assert report.code == "mqtt.final_lost"
    assert report.message.startswith("2 transcripts were not delivered: the broker was away")
    assert "session s1, s2" in report.message
    assert report.session_id is None
    assert box.settle() == ((), ())


def test_a_report_waits_for_room_so_that_it_displaces_no_other_final() -> None:
    box = Box(capacity=2)
    box.put_all(*(final(name) for name in ("s1", "s2", "s3")))
    box.connected()
    losses, reports = box.settle()
    assert (len(losses), reports) == (1, ())
    box.send()
    _, (report,) = box.settle()
    assert report.session_id == "s1"


def test_only_lost_finals_are_worth_a_report() -> None:
    box = Box()
    box.put_all(*for_event(SessionStarted("s1", None, 0), topics=TOPICS, at=AT))
    box.clock.now_s = 3600
    box.connected()
    losses, reports = box.settle()
    assert (len(losses), reports) == (1, ())
    assert (box.counts.expired, box.counts.finals_lost) == (1, 0)


def test_what_comes_after_the_end_is_lost_at_once() -> None:
    box = Box()
    box.put(final("s1"))
    box.close()
    box.put(final("s2"))
    assert [loss.why for loss in box.losses] == ["stopped", "stopped"]
    assert box.is_empty
