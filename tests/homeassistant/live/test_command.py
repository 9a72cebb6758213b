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
            "transcript": ("event", "Transcript"),
            "wake": ("event", "Wake word heard"),
            "state": ("sensor", "State"),
            "words": ("sensor", "Words being spoken"),
        }
        found = {key: hub.entity(NODE, *name) for key, name in names.items()}
        soon(lambda: hub.state(found["state"]) == "idle", "the daemon is idle")
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
    trigger = {k: v for k, v in hub.triggers(NODE)[0].items() if k != "metadata"}
    hub.automate(FIRED, {"triggers": [trigger], "actions": [{"event": FIRED}]})
    with hub.watch(FIRED) as fired, hub.watch() as watch:
        with start_module_daemon(NODE, recording=spoken):
            soon(
                lambda: COMMAND in [s["attributes"].get("text") for s in finals(watch, entities)],
                "the final event is there",
            )
            soon(
                lambda: [s["state"] for s in watch.states(entities["state"])][-1] == "idle",
                "it is idle again",
            )
        assert len(fired.data()) == 1, "the device trigger"
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


def test_the_states_come_in_order(heard: Watch, entities: dict[str, str]) -> None:
    states = [state["state"] for state in heard.states(entities["state"])]
    first = states.index("listening")
    assert states[first - 1 : first + 3] == ["idle", "listening", "transcribing", "idle"]
    assert states.count("listening") == states.count("transcribing") == 1


def test_words_are_shown_while_they_are_spoken(heard: Watch, entities: dict[str, str]) -> None:
    shown = [s for s in heard.states(entities["words"]) if s["attributes"].get("text") is not None]
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
