"""The daemon as its owner steers it and as Home Assistant meets it: a real broker, fake models."""

from __future__ import annotations

import json
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import DEADLINE_S, Mosquitto, Seen, eventually
from support.apps import NODE, EndlessRoom, Running, command, make_app, on, replay_of
from support.fakes import Scene
from support.subscriber import Subscriber
from voice_daemon.app import Input
from voice_daemon.config import AudioSettings, HomeAssistantSettings, Settings
from voice_daemon.config.persisted import read_state
from voice_daemon.control.client import ControlClient

ROOT = f"voice/{NODE}"
CONFIG = f"homeassistant/device/{NODE}/config"
HA_STATUS = "homeassistant/status"
STORM = 10_000
"""Commands, as fast as they can be sent."""


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Subscriber]:
    client = Subscriber(broker.port)
    yield client
    client.close()


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.homeassistant.announce.DELAY_S", (0.05, 0.1))


def is_state(name: str, value: str) -> Any:
    def wanted(message: Seen) -> bool:
        return (message.topic, message.payload) == (f"{ROOT}/{name}", value.encode())

    return wanted


def retained(port: int) -> dict[str, bytes]:
    """Give what a newcomer is told."""
    newcomer = Subscriber(port)
    marker = "test/marker"
    newcomer.publish(marker, b"", retain=False)
    newcomer.wait(marker)
    newcomer.close()
    return {message.topic: message.payload for message in newcomer.seen if message.retain}


def set_(listener: Subscriber, name: str, value: str) -> None:
    listener.publish(f"{ROOT}/{name}/set", value)


def test_it_is_announced_with_all_that_the_announcement_speaks_of(
    broker: Mosquitto, listener: Subscriber
) -> None:
    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        listener.wait(f"{ROOT}/health")

    assert Running(make_app(broker.port, Input(EndlessRoom)), script).run() == 0
    kept = retained(broker.port)
    components = json.loads(kept[CONFIG])["components"]
    for name, component in components.items():
        topic = component.get("state_topic", "")
        passing = topic.endswith("/words") or "transcript/" in topic
        if topic and not passing and component["platform"] != "event":
            assert topic in kept, name
    assert kept[f"{ROOT}/wake_word/state"] == b"hey_jarvis"
    assert components["wake_word"]["options"][0] == "Hey Jarvis"


def test_home_assistants_birth_brings_states_and_no_event_again(
    broker: Mosquitto, listener: Subscriber
) -> None:
    scene = command()
    app = make_app(broker.port, Input(lambda: EndlessRoom(scene.samples)), scene=scene)

    def script() -> None:
        listener.wait_for(lambda m: m.topic == f"{ROOT}/transcript/final")
        listener.wait_for(lambda _: len(on(listener, "session")) == 2)
        before = len(listener.on(CONFIG))
        listener.publish(HA_STATUS, b"online")
        listener.wait_for(lambda _: len(listener.on(CONFIG)) == before + 1)
        listener.wait_for(lambda _: on(listener, "availability") == ["online", "online"])
        listener.wait_for(lambda _: len(on(listener, "wake_word/state")) >= 2)

    assert Running(app, script).run() == 0
    assert len(on(listener, "wake")) == 1
    assert len(on(listener, "transcript/final")) == 1
    assert [e["event_type"] for e in on(listener, "session")] == ["started", "ended"]


def test_a_microphone_problem_is_reported_at_once(broker: Mosquitto, listener: Subscriber) -> None:
    settings = Settings(node_id=NODE, audio=AudioSettings(silence_alarm_s=1))
    app = make_app(broker.port, Input(lambda: EndlessRoom(then=0)), settings=settings)

    def script() -> None:
        listener.wait_for(
            lambda m: m.topic == f"{ROOT}/health" and bool(json.loads(m.payload)["mic_problem"])
        )

    assert Running(app, script).run() == 0
    assert "digital silence" in on(listener, "health")[-1]["mic_problem"]


def test_a_broker_that_forgot_everything_is_told_again(broker: Mosquitto) -> None:
    app = make_app(broker.port, Input(EndlessRoom))
    before: dict[str, bytes] = {}
    after: dict[str, bytes] = {}

    def script() -> None:
        eventually(lambda: f"{ROOT}/health" in retained(broker.port), "it has said everything")
        before.update(retained(broker.port))
        broker.kill()
        broker.start()
        eventually(lambda: retained(broker.port).keys() >= before.keys(), "it says it again")
        after.update(retained(broker.port))

    assert Running(app, script).run() == 0
    assert after[CONFIG] == before[CONFIG]
    assert CONFIG in before


def live_until_announced(port: int, settings: Settings, changes: Path) -> None:
    """Run a daemon with a microphone until the broker has what it retains."""

    def script() -> None:
        told = f"voice/{settings.node_id}/vocabulary/state"
        eventually(lambda: told in retained(port), f"{told} is there")

    app = make_app(port, Input(EndlessRoom), settings=settings, changes_file=changes)
    assert Running(app, script).run() == 0


def test_a_file_that_was_played_leaves_no_device_behind(
    broker: Mosquitto, listener: Subscriber, changes: Path
) -> None:
    scene = command()
    settings = Settings(node_id=NODE)
    app = make_app(
        broker.port, replay_of(scene), scene=scene, settings=settings, changes_file=changes
    )
    assert app.run() == 0
    assert listener.on(CONFIG)
    assert CONFIG not in retained(broker.port)


def test_a_renamed_node_leaves_nothing_behind(broker: Mosquitto, changes: Path) -> None:
    for node in ("before", "after"):
        settings = Settings(node_id=node)
        live_until_announced(broker.port, settings, changes)
    kept = retained(broker.port)
    assert "homeassistant/device/after/config" in kept
    assert not [topic for topic in kept if "before" in topic]


def test_without_discovery_the_device_goes_and_the_daemon_stays(
    broker: Mosquitto, changes: Path
) -> None:
    for discovery in (True, False):
        settings = Settings(node_id=NODE, homeassistant=HomeAssistantSettings(discovery=discovery))
        live_until_announced(broker.port, settings, changes)
        assert (CONFIG in retained(broker.port)) is discovery
    assert f"{ROOT}/state" in retained(broker.port)
    assert read_state(changes).announced == ()


def test_settings_are_reported_back_and_outlive_the_daemon(
    broker: Mosquitto, listener: Subscriber, changes: Path
) -> None:
    wanted = {"wake_word": "alexa", "wake_threshold": "0.7", "silence_ms": "900", "mute": "ON"}

    def change() -> None:
        listener.wait_for(is_state("state", "idle"))
        for name, value in wanted.items():
            set_(listener, name, value)
            listener.wait_for(is_state(f"{name}/state", value))
        listener.wait_for(is_state("state", "muted"))

    first = make_app(broker.port, Input(EndlessRoom), changes_file=changes)
    assert Running(first, change).run() == 0
    kept = retained(broker.port)
    assert {name: kept[f"{ROOT}/{name}/state"].decode() for name in wanted} == wanted
    assert json.loads(kept[f"{ROOT}/info"])["wake_words"] == ["alexa"]

    muted = on(listener, "state").count("muted")

    def look() -> None:
        listener.wait_for(lambda _: on(listener, "state").count("muted") > muted)

    second = make_app(broker.port, Input(EndlessRoom), changes_file=changes)
    assert Running(second, look).run() == 0
    assert "idle" not in on(listener, "state")[on(listener, "state").index("muted") :]
    kept = retained(broker.port)
    assert {name: kept[f"{ROOT}/{name}/state"].decode() for name in wanted} == wanted


def test_bad_values_are_refused_and_the_value_in_force_stays(
    broker: Mosquitto, listener: Subscriber
) -> None:
    bad = {"wake_threshold": "1.5", "silence_ms": "0", "wake_word": "computer", "mute": "perhaps"}

    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        for name, value in bad.items():
            set_(listener, name, value)
        listener.wait_for(lambda _: len(on(listener, "error")) == len(bad))

    assert Running(make_app(broker.port, Input(EndlessRoom)), script).run() == 0
    for error, (name, value) in zip(on(listener, "error"), bad.items(), strict=True):
        assert error["message"].startswith(f"{name}/set: ")
        assert value in error["message"]
        assert error["remedy"]
        assert len(on(listener, f"{name}/state")) == 1


def test_default_takes_a_change_back(
    broker: Mosquitto, listener: Subscriber, changes: Path
) -> None:
    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        set_(listener, "wake_threshold", "0.7")
        listener.wait_for(is_state("wake_threshold/state", "0.7"))
        set_(listener, "wake_threshold", "default")
        listener.wait_for(lambda _: on(listener, "wake_threshold/state") == ["0.5", "0.7", "0.5"])

    app = make_app(broker.port, Input(EndlessRoom), changes_file=changes)
    assert Running(app, script).run() == 0
    assert read_state(changes).changes == {}


def test_reset_over_the_control_socket_takes_all_changes_back(
    broker: Mosquitto, listener: Subscriber, changes: Path, voice_home: Path
) -> None:
    socket_path = voice_home / "s"
    told: dict[str, Any] = {}

    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        set_(listener, "silence_ms", "900")
        set_(listener, "mute", "ON")
        listener.wait_for(is_state("mute/state", "ON"))
        told.update(ControlClient(socket_path).request("reset-settings"))
        listener.wait_for(lambda _: on(listener, "silence_ms/state")[-1] == "700")
        listener.wait_for(lambda _: on(listener, "mute/state")[-1] == "OFF")

    app = make_app(broker.port, Input(EndlessRoom), changes_file=changes, socket_path=socket_path)
    assert Running(app, script).run() == 0
    assert told == {"settings": ["mute", "silence_ms"]}
    assert read_state(changes).changes == {}


def test_a_wake_word_that_cannot_be_loaded_is_an_error_and_the_old_one_stays(
    broker: Mosquitto, listener: Subscriber
) -> None:
    settings = Settings(node_id=NODE)
    models = ("hey_jarvis", "damaged")
    settings = settings.model_copy(
        update={"wake": settings.wake.model_copy(update={"models": models})}
    )

    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        set_(listener, "wake_word", "damaged")
        listener.wait_for(lambda m: m.topic == f"{ROOT}/error")

    app = make_app(broker.port, Input(EndlessRoom), settings=settings)
    assert Running(app, script).run() == 0
    assert on(listener, "error")[0]["code"] == "wake.model_unusable"
    assert on(listener, "wake_word/state") == ["all"]


def test_retained_commands_and_settings_are_ignored(
    broker: Mosquitto, listener: Subscriber
) -> None:
    orders = {"mute/set": "ON", "wake_threshold/set": "0.9", "cmd/listen": "now"}
    for topic, payload in orders.items():
        listener.publish(f"{ROOT}/{topic}", payload, retain=True)

    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        set_(listener, "silence_ms", "900")
        listener.wait_for(is_state("silence_ms/state", "900"))

    assert Running(make_app(broker.port, Input(EndlessRoom)), script).run() == 0
    assert on(listener, "mute/state") == ["OFF"]
    assert on(listener, "wake_threshold/state") == ["0.5"]
    assert on(listener, "session") == []


def test_a_silence_that_is_set_in_a_session_counts_from_the_next_one(
    broker: Mosquitto, listener: Subscriber
) -> None:
    scene = Scene().silence(1000).wake().silence(500).say("turn on the kitchen lights")
    scene.silence(1200).wake().silence(500).say("and the radio").silence(2500)
    gate = threading.Event()

    class Paused(EndlessRoom):
        """Waits in the middle of the first command for the setting to be there."""

        def read(self, timeout_s: float) -> Any:
            if self._read > scene.wakes[0] + 16_000 and not gate.is_set():
                gate.wait(0.05)
                return None
            return super().read(timeout_s)

    def script() -> None:
        listener.wait_for(lambda m: m.topic == f"{ROOT}/transcript/partial")
        set_(listener, "silence_ms", "2000")
        listener.wait_for(is_state("silence_ms/state", "2000"))
        gate.set()
        listener.wait_for(lambda _: len(on(listener, "transcript/final")) == 2)

    app = make_app(broker.port, Input(lambda: Paused(scene.samples)), scene=scene)
    assert Running(app, script).run() == 0
    finals = [final["text"] for final in on(listener, "transcript/final")]
    assert finals == ["turn on the kitchen lights", "and the radio"]


def test_a_storm_of_commands_leaves_the_session_alone(broker: Mosquitto) -> None:
    scene = command().silence(1000)
    listener = Subscriber(broker.port, topic_filter=f"{ROOT}/#")
    calm = make_app(broker.port, replay_of(scene), scene=scene)
    assert calm.run() == 0
    listener.wait_for(lambda m: m.topic == f"{ROOT}/transcript/final")
    expected = [final["text"] for final in on(listener, "transcript/final")]
    listener.close()

    finals = Subscriber(broker.port, topic_filter=f"{ROOT}/transcript/final")
    errors = Subscriber(broker.port, topic_filter=f"{ROOT}/error")
    states = Subscriber(broker.port, topic_filter=f"{ROOT}/+/state")
    in_session = threading.Event()
    over = threading.Event()

    class Steady(EndlessRoom):
        """Hears the command while the storm goes on."""

        def read(self, timeout_s: float) -> Any:
            if self._read > scene.wakes[0]:
                in_session.set()
                over.wait(0.02)
            return super().read(timeout_s)

    def script() -> None:
        assert in_session.wait(DEADLINE_S)
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(STORM // 5):
            for leaf, payload in (
                ("wake_threshold/set", f"{0.3 + number % 50 / 100:.2f}"),
                ("silence_ms/set", str(500 + number % 300)),
                ("wake_threshold/set", "nonsense"),
                ("cmd/health", ""),
                ("cmd/dance", "{"),
            ):
                finals.send(f"{ROOT}/{leaf}", payload)
        set_(finals, "silence_ms", "1234")
        states.wait_for(is_state("silence_ms/state", "1234"))
        over.set()
        finals.wait_for(lambda m: m.topic == f"{ROOT}/transcript/final")
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        assert grown_kb < 100_000 * (1024 if sys.platform == "darwin" else 1)

    app = make_app(broker.port, Input(lambda: Steady(scene.samples)), scene=scene)
    assert Running(app, script).run() == 0
    assert [final["text"] for final in on(finals, "transcript/final")] == expected
    status = app.parts.mqtt.status()
    assert (status.finals_lost, status.reconnects) == (0, 0)
    assert status.commands_refused >= STORM // 5
    assert len(errors.seen) < STORM // 50
    for client in (finals, errors, states):
        client.close()


def test_a_mute_is_on_disk_before_anybody_is_told(
    broker: Mosquitto, listener: Subscriber, changes: Path
) -> None:
    """A power cut right after the confirmation must not open the microphone again."""
    kept: list[bool] = []

    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        set_(listener, "mute", "ON")
        listener.wait_for(
            lambda m: (
                m.topic in {f"{ROOT}/state", f"{ROOT}/mute/state"}
                and m.payload in {b"muted", b"ON"}
            )
        )
        kept.append("mute" in read_state(changes).changes)

    app = make_app(broker.port, Input(EndlessRoom), changes_file=changes)
    # Whatever else writes the file would hide that the mute is not there yet.
    app.parts.housekeeper.save_due_s = float("inf")
    assert Running(app, script).run() == 0
    assert kept == [True]


def test_a_mute_that_cannot_be_kept_is_in_force_and_reported(
    broker: Mosquitto, listener: Subscriber, tmp_path: Path
) -> None:
    app = make_app(broker.port, Input(EndlessRoom), changes_file=tmp_path / "state.json")
    (tmp_path / "state.json").mkdir()

    def script() -> None:
        listener.wait_for(is_state("state", "idle"))
        set_(listener, "mute", "ON")
        listener.wait_for(is_state("mute/state", "ON"))
        assert "settings.not_saved" in app.parts.publisher.snapshot().problems

    assert Running(app, script).run() == 0
    assert on(listener, "error")[0]["code"] == "settings.not_saved"
