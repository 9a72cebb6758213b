"""When the device is announced, and what is taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.devices import device
from voice_daemon.config.persisted import Announcement, SettingsStore
from voice_daemon.homeassistant.announce import DELAY_S, MIGRATE, DiscoveryAnnouncer
from voice_daemon.homeassistant.discovery import Device
from voice_daemon.mqtt.topics import MqttMessage

CONFIG = "homeassistant/device/mac-mini/config"


class Home:
    """A life cycle with its clock; every new one is a new run of the daemon."""

    def __init__(
        self,
        file: Path,
        announced: Device | None,
        *,
        delay_s: float = 3.0,
    ) -> None:
        self.now_s = 100.0
        self.nudges = 0
        self.store = SettingsStore(file)
        self.lifecycle = DiscoveryAnnouncer(
            announced,
            topics=(announced or device()).topics,
            settings=("mute", "silence_ms"),
            store=self.store,
            wake=self._nudged,
            clock_s=lambda: self.now_s,
            delay_s=lambda: delay_s,
        )

    def _nudged(self) -> None:
        self.nudges += 1

    def connect(self, *, confirmed: bool = True) -> list[MqttMessage]:
        messages = self.lifecycle.messages()
        if confirmed:
            self.lifecycle.confirmed()
        self.store.save()
        return messages


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def removed(messages: list[MqttMessage]) -> list[str]:
    messages = [message for message in messages if message.payload != MIGRATE]
    assert all(message.retain and message.qos == 1 for message in messages)
    return [message.topic for message in messages if not message.payload]


def test_it_is_announced_at_each_connect(file: Path) -> None:
    home = Home(file, device())
    for _ in range(2):
        (message,) = home.connect()
        assert message.topic == CONFIG
        assert message.retain


def test_the_birth_of_home_assistant_calls_for_one_more_a_moment_later(file: Path) -> None:
    home = Home(file, device(), delay_s=3.0)
    home.connect()
    home.lifecycle.on_status("homeassistant/status", b"online")
    home.lifecycle.on_status("homeassistant/status", b"online")
    assert home.lifecycle.due_s == 103.0
    assert home.nudges == 1
    home.connect()
    assert home.lifecycle.due_s is None


def test_the_moment_is_random_within_five_seconds() -> None:
    topics = device().topics
    dues = set()
    for _ in range(20):
        lifecycle = DiscoveryAnnouncer(
            device(),
            topics=topics,
            settings=(),
            store=SettingsStore(),
            wake=lambda: None,
            clock_s=lambda: 100.0,
        )
        lifecycle.on_status("homeassistant/status", b"online")
        dues.add(lifecycle.due_s)
    assert len(dues) > 1
    assert all(due is not None and DELAY_S[0] <= due - 100 <= DELAY_S[1] for due in dues)


@pytest.mark.parametrize("payload", [b"offline", b"", b"Online", b"\xff"])
def test_other_words_of_home_assistant_call_for_nothing(file: Path, payload: bytes) -> None:
    home = Home(file, device())
    home.lifecycle.on_status("homeassistant/status", payload)
    assert home.lifecycle.due_s is None


def test_a_renamed_node_takes_back_all_that_the_broker_kept(file: Path) -> None:
    Home(file, device()).connect()
    messages = Home(file, device("attic")).connect()
    # In this order Home Assistant keeps what it knows of the device.
    assert [(m.topic, m.payload) for m in messages[:1]] == [(CONFIG, MIGRATE)]
    assert messages[1].topic == "homeassistant/device/attic/config"
    assert removed(messages) == [
        CONFIG,
        *(f"voice/mac-mini/{leaf}" for leaf in ("availability", "info", "state", "health")),
        "voice/mac-mini/vocabulary/state",
        *("voice/mac-mini/mute/state", "voice/mac-mini/silence_ms/state"),
    ]
    assert removed(Home(file, device("attic")).connect()) == []


def test_another_base_topic_takes_back_what_was_below_the_old_one(file: Path) -> None:
    Home(file, device()).connect()
    messages = Home(file, device(base="home")).connect()
    assert CONFIG not in removed(messages)
    assert "voice/mac-mini/availability" in removed(messages)
    assert messages[0].topic == CONFIG


def test_another_prefix_takes_back_the_announcement_alone(file: Path) -> None:
    Home(file, device()).connect()
    messages = Home(file, replace(device(), prefix="hass")).connect()
    assert removed(messages) == [CONFIG]


def test_without_discovery_the_announcement_is_taken_back_once(file: Path) -> None:
    Home(file, device()).connect()
    assert removed(Home(file, None).connect()) == [CONFIG]
    assert Home(file, None).connect() == []


def test_without_discovery_home_assistants_birth_calls_for_nothing(file: Path) -> None:
    home = Home(file, None)
    home.lifecycle.on_status("homeassistant/status", b"online")
    assert home.lifecycle.due_s is None


def test_what_the_broker_has_not_confirmed_is_taken_back_again(file: Path) -> None:
    Home(file, device()).connect()
    assert removed(Home(file, None).connect(confirmed=False)) == [CONFIG]
    assert removed(Home(file, None).connect()) == [CONFIG]


def test_a_component_that_an_upgrade_drops_is_removed_once(file: Path) -> None:
    store = SettingsStore(file)
    store.announce(
        (Announcement(CONFIG, "voice/mac-mini", {"update": "update", "mute": "switch"}),)
    )
    store.save()
    first, second = (Home(file, device()).connect()[0] for _ in range(2))
    assert json.loads(first.payload)["components"]["update"] == {"platform": "update"}
    assert "unique_id" in json.loads(first.payload)["components"]["mute"]
    assert "update" not in json.loads(second.payload)["components"]


def test_a_file_that_was_played_leaves_no_device_behind(file: Path) -> None:
    home = Home(file, device())
    home.connect()
    assert removed(home.lifecycle.withdraw()) == [CONFIG]
    home.lifecycle.confirmed()
    assert home.store.state.announced == ()


def test_a_file_that_is_played_by_a_known_device_leaves_it_as_it_was(file: Path) -> None:
    Home(file, device()).connect()
    home = Home(file, device())
    home.connect()
    assert home.lifecycle.withdraw() == []


def test_the_microphone_is_announced_once_it_is_known(file: Path) -> None:
    home = Home(file, device())
    assert home.lifecycle.input_changed("Built-in") == []  # the first announcement says it
    home.connect()
    (message,) = home.lifecycle.input_changed("Jabra")
    assert home.lifecycle.input_changed("Jabra") == []
    assert json.loads(message.payload)["device"]["hw_version"] == "Jabra"


def test_a_device_has_one_identity_for_ever(file: Path) -> None:
    store = SettingsStore(file)
    identity = store.instance("mac-mini")
    store.save()
    assert SettingsStore(file).instance("attic") == identity != "mac-mini"


def test_a_device_of_an_earlier_version_keeps_its_identity(file: Path) -> None:
    store = SettingsStore(file)
    store.announce((Announcement(CONFIG, "voice/mac-mini", {}),))
    assert store.instance("attic") == "mac-mini"
