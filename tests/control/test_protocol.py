from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon import __version__
from voice_daemon.control import protocol
from voice_daemon.errors import ControlError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(verb=st.text(max_size=50), arguments=st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_a_request_survives_the_wire(verb: str, arguments: dict[str, object]) -> None:
    request = protocol.Request(verb, arguments)
    line = protocol.encode_request(request)
    assert line.count(b"\n") == 1
    assert protocol.decode_request(line.removesuffix(b"\n")) == request


@given(result=st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_a_result_survives_the_wire_with_schema_and_version(result: dict[str, object]) -> None:
    line = protocol.encode_result(result)
    assert json.loads(line)["schema"] == 1
    assert protocol.decode_reply(line) == protocol.Reply(__version__, result)


def test_an_error_reply_is_raised_with_code_message_and_remedy() -> None:
    sent = ControlError("control.muted", "it is muted", remedy="unmute it")
    with pytest.raises(ControlError) as raised:
        protocol.decode_reply(protocol.encode_error(sent))
    assert (raised.value.code, raised.value.message, raised.value.remedy) == (
        "control.muted",
        "it is muted",
        "unmute it",
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'"status"',
        b"null",
        b"\xff\xfe",
        b'{"verb": 3}',
        b"{}",
        b'{"verb": "a", "arguments": []}',
        b"[" * 60_000,
    ],
)
def test_what_is_no_request_is_refused_with_a_remedy(line: bytes) -> None:
    with pytest.raises(ControlError) as raised:
        protocol.decode_request(line)
    assert raised.value.code == "control.malformed"
    assert raised.value.remedy


@given(line=st.binary(max_size=200))
def test_no_bytes_make_the_parsers_raise_anything_else(line: bytes) -> None:
    for decode in (protocol.decode_request, protocol.decode_reply):
        with suppress(ControlError):
            decode(line)


@given(
    lines=st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=6),
    cut=st.integers(min_value=1, max_value=7),
)
def test_lines_come_back_whole_however_they_arrive(lines: list[bytes], cut: int) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    buffer = protocol.LineBuffer()
    found: list[bytes] = []
    for start in range(0, len(stream), cut):
        buffer.feed(stream[start : start + cut])
        while (line := buffer.next_line()) is not None:
            found.append(line)
    assert found == lines
    assert buffer.rest() == b"rest"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_over_the_limit_is_refused_whether_it_ends_or_not(end: bytes) -> None:
    buffer = protocol.LineBuffer(max_line_bytes=10)
    buffer.feed(b"x" * 10 + end)
    with pytest.raises(ControlError, match="longer than 10 bytes"):
        buffer.next_line()


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(ControlError, match="does not fit"):
        protocol.encode_result({"text": "x" * protocol.MAX_LINE_BYTES})
