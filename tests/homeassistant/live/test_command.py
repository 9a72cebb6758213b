"""A spoken command as Home Assistant sees it, from the wake word to the final text."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, Watch, soon
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken_commands

NODE = named("speech")
COMMAND = "Turn on the kitchen lights."
FIRED = "livetest_wake"


@pytest.fixture(scope="module")
def entities(hub: Hub, start_module_daemon: StartDaemon) -> dict[str, str]:
    """Have the device known beforehand: Home Assistant hears nothing of what it does not know."""
    with start_module_daemon(NODE, forget=False):
        names = {
            "last": ("sensor", "Last command"),
            "state": ("sensor", "State"),
            "listening": ("binary_sensor", "Listening"),
        }
        found = {key: hub.entity(NODE, *name) for key, name in names.items()}
        soon(lambda: hub.state(found["state"]) == "Ready", "the daemon is ready")
        hidden = {
            "transcript": ("event", "Transcript"),
            "wake": ("event", "Wake word heard"),
            "words": ("sensor", "Words being spoken"),
        }
        enabled = hub.enable(NODE, *hidden.values())
        found |= {key: enabled[name] for key, (_, name) in hidden.items()}
    soon(lambda: hub.state(found["state"]) == "unavailable", "the daemon is gone")
    return found


@pytest.fixture(scope="module")
def heard(
    hub: Hub,
    entities: dict[str, str],
    start_module_daemon: StartDaemon,
    tmp_path_factory: pytest.TempPathFactory,
) -> Watch:
    """Everything that happened in Home Assistant while one command was spoken."""
    spoken = spoken_commands(tmp_path_factory.mktemp("speech") / "one.wav", pauses_s=(3,))
    triggers = [
        {k: v for k, v in trigger.items() if k != "metadata"} for trigger in hub.triggers(NODE)
    ]
    event = {"event": FIRED, "event_data": {"what": "{{ trigger.payload_json.event_type }}"}}
    hub.automate(FIRED, {"triggers": triggers, "actions": [event], "mode": "queued"})
    with hub.watch(FIRED) as fired, hub.watch() as watch:
        with start_module_daemon(NODE, recording=spoken):
            soon(
                lambda: COMMAND in [s["attributes"].get("text") for s in finals(watch, entities)],
                "the final event is there",
            )
            soon(
                lambda: [s["state"] for s in watch.states(entities["listening"])][-1] == "off",
                "it listens no more",
            )
            soon(lambda: watch.states(entities["words"])[-1]["state"] == "", "words are cleared")
        assert [data["what"] for data in fired.data()] == ["detected", "final"]
    hub.forget_automation(FIRED)
    return watch


def finals(watch: Watch, entities: dict[str, str]) -> list[dict[str, Any]]:
    return [
        state
        for state in watch.states(entities["transcript"])
        if state["attributes"].get("event_type") == "final"
    ]


def test_the_wake_word_is_one_event(heard: Watch, entities: dict[str, str]) -> None:
    events = [s for s in heard.states(entities["wake"]) if s["attributes"].get("event_type")]
    assert len(events) == 1
    attributes = events[0]["attributes"]
    assert (attributes["event_type"], attributes["wake_word"]) == ("detected", "hey_jarvis")
    assert attributes["score"] > 0.5


def test_it_listens_once_and_stays_ready(heard: Watch, entities: dict[str, str]) -> None:
    listening = [s["state"] for s in heard.states(entities["listening"])]
    assert listening.count("on") == 1
    assert listening[listening.index("on") + 1] == "off"
    states = {s["state"] for s in heard.states(entities["state"])}
    assert states - {"unavailable", "Starting"} == {"Ready"}


def test_the_last_command_is_the_text(heard: Watch, entities: dict[str, str]) -> None:
    assert [s["state"] for s in heard.states(entities["last"])].count(COMMAND) == 1


def test_words_are_shown_while_they_are_spoken(heard: Watch, entities: dict[str, str]) -> None:
    told = [s for s in heard.states(entities["words"]) if s["attributes"].get("text") is not None]
    shown = [s for s in told if s["state"]]
    texts = [state["attributes"]["text"] for state in shown]
    assert len(shown) > 1
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert all(
        state["state"] == (state["attributes"]["text"] + state["attributes"]["draft"]).strip()
        for state in shown
    )


def test_the_final_is_one_event_with_its_text(heard: Watch, entities: dict[str, str]) -> None:
    events = finals(heard, entities)
    assert [event["attributes"]["text"] for event in events] == [COMMAND]
    attributes = events[0]["attributes"]
    assert (attributes["end_reason"], attributes["wake_word"]) == ("silence", "hey_jarvis")
    assert [word["text"] for word in attributes["words"]]
    assert json.dumps(attributes["timing"])


def test_all_of_it_is_one_session(heard: Watch, entities: dict[str, str]) -> None:
    ids = {
        state["attributes"]["session_id"]
        for entity in ("wake", "words", "transcript")
        for state in heard.states(entities[entity])
        if "session_id" in state["attributes"]
    }
    assert len(ids) == 1
