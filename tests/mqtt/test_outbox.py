"""The outbox: bounded, in order, never late, and it loses nothing without saying so."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from voice_daemon.mqtt.outbox import Loss, LossReason, Outbox, OutboxEntry
from voice_daemon.mqtt.topics import MqttMessage


def event(name: str, *, expiry_s: float | None = 30) -> MqttMessage:
    return MqttMessage("final", name.encode(), expiry_s=expiry_s)


def partial(name: str) -> MqttMessage:
    return MqttMessage("partial", name.encode(), qos=0, expiry_s=2)


def state(name: str, topic: str = "state") -> MqttMessage:
    return MqttMessage(topic, name.encode(), retain=True)


def outbox(*, capacity: int = 10, window: int = 5, stall_s: float = 3) -> Outbox:
    return Outbox(capacity=capacity, window=window, stall_s=stall_s)


def take_all(box: Outbox, now_s: float = 0) -> list[OutboxEntry]:
    """Take and acknowledge until nothing is left."""
    taken = []
    while (parcel := box.take(now_s=now_s)) is not None:
        taken.append(parcel)
        box.acknowledge(parcel.ticket)
    return taken


def names(parcels: list[OutboxEntry]) -> list[str]:
    return [parcel.message.payload.decode() for parcel in parcels]


def test_messages_leave_in_the_order_they_came() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    for message in (event("a"), partial("b"), state("c"), event("d")):
        box.push(message, now_s=0)
    assert names(take_all(box)) == ["a", "b", "c", "d"]


def test_nothing_leaves_while_the_link_is_down() -> None:
    box = outbox()
    box.push(event("a"), now_s=0)
    assert box.take(now_s=0) is None


def test_an_announcement_goes_before_what_waited() -> None:
    box = outbox()
    box.push(event("old"), now_s=0)
    box.push(state("stale"), now_s=0)
    first = (state("online", "availability"), state("idle"))
    box.link_up(first, mark=box.mark(), now_s=0)
    assert names(take_all(box)) == ["online", "idle", "old"]


def test_a_state_that_changed_after_the_announcement_was_made_stands() -> None:
    box = outbox()
    mark = box.mark()
    box.push(state("listening"), now_s=0)
    box.link_up((state("online", "availability"), state("idle")), mark=mark, now_s=0)
    assert names(take_all(box)) == ["online", "listening"]


def test_partials_are_forgotten_while_the_link_is_down() -> None:
    box = outbox()
    box.push(partial("a"), now_s=0)
    box.link_up((), mark=0, now_s=0)
    assert box.take(now_s=0) is None
    assert box.forgotten == 1
    assert box.collect_losses() == ()


def test_partials_that_wait_when_the_link_goes_down_are_forgotten() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    box.push(partial("a"), now_s=0)
    box.link_down(now_s=0)
    box.link_up((), mark=0, now_s=0)
    assert take_all(box) == []
    assert box.forgotten == 1


def test_the_oldest_event_goes_when_there_are_too_many() -> None:
    box = outbox(capacity=2)
    for name in "abcd":
        box.push(event(name), now_s=0)
    assert box.collect_losses() == (
        Loss(event("a"), LossReason.OVERFLOW),
        Loss(event("b"), LossReason.OVERFLOW),
    )
    box.link_up((), mark=0, now_s=0)
    assert names(take_all(box)) == ["c", "d"]


def test_a_partial_goes_before_any_event_does() -> None:
    box = outbox(capacity=2)
    box.link_up((), mark=0, now_s=0)
    for message in (event("a"), partial("b"), event("c")):
        box.push(message, now_s=0)
    assert names(take_all(box)) == ["a", "c"]
    assert box.collect_losses() == ()


def test_a_final_goes_last() -> None:
    box = outbox(capacity=2)
    final = MqttMessage("transcript/final", b"final", final_of="s1", expiry_s=30)
    for message in (final, event("a"), event("b"), event("c")):
        box.push(message, now_s=0)
    box.link_up((), mark=0, now_s=0)
    assert names(take_all(box)) == ["final", "c"]


def test_states_take_no_room_from_events() -> None:
    box = outbox(capacity=1)
    box.push(event("a"), now_s=0)
    for topic in ("state", "info", "mute/state"):
        box.push(state("x", topic), now_s=0)
    assert box.collect_losses() == ()
    assert box.n_waiting == 4


def test_only_the_newest_state_of_a_topic_is_kept() -> None:
    box = outbox()
    for name in ("idle", "listening", "idle"):
        box.push(state(name), now_s=0)
    box.link_up((), mark=0, now_s=0)
    assert names(take_all(box)) == ["idle"]
    assert box.collect_losses() == ()


def test_an_expired_event_is_lost_and_not_sent() -> None:
    box = outbox()
    box.push(event("a", expiry_s=30), now_s=0)
    box.link_up((), mark=0, now_s=29)
    box.link_down(now_s=29)
    box.link_up((), mark=0, now_s=30)
    assert box.take(now_s=30) is None
    assert box.collect_losses() == (Loss(event("a", expiry_s=30), LossReason.EXPIRED),)


def test_what_was_not_acknowledged_is_sent_again_in_its_old_place() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    for name in "abc":
        box.push(event(name), now_s=0)
    first, _second = box.take(now_s=0), box.take(now_s=0)
    assert first is not None
    box.acknowledge(first.ticket)
    box.link_down(now_s=1)
    box.push(event("d"), now_s=1)
    box.link_up((), mark=0, now_s=1)
    assert names(take_all(box, 1)) == ["b", "c", "d"]


def test_an_unacknowledged_event_that_got_old_is_not_sent_again() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    box.push(event("a"), now_s=0)
    assert box.take(now_s=0) is not None
    box.expire(now_s=100)
    assert box.collect_losses() == ()  # the broker may still confirm it
    box.link_down(now_s=100)
    assert [loss.why for loss in box.collect_losses()] == [LossReason.EXPIRED]


def test_an_unacknowledged_state_gives_way_to_a_newer_one() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    for name in ("listening", "transcribing"):
        box.push(state(name), now_s=0)
        assert box.take(now_s=0) is not None
    box.push(state("idle"), now_s=0)
    box.link_down(now_s=0)
    box.link_up((), mark=0, now_s=0)
    assert names(take_all(box)) == ["idle"]


def test_the_window_limits_what_is_unacknowledged() -> None:
    box = outbox(window=2)
    box.link_up((), mark=0, now_s=0)
    for name in "abc":
        box.push(event(name), now_s=0)
    first = box.take(now_s=0)
    assert first is not None
    assert box.take(now_s=0) is not None
    assert box.take(now_s=0) is None
    box.acknowledge(first.ticket)
    third = box.take(now_s=0)
    assert third is not None
    assert third.message == event("c")


def test_a_stalled_broker_is_given_no_more() -> None:
    box = outbox(stall_s=3)
    box.link_up((), mark=0, now_s=0)
    box.push(event("a"), now_s=0)
    stuck = box.take(now_s=0)
    assert stuck is not None
    box.push(partial("b"), now_s=3)
    box.push(event("c"), now_s=3)
    assert box.take(now_s=3) is None
    box.acknowledge(stuck.ticket)
    assert names(take_all(box, 3)) == ["b", "c"]


def test_a_refused_event_is_lost() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    box.push(event("a"), now_s=0)
    parcel = box.take(now_s=0)
    assert parcel is not None
    box.acknowledge(parcel.ticket, refused=True)
    assert box.collect_losses() == (Loss(event("a"), LossReason.REFUSED),)
    assert box.n_unacknowledged == 0


def test_giving_up_counts_events_alone_as_lost() -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    for message in (event("sent"), state("idle"), partial("p"), event("waiting")):
        box.push(message, now_s=0)
    assert box.take(now_s=0) is not None
    box.give_up_all()
    assert [loss.message.payload for loss in box.collect_losses()] == [b"sent", b"waiting"]
    assert box.n_waiting + box.n_unacknowledged == 0


@pytest.mark.parametrize("message", [partial("p"), state("s")])
def test_only_events_keep_a_stopping_client_busy(message: MqttMessage) -> None:
    box = outbox()
    box.link_up((), mark=0, now_s=0)
    box.push(message, now_s=0)
    assert not box.holds_events
    box.push(event("e"), now_s=0)
    assert box.holds_events


class OutboxMachine(RuleBasedStateMachine):
    """Any order of pushes, sends, acknowledgements, failures and waiting."""

    CAPACITY = 4
    WINDOW = 3
    STALL_S = 5.0

    def __init__(self) -> None:
        super().__init__()
        self.box = Outbox(capacity=self.CAPACITY, window=self.WINDOW, stall_s=self.STALL_S)
        self.now_s = 0.0
        self.is_up = False
        self.pushed: list[MqttMessage] = []
        self.pushed_at_s: dict[bytes, float] = {}
        self.newest_state: dict[str, bytes] = {}
        self.unacknowledged: list[OutboxEntry] = []
        self.fates: Counter[bytes] = Counter()
        self.taken_on_link: list[MqttMessage] = []

    def _push(self, message: MqttMessage) -> None:
        self.pushed.append(message)
        self.pushed_at_s[message.payload] = self.now_s
        if message.retain:
            self.newest_state[message.topic] = message.payload

    def _name(self) -> bytes:
        return str(len(self.pushed)).encode()

    @rule(expiry_s=st.sampled_from([1.0, 4.0, 20.0, None]))
    def push_event(self, expiry_s: float | None) -> None:
        message = MqttMessage("event", self._name(), expiry_s=expiry_s)
        self._push(message)
        self.box.push(message, now_s=self.now_s)

    @rule()
    def push_partial(self) -> None:
        message = MqttMessage("partial", self._name(), qos=0, expiry_s=2)
        self._push(message)
        self.box.push(message, now_s=self.now_s)

    @rule(topic=st.sampled_from(["state", "info"]))
    def push_state(self, topic: str) -> None:
        message = MqttMessage(topic, self._name(), retain=True)
        self._push(message)
        self.box.push(message, now_s=self.now_s)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: not self.is_up)
    @rule()
    def connect(self) -> None:
        self.is_up = True
        self.taken_on_link = []
        announced = MqttMessage("state", self._name(), retain=True)
        self._push(announced)
        self.box.link_up((announced,), mark=self.box.mark(), now_s=self.now_s)

    @precondition(lambda self: self.is_up)
    @rule()
    def disconnect(self) -> None:
        self.is_up = False
        self.unacknowledged = []
        self.box.link_down(now_s=self.now_s)

    @rule()
    def take(self) -> None:
        parcel = self.box.take(now_s=self.now_s)
        if parcel is None:
            return
        assert self.is_up
        message = parcel.message
        if message.expiry_s is not None:
            assert self.now_s < self.pushed_at_s[message.payload] + message.expiry_s
        if message.retain:
            assert message.payload == self.newest_state[message.topic]
        self.taken_on_link.append(message)
        if message.qos > 0:
            self.unacknowledged.append(parcel)

    @precondition(lambda self: self.unacknowledged)
    @rule(data=st.data(), refused=st.booleans())
    def acknowledge(self, data: st.DataObject, *, refused: bool) -> None:
        parcel = data.draw(st.sampled_from(self.unacknowledged))
        self.unacknowledged.remove(parcel)
        self.box.acknowledge(parcel.ticket, refused=refused)
        if not refused:
            self.fates[parcel.message.payload] += 1

    @invariant()
    def it_stays_bounded(self) -> None:
        assert len(self.unacknowledged) == self.box.n_unacknowledged <= self.WINDOW
        assert self.box.n_waiting <= self.CAPACITY + len(self.newest_state)

    @invariant()
    def a_link_carries_events_in_order_and_once(self) -> None:
        order = [int(m.payload) for m in self.taken_on_link if not m.retain]
        assert order == sorted(set(order))

    @invariant()
    def a_loss_is_an_event_and_happens_once(self) -> None:
        for loss in self.box.collect_losses():
            assert loss.message.topic == "event"
            self.fates[loss.message.payload] += 1
        assert all(count == 1 for count in self.fates.values())

    def teardown(self) -> None:
        """In the end every event was delivered or reported lost, exactly once."""
        self.box.give_up_all()
        self.a_loss_is_an_event_and_happens_once()
        events = {message.payload for message in self.pushed if message.topic == "event"}
        assert events == {name for name in self.fates if name in events}


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOutboxKeepsItsPromises = OutboxMachine.TestCase
