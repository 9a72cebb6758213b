"""The device that Home Assistant is told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.devices import device
from support.discovery_schema import faults
from voice_daemon.config import SessionSettings, WakeSettings
from voice_daemon.config.problems import bounds
from voice_daemon.errors import ConfigError
from voice_daemon.events import State
from voice_daemon.homeassistant.discovery import Device, announcement, components

GOLDEN = Path(__file__).parents[1] / "golden" / "homeassistant" / "device.json"


def body(announced: Device, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(announcement(announced, **options).payload)
    return found


def test_the_announcement_is_as_it_was_agreed() -> None:
    message = announcement(device())
    assert (message.topic, message.qos, message.retain, message.expiry_s) == (
        *("homeassistant/device/mac-mini/config", 1, True, None),
    )
    assert json.loads(message.payload) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    "announced",
    [device(), device("x"), device("a_b-c", base="home/voice")],
)
def test_home_assistant_takes_every_key(announced: Device) -> None:
    assert faults(body(announced)) == []


@pytest.mark.parametrize("node", ["", "Mac Mini", "mac/mini", "mac.mini", "mäc", "+", "x" * 65])
def test_a_node_that_home_assistant_would_not_take_is_refused(node: str) -> None:
    with pytest.raises(ConfigError):
        device(node)


def test_every_topic_is_one_of_the_daemons() -> None:
    topics = [
        value
        for component in components(device()).values()
        for key, value in component.items()
        if key.endswith("topic")
    ]
    assert topics
    assert [topic for topic in topics if not topic.startswith("voice/mac-mini/")] == []


def test_two_nodes_share_nothing_that_must_be_their_own() -> None:
    one, other = body(device("attic")), body(device("cellar"))
    assert one["device"]["identifiers"] != other["device"]["identifiers"]
    ids_of_one, ids_of_other = (
        {c["unique_id"] for c in whole["components"].values() if "unique_id" in c}
        for whole in (one, other)
    )
    assert ids_of_one
    assert ids_of_one.isdisjoint(ids_of_other)


def test_the_state_sensor_knows_every_state() -> None:
    assert components(device())["state"]["options"] == [state.value for state in State]


def test_the_numbers_have_the_configurations_bounds() -> None:
    entities = components(device())
    for name, field in (
        ("wake_threshold", WakeSettings.model_fields["threshold"]),
        ("silence_ms", SessionSettings.model_fields["silence_ms"]),
    ):
        assert (entities[name]["min"], entities[name]["max"]) == bounds(field)


def test_a_dropped_component_is_named_by_its_platform_alone() -> None:
    found = body(device(), dropped={"update": "update"})["components"]
    assert found.pop("update") == {"platform": "update"}
    assert found == body(device())["components"]
