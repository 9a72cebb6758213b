"""Claims as messages: what is written can be read, and nothing that arrives does harm."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.events import Claim, Stage
from voice_daemon.mqtt.peers import (
    MAX_CLAIM_BYTES,
    MAX_NAME_CHARS,
    claim_message,
    claims_filter,
    parse_claim,
)
from voice_daemon.mqtt.topics import Topics

TOPICS = Topics("home/voice", "den")
GOOD: dict[str, Any] = {
    "schema": 1,
    "event_type": "taken",
    "node_id": "den",
    "session_id": "s1",
    "wake_word": "hey_jarvis",
    "score": 0.5,
}
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)


@given(
    st.builds(
        Claim,
        stage=st.sampled_from(Stage),
        node_id=st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True),
        session_id=names,
        wake_word=names,
        score=st.floats(0, 1),
    )
)
def test_a_claim_is_read_as_it_was_written(claim: Claim) -> None:
    message = claim_message(claim, topics=TOPICS, at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert parse_claim(message.payload) == claim
    assert (message.qos, message.retain) == (0, False)
    base, _, word = message.topic.rpartition("/")
    assert f"{base}/+" == claims_filter(TOPICS) == "home/voice/arbitration/+"
    assert not set(word) & set("+#/")


def test_what_a_newer_device_adds_is_passed_over() -> None:
    assert parse_claim(json.dumps({**GOOD, "loudness": -20}).encode()) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"event_type": "claimed"},
        {"event_type": ["claim"]},
        {"node_id": "Den"},
        {"node_id": ""},
        {"node_id": None},
        {"score": 1.01},
        {"score": -0.01},
        {"score": True},
        {"score": "0.5"},
        {"score": float("nan")},
        {"score": 10**400},
        {"session_id": ""},
        {"session_id": "s" * (MAX_NAME_CHARS + 1)},
        {"wake_word": 5},
        {"wake_word": "hey\njarvis"},
    ],
)
def test_a_claim_out_of_bounds_is_none(change: dict[str, Any]) -> None:
    assert parse_claim(json.dumps({**GOOD, **change}).encode()) is None


@pytest.mark.parametrize("key", GOOD)
def test_a_claim_that_lacks_something_is_none(key: str) -> None:
    assert parse_claim(json.dumps({k: v for k, v in GOOD.items() if k != key}).encode()) is None


def test_a_claim_that_is_too_long_is_not_read() -> None:
    padded = json.dumps(GOOD).encode().ljust(MAX_CLAIM_BYTES + 1)
    assert parse_claim(padded) is None
    assert parse_claim(padded[:-1]) is not None


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_arrives_is_no_claim(payload: bytes) -> None:
    assert parse_claim(payload) is None


def test_json_that_is_nested_too_deeply_is_no_claim() -> None:
    assert parse_claim(b"[" * MAX_CLAIM_BYTES) is None
