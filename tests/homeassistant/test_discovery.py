"""The device that Home Assistant is told of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.devices import device
from support.discovery_schema import faults
from voice_daemon.config import SessionSettings, WakeSettings
from voice_daemon.config.problems import bounds
from voice_daemon.events import EndReason, SessionEnded, State, TranscriptPartial
from voice_daemon.homeassistant.discovery import (
    STATE_WORDS,
    Device,
    announcement,
    components,
    words_message,
)

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
    assert STATE_WORDS.keys() == set(State)
    assert set(components(device())["state"]["options"]) == set(STATE_WORDS.values())


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


def test_what_is_dropped_goes_before_what_may_take_its_place_comes() -> None:
    assert next(
        iter(body(device(), dropped={"wake_trigger": "device_automation"})["components"])
    ) == ("wake_trigger")


def test_another_device_of_the_same_node_has_triggers_of_its_own() -> None:
    names = [
        {name for name, c in components(device(instance=instance)).items() if "subtype" in c}
        for instance in ("7f3a", "91c0")
    ]
    assert names[0].isdisjoint(names[1])


def test_a_renamed_node_is_the_same_device() -> None:
    one, other = body(device("attic", instance="7f3a")), body(device("cellar", instance="7f3a"))
    assert one["device"]["identifiers"] == other["device"]["identifiers"]
    ids_of_one, ids_of_other = (
        {name: c.get("unique_id") for name, c in whole["components"].items()}
        for whole in (one, other)
    )
    assert ids_of_one == ids_of_other


def test_the_room_is_suggested_where_it_is_known() -> None:
    assert "suggested_area" not in body(device())["device"]
    assert body(replace(device(), area="Kitchen"))["device"]["suggested_area"] == "Kitchen"


def test_without_an_address_the_project_has_no_link() -> None:
    found = body(replace(device(), url=""))
    assert faults(found) == []
    assert "configuration_url" not in found["device"]
    assert "support_url" not in found["origin"]


def test_the_words_being_spoken_are_taken_back_at_the_end_of_their_session() -> None:
    topics = device().topics
    partial = TranscriptPartial("s", 1, "turn on", " the.", "en", 900, 100)
    ended = SessionEnded("s", EndReason.CANCELLED, 0, 0)
    said = [words_message(event, topics) for event in (partial, ended)]
    assert [json.loads(m.payload)["text"] + json.loads(m.payload)["draft"] for m in said if m] == [
        *("turn on the", "")
    ]
    assert {m.topic for m in said if m} == {components(device())["words"]["state_topic"]}
