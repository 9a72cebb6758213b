"""What the daemon understands from others, and what it says to the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voice_daemon.mqtt.commands import (
    MAX_COMMAND_BYTES,
    Command,
    CommandError,
    Kind,
    Scalar,
    parse_command,
)
from voice_daemon.mqtt.topics import Topics

TOPICS = Topics("home/voice", "den")
ROOT = "home/voice/den"


def parse(leaf: str, payload: bytes | str = b"") -> Command | None:
    data = payload.encode() if isinstance(payload, str) else payload
    return parse_command(f"{ROOT}/{leaf}", data, topics=TOPICS)


def given_value(payload: str) -> Scalar | None:
    command = parse("mute/set", payload)
    assert command is not None
    return command.value


def test_an_empty_call_is_a_command() -> None:
    assert parse("cmd/listen") == Command("listen", None, None, Kind.CALL)


def test_a_setting_carries_its_value() -> None:
    assert parse("wake_threshold/set", "0.6") == Command("wake_threshold", None, 0.6, Kind.SETTING)


def test_an_object_carries_value_and_transaction() -> None:
    assert parse("mute/set", '{"value": true, "transaction": "t1"}') == Command(
        "mute", "t1", value=True, kind=Kind.SETTING
    )


def test_an_integer_transaction_stays_an_integer() -> None:
    command = parse("cmd/listen", '{"transaction": 7}')
    assert command is not None
    assert command.transaction == 7


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ("ON", "ON"),
        (" off\n", "off"),
        ("\ufeffON\r\n", "ON"),
        ('"ON"', "ON"),
        ("true", True),
        ("700", 700),
        ("NaN", "NaN"),
    ],
)
def test_a_bare_word_is_a_value(payload: str, value: Scalar) -> None:
    assert given_value(payload) == value


@pytest.mark.parametrize("payload", ["ON", "on", "true", "1", "yes", '{"value": true}'])
def test_people_say_on_in_many_ways(payload: str) -> None:
    command = parse("mute/set", payload)
    assert command is not None
    assert command.flag() is True


@pytest.mark.parametrize("payload", ["OFF", "false", "0", "No"])
def test_people_say_off_in_many_ways(payload: str) -> None:
    command = parse("mute/set", payload)
    assert command is not None
    assert command.flag() is False


@pytest.mark.parametrize("payload", ["", "loud", "2", '{"transaction": "t"}'])
def test_what_is_neither_on_nor_off_is_refused(payload: str) -> None:
    command = parse("mute/set", payload)
    assert command is not None
    with pytest.raises(CommandError, match=r"mute/set: value .* is not ON or OFF"):
        command.flag()


@pytest.mark.parametrize("payload", ["", "high", "true", "1e999", "NaN", "9" * 400])
def test_what_is_no_finite_number_is_refused(payload: str) -> None:
    command = parse("silence_ms/set", payload)
    assert command is not None
    with pytest.raises(CommandError, match=r"silence_ms/set: value .* is not a number"):
        command.number()


@pytest.mark.parametrize(
    "topic",
    [
        f"{ROOT}/state",
        f"{ROOT}/cmd",
        f"{ROOT}/cmd/a/b",
        f"{ROOT}/mute/set/x",
        f"{ROOT}",
        "home/voice/other/cmd/listen",
        "home/voice/den2/cmd/listen",
    ],
)
def test_other_topics_are_no_commands(topic: str) -> None:
    assert parse_command(topic, b"", topics=TOPICS) is None


@pytest.mark.parametrize(
    ("leaf", "payload", "code"),
    [
        ("cmd/listen", b"\xff\xfe", "command.not_utf8"),
        ("cmd/listen", b"x" * (MAX_COMMAND_BYTES + 1), "command.too_long"),
        ("cmd/listen", b'{"transaction":', "command.bad_json"),
        ("cmd/listen", b'{"value": NaN}', "command.bad_json"),
        ("cmd/listen", b'{"a":' + b"[" * 1000, "command.bad_json"),
        ("cmd/listen", b'{"vaule": 1}', "command.unknown_key"),
        ("cmd/listen", b'{"transaction": [1]}', "command.bad_transaction"),
        ("cmd/listen", b'{"transaction": true}', "command.bad_transaction"),
        ("cmd/listen", b'{"transaction": "' + b"t" * 200 + b'"}', "command.bad_transaction"),
        ("mute/set", b'{"value": {"a": 1}}', "command.bad_value"),
        ("mute/set", b"[1, 2]", "command.bad_value"),
        ("mute/set", b"a\x00b", "command.bad_value"),
        ("mute/set", b"null", "command.bad_value"),
        ("cmd/Listen!", b"", "command.bad_topic"),
    ],
)
def test_bad_input_says_what_is_wrong_with_it(leaf: str, payload: bytes, code: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(leaf, payload)
    assert caught.value.code == code
    assert caught.value.remedy


def test_a_bad_value_still_echoes_its_transaction() -> None:
    with pytest.raises(CommandError) as caught:
        parse("mute/set", '{"value": [], "transaction": "t9"}')
    assert caught.value.command.transaction == "t9"


def test_a_mistyped_verb_gets_a_suggestion() -> None:
    command = parse("cmd/lisen")
    assert command is not None
    assert command.unknown(("listen", "cancel")).remedy == "did you mean 'listen'?"
    assert command.unknown(("mute",)).remedy == "known: mute"


@given(st.binary(max_size=MAX_COMMAND_BYTES + 10))
@example(b'{"value":"\\ud800"}')
@example(b"[" * MAX_COMMAND_BYTES)
def test_no_payload_does_more_than_make_a_command_or_an_error(payload: bytes) -> None:
    outcome: Command | CommandError | None
    try:
        outcome = parse("mute/set", payload)
    except CommandError as error:
        outcome = error
    if isinstance(outcome, CommandError):
        assert outcome.message.startswith("mute/set: ")
    else:
        assert outcome is not None
        assert outcome.value is None or isinstance(outcome.value, str | int | float)


@given(
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=100)),
    transaction=st.one_of(st.none(), st.integers(), st.text(max_size=100)),
)
def test_an_object_is_read_as_it_was_written(
    value: Scalar | None, transaction: str | int | None
) -> None:
    payload = json.dumps({"value": value, "transaction": transaction}, ensure_ascii=False)
    data = payload.encode(errors="replace")
    if len(data) <= MAX_COMMAND_BYTES:
        document = json.loads(data)
        assert parse("mute/set", data) == Command(
            "mute", document["transaction"], document["value"], Kind.SETTING
        )
