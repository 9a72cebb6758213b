"""How input is spoiled: bytes changed, cut and doubled, and JSON with values that nobody expects.

Knows nothing of what reads it.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

HEAD = 256
"""Where a file says what it is."""
BODY = 4096
TOKENS = (
    *(b"\xff" * 4, b"\xff" * 8, b"\0" * 4, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80"),
    *(b"1e999", b"-1", b"NaN", b"Infinity", b"9" * 30, b'"', b"[" * 200, b"{", b"null", b"true"),
    *(b"../", b"/etc/passwd", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1b[2J", b"\n", b"\r"),
    *(b"[x]\n", b"= 1\n", b"'''", b"\\ud800", b"0001-01-01T00:00:00+23:59"),
)
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**25, 1e308, 0.5),
        *(float("inf"), float("nan"), "", "x" * 300, "\ud800", "\x1b[2J", "../../x", "a\0b"),
        *(
            [],
            {},
            [[]],
            [1, [2]],
            {"a": {}},
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
        ),
    ]
)


@st.composite
def spoiled_bytes(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Change some places, most of them near the beginning."""
    content = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 5))):
        last = len(content)
        at = draw(
            st.integers(0, min(HEAD, last)) | st.integers(0, min(BODY, last)) | st.integers(0, last)
        )
        content = _changed(draw, content, at, good)
    return content


def _changed(draw: st.DrawFn, content: bytes, at: int, good: tuple[bytes, ...]) -> bytes:
    match draw(st.integers(0, 5)):
        case 0:
            value = draw(st.binary(min_size=1, max_size=8))
            return content[:at] + value + content[at + len(value) :]
        case 1:
            token = draw(st.sampled_from(TOKENS))
            return content[:at] + token + content[at + len(token) :]
        case 2:
            return content[:at] + draw(st.sampled_from(TOKENS)) + content[at:]
        case 3:
            return content[:at] + content[at + draw(st.integers(1, 64)) :]
        case 4:
            return content[:at] + draw(st.sampled_from(good))[at:]
        case _:
            return content[:at]


@st.composite
def spoiled_json(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Put another value in some places of a document; what is no JSON stays as it is."""
    content = draw(st.sampled_from(good))
    begin = content.find(b"{")
    if begin < 0:
        return content
    try:
        document, end = json.JSONDecoder().raw_decode(content[begin:].decode())
    except ValueError:
        return content
    for _ in range(draw(st.integers(1, 3))):
        document = _replaced(draw, document)
    return content[:begin] + json.dumps(document).encode() + content[begin + end :]


def _replaced(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401 - JSON is any
    """Walk into a document as far as luck leads, and replace or drop what is there."""
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value or ()))
        if isinstance(value, list)
        else ()
    )
    if not keys or draw(st.integers(0, 7)) == 0:
        return draw(VALUES)
    key = draw(st.sampled_from(list(keys)))
    if isinstance(value, dict) and draw(st.integers(0, 7)) == 0:
        return {k: v for k, v in value.items() if k != key}
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = _replaced(draw, value[key])
    return changed


def spoiled(good: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Either of the two, and now and then nothing of the kind."""
    return spoiled_json(good) | spoiled_bytes(good) | st.binary(max_size=300)
