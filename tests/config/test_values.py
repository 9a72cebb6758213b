"""The kinds of value that a key can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from voice_daemon.config.values import (
    Host,
    NodeId,
    host_node_id,
    names_a_path,
    reduce_host_name,
)


@pytest.mark.parametrize(
    ("host_name", "node_id"),
    [
        ("Mac-mini.local", "mac-mini"),
        ("Anna\u2019s iMac", "anna-s-imac"),
        ("kitchen_2", "kitchen_2"),
        ("Ünique", "nique"),
        ("...", "voice-daemon"),
        ("192.168.1.5", "voice-daemon"),
        ("fe80::1", "voice-daemon"),
        ("", "voice-daemon"),
    ],
)
def test_a_host_name_is_reduced_to_a_node_id(host_name: str, node_id: str) -> None:
    assert reduce_host_name(host_name) == node_id


@given(st.text())
def test_every_host_name_gives_a_good_node_id(host_name: str) -> None:
    TypeAdapter(NodeId).validate_python(reduce_host_name(host_name))


def test_this_host_has_a_good_node_id() -> None:
    TypeAdapter(NodeId).validate_python(host_node_id())


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "::1", "fe80::1%en0", "ha.local", "my_broker", "a-b.lan."]
)
def test_names_and_addresses_are_hosts(host: str) -> None:
    assert TypeAdapter(Host).validate_python(host) == host


def test_the_brackets_of_a_url_are_no_part_of_an_address() -> None:
    assert TypeAdapter(Host).validate_python("[::1]") == "::1"
    assert TypeAdapter(Host).validate_python("[fe80::1%25en0]") == "fe80::1%en0"


@pytest.mark.parametrize(
    "host",
    [
        *("", "a b", "[::1", "[]", "mqtt://x", "x:1883", "me@x", "x/y", "a\n", "a..b", "-a", "a-"),
        *("[kitchen]", "192.168.1.256", "192.168.1", "::1::", "fe80::g", f"{'a' * 64}.lan"),
    ],
)
def test_anything_else_is_no_host(host: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Host).validate_python(host)


@pytest.mark.parametrize("name", ["/m", "./m", "../m", "~/m", "~", "m.onnx", "models/m.tflite"])
def test_a_path_is_known_by_its_marks(name: str) -> None:
    assert names_a_path(name)


@pytest.mark.parametrize("name", ["tiny.en", "mlx-community/whisper-tiny", "hey_jarvis"])
def test_a_name_is_no_path(name: str) -> None:
    assert not names_a_path(name)
