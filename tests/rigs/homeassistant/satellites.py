"""A satellite of ours in Home Assistant: found, added, and in a pipeline."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from rigs.brokers import HOST
from rigs.homeassistant.hub import Hub, soon

FLOWS = "/api/config/config_entries/flow"
ENTRIES = "/api/config/config_entries/entry"


@dataclass(frozen=True, slots=True)
class Added:
    """Both services in Home Assistant, as its user has added them."""

    satellite: str
    """The entity."""
    recogniser: str
    voice: str
    """The system's own, as a text-to-speech; "" where it has none."""
    entries: tuple[str, ...]


@contextmanager
def found(hub: Hub, node: str) -> Iterator[Added]:
    """Add what Home Assistant has found of a node, by its dialogues alone."""
    if not hub.has("zeroconf"):
        pytest.skip("this Home Assistant has no `zeroconf:`")
    name = f"Voice {node.replace('-', ' ').title()}"

    def flows() -> list[dict[str, Any]]:
        known = hub.ask("config_entries/flow/progress")
        return [
            flow
            for flow in known
            if flow["handler"] == "wyoming"
            and flow["context"].get("title_placeholders", {}).get("name", "").startswith(name)
        ]

    waiting = soon(lambda: len(flows()) == 2 and flows(), "zeroconf finds both services")
    assert isinstance(waiting, list)
    with _added(hub, [(flow["flow_id"], {}) for flow in waiting]) as added:
        yield added


@contextmanager
def added_by_address(hub: Hub, ports: Sequence[int]) -> Iterator[Added]:
    """Add services by the addresses that their user types in."""
    flows = [
        (
            hub.request("POST", FLOWS, {"handler": "wyoming"})["flow_id"],
            {"host": HOST, "port": port},
        )
        for port in ports
    ]
    with _added(hub, flows) as added:
        yield added


@contextmanager
def _added(hub: Hub, flows: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Added]:
    entries = []
    for flow_id, answers in flows:
        done = hub.request("POST", f"{FLOWS}/{flow_id}", answers)
        assert done["type"] == "create_entry", done
        entries.append(done["result"]["entry_id"])

    def entity(domain: str) -> str:
        known = hub.ask("config/entity_registry/list")
        ours = [e["entity_id"] for e in known if e["config_entry_id"] in entries]
        return next((one for one in ours if one.startswith(f"{domain}.")), "")

    try:
        yield Added(
            soon(lambda: entity("assist_satellite"), "there is a satellite"),
            soon(lambda: entity("stt"), "there is its recogniser"),
            entity("tts"),
            tuple(entries),
        )
    finally:
        for entry in entries:
            hub.request("DELETE", f"{ENTRIES}/{entry}")


@contextmanager
def pipeline(hub: Hub, node: str, added: Added, *, speaks: bool = False) -> Iterator[None]:
    """Have Home Assistant prefer an assistant that hears with ours, and speaks with its voice."""
    # 2026.2 runs no pipeline without speech.
    voice = (added.voice or None) if speaks or not hub.is_since(2026, 11) else None
    before = hub.ask("assist_pipeline/pipeline/list")["preferred_pipeline"]
    made = hub.ask(
        "assist_pipeline/pipeline/create",
        name=node,
        language="en",
        conversation_engine="conversation.home_assistant",
        conversation_language="en",
        stt_engine=added.recogniser,
        stt_language="en",
        tts_engine=voice,
        tts_language="en" if voice else None,
        **dict.fromkeys(("tts_voice", "wake_word_entity", "wake_word_id")),
    )
    hub.ask("assist_pipeline/pipeline/set_preferred", pipeline_id=made["id"])
    try:
        yield
    finally:
        hub.ask("assist_pipeline/pipeline/set_preferred", pipeline_id=before)
        hub.ask("assist_pipeline/pipeline/delete", pipeline_id=made["id"])


def ready(hub: Hub, node: str, added: Added) -> None:
    """Wait until a satellite hears and is heard of."""
    soon(lambda: hub.state(added.satellite) == "idle", "the satellite is connected")
    state = hub.entity(node, "sensor", "State")
    soon(lambda: hub.state(state) == "Ready", "the daemon is ready")
    time.sleep(1)
