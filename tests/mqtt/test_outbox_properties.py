"""The outbox in any order of messages, sendings, acknowledgements, refusals and failures."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.outboxes import Box
from voice_daemon.mqtt.losses import LossReason
from voice_daemon.mqtt.outbox import MAX_SENDINGS, WINDOW, OutboxEntry
from voice_daemon.mqtt.topics import MqttMessage


class OutboxMachine(RuleBasedStateMachine):
    """Any order of messages, sendings, acknowledgements, refusals, failures and waiting."""

    CAPACITY = 4

    def __init__(self) -> None:
        super().__init__()
        self.box = Box(capacity=self.CAPACITY)
        self.is_up = False
        self.put: list[MqttMessage] = []
        self.put_at_s: dict[bytes, float] = {}
        self.newest_state: dict[str, bytes] = {}
        self.unacknowledged: list[OutboxEntry] = []
        self.sendings: Counter[bytes] = Counter()
        self.fates: Counter[bytes] = Counter()

    def _put(self, message: MqttMessage) -> None:
        self.put.append(message)
        self.put_at_s[message.payload] = self.box.clock.now_s
        if message.retain:
            self.newest_state[message.topic] = message.payload
        self.box.put(message)

    def _name(self) -> bytes:
        return str(len(self.put)).encode()

    @rule(expiry_s=st.sampled_from([1.0, 4.0, 20.0, None]))
    def put_event(self, expiry_s: float | None) -> None:
        self._put(MqttMessage("event", self._name(), expiry_s=expiry_s))

    @rule()
    def put_partial(self) -> None:
        self._put(MqttMessage("partial", self._name(), qos=0, expiry_s=2))

    @rule(topic=st.sampled_from(["state", "info"]))
    def put_state(self, topic: str) -> None:
        self._put(MqttMessage(topic, self._name(), retain=True))

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.box.clock.now_s += seconds

    @precondition(lambda self: not self.is_up)
    @rule()
    def connect(self) -> None:
        self.is_up = True
        announced = MqttMessage("state", self._name(), retain=True)
        self.put.append(announced)
        self.newest_state["state"] = announced.payload
        self.box.connected((announced,), mark=self.box.mark())

    @precondition(lambda self: self.is_up)
    @rule()
    def disconnect(self) -> None:
        self.is_up = False
        self.unacknowledged = []
        self.box.disconnected()

    @rule()
    def take(self) -> None:
        entry = self.box.take()
        if entry is None:
            return
        assert self.is_up
        message = entry.message
        if message.expiry_s is not None:
            assert self.box.clock.now_s < self.put_at_s[message.payload] + message.expiry_s
        if message.retain:
            assert message.payload == self.newest_state[message.topic]
        if message.qos > 0:
            self.unacknowledged.append(entry)
        self.sendings[message.payload] += not message.retain

    @precondition(lambda self: self.unacknowledged)
    @rule(data=st.data(), answer=st.sampled_from(["yes", "no", "later"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        entry = data.draw(st.sampled_from(self.unacknowledged))
        self.unacknowledged.remove(entry)
        if answer == "yes":
            self.box.acknowledge(entry.ticket)
            self.fates[entry.message.payload] += 1
        else:
            self.box.refuse(entry.ticket, LossReason.REFUSED if answer == "no" else None)
            self.sendings[entry.message.payload] -= not entry.message.retain

    @invariant()
    def it_stays_bounded(self) -> None:
        assert len(self.unacknowledged) <= WINDOW
        waiting = self.box.counts.queued - len(self.unacknowledged)
        # What was refused for the moment comes back in, over a full box if need be.
        assert waiting <= self.CAPACITY + WINDOW + len(self.newest_state)

    @invariant()
    def nothing_may_arrive_more_than_twice(self) -> None:
        assert max(self.sendings.values(), default=0) <= MAX_SENDINGS

    @invariant()
    def a_lost_event_is_told_once(self) -> None:
        for loss in self.box.losses:
            if not loss.message.retain:
                assert loss.message.topic == "event"
                self.fates[loss.message.payload] += 1
        assert all(count == 1 for count in self.fates.values())

    def teardown(self) -> None:
        """In the end every event was delivered or reported lost, exactly once."""
        self.box.close()
        self.a_lost_event_is_told_once()
        events = {message.payload for message in self.put if message.topic == "event"}
        assert events == {name for name in self.fates if name in events}


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOutboxKeepsItsPromises = OutboxMachine.TestCase
