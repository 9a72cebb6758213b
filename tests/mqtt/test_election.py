"""Two devices elect over a real broker who answers: their own clients, claims and pipelines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from rigs.brokers import Mosquitto, eventually, free_port
from support.fakes import Rig
from support.mqtt_clients import settings_for
from support.scenes import COMMAND, continuous, of
from voice_daemon.errors import Problem
from voice_daemon.events import Event, SessionStarted, StoodDown, TranscriptFinal, ms_to_samples
from voice_daemon.mqtt.client import DEAF_CODE, MqttClient
from voice_daemon.mqtt.peers import MqttPeers, claims_filter
from voice_daemon.mqtt.router import Listener
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.session.pipeline import PipelineOptions

WINDOW_MS = 150
STEP_MS = 20


class Device:
    """A pipeline that hears a scene, and the client by which it speaks with the others."""

    def __init__(self, node: str, port: int, *, base: str) -> None:
        topics = Topics(base, node)
        self.events: list[Event] = []
        self.n_sent = self.n_heard = 0
        self.hears = threading.Event()
        """Set once the broker has granted the subscription to claims."""
        self.rig = Rig(continuous(), options=PipelineOptions(arbitration_ms=WINDOW_MS))
        self.client = MqttClient(
            settings_for(port),
            client_id=f"{base}-{node}",
            topics=topics,
            on_command=lambda _: None,
            announce=lambda: (),
            listeners=[Listener(claims_filter(topics), self._on_claim, live_only=True)],
            on_problem=self._on_problem,
        )
        self._peers = MqttPeers(
            topics=topics,
            publish=self._publish,
            is_connected=lambda: self.client.status().connected,
            has_problem=lambda: False,
        )
        self.rig.pipeline.arbitrate(node, self._peers)
        self.client.start()

    def play(self, until: int) -> None:
        self.events += self.rig.play(until=until)

    def _publish(self, message: MqttMessage) -> None:
        self.n_sent += 1
        self.client.publish(message)

    def _on_claim(self, topic: str, payload: bytes) -> None:
        self._peers.on_message(topic, payload)
        self.n_heard += 1

    def _on_problem(self, code: str, problem: Problem | None) -> None:
        if code == DEAF_CODE and problem is None:
            self.hears.set()


Meet = Callable[..., tuple[Device, Device]]


@pytest.fixture
def meet(request: pytest.FixtureRequest) -> Iterator[Meet]:
    """Give a function that starts two devices, `attic` and `den`; they are stopped at the end."""
    devices: list[Device] = []

    def start(port: int, *, await_broker: bool = True) -> tuple[Device, Device]:
        base = request.node.name  # the broker is shared with other tests
        devices.extend(Device(node, port, base=base) for node in ("attic", "den"))
        if await_broker:
            eventually(lambda: all(d.hears.is_set() for d in devices), "they hear each other")
        return devices[0], devices[1]

    yield start
    for device in devices:
        device.client.stop(0.5)


def play_together(devices: tuple[Device, Device], *, to_ms: float) -> None:
    """Let both hear the scene in step; what one says has reached both before they hear on."""
    for ms in range(0, round(to_ms), STEP_MS):
        for device in devices:
            device.play(ms_to_samples(ms + STEP_MS))
        eventually(
            lambda: all(d.n_heard == sum(e.n_sent for e in devices) for d in devices),
            "what each says has reached both",
        )


def finals(device: Device) -> list[str]:
    return [final.text for final in of(TranscriptFinal, device.events)]


def test_of_two_devices_on_one_broker_one_answers(mosquitto_port: int, meet: Meet) -> None:
    attic, den = meet(mosquitto_port)
    play_together((attic, den), to_ms=attic.rig.scene.now / 16)
    assert finals(den) == [COMMAND], "of equal scores the greater node id answers"
    assert [type(event) for event in attic.events] == [StoodDown]
    assert (attic.n_sent, den.n_sent) == (1, 2), "a claim each, and the winner's word"


def test_a_broker_that_dies_in_the_window_leaves_nobody_without_an_answer(
    broker: Mosquitto, meet: Meet
) -> None:
    attic, den = meet(broker.port)
    in_the_window_ms = attic.rig.scene.wakes[0] / 16 + WINDOW_MS / 2
    play_together((attic, den), to_ms=in_the_window_ms)
    assert not of(SessionStarted, [*attic.events, *den.events])
    broker.kill()
    eventually(lambda: not any(d.client.status().connected for d in (attic, den)), "they notice")
    for device in (attic, den):
        device.play(device.rig.scene.now)
    assert COMMAND in [*finals(attic), *finals(den)]


def test_without_a_broker_each_answers_alone(meet: Meet) -> None:
    for device in meet(free_port(), await_broker=False):
        device.play(device.rig.scene.now)
        assert finals(device) == [COMMAND]
        assert device.n_sent == 0
