"""Mutations of good input: bytes changed, cut and doubled, and JSON with unexpected values.

Hypothesis draws them; each is small, because it keeps all that it ever drew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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


class Good(tuple[bytes, ...]):
    """Input to be mutated, with a short name: hypothesis writes its strategies out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} good>"


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of some bytes."""

    at: int
    put: bytes = b""
    skip: int = 0
    """How many bytes `put` stands for."""
    rest_of: int | None = None
    """Go on with what another good input has there; a number beyond all ends it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to mutate a good input. Small: hypothesis keeps all that it ever drew."""

    number: int
    """Of the good input."""
    edits: tuple[Edit, ...]

    def apply(self, good: Sequence[bytes]) -> bytes:
        """Give the mutated input."""
        content = good[self.number]
        for edit in self.edits:
            head, tail = content[: edit.at], content[edit.at + edit.skip :]
            if edit.rest_of is not None:
                tail = good[edit.rest_of][edit.at :] if edit.rest_of < len(good) else b""
            content = head + edit.put + tail
        return content


@st.composite
def recipes(draw: st.DrawFn, good: Good) -> Recipe:
    """Change some places, most of them near the beginning."""
    number = draw(st.integers(0, len(good) - 1))
    last = len(good[number])
    places = (
        st.integers(0, min(HEAD, last)) | st.integers(0, min(BODY, last)) | st.integers(0, last)
    )
    edits = draw(st.lists(places.flatmap(lambda at: _edits(at, len(good))), min_size=1, max_size=5))
    return Recipe(number, tuple(edits))


def _edits(at: int, n_good: int) -> st.SearchStrategy[Edit]:
    tokens = st.sampled_from(TOKENS)
    return st.one_of(
        st.binary(min_size=1, max_size=8).map(lambda put: Edit(at, put, skip=len(put))),
        tokens.map(lambda put: Edit(at, put, skip=len(put))),
        tokens.map(lambda put: Edit(at, put)),
        st.integers(1, 64).map(lambda n_bytes: Edit(at, skip=n_bytes)),
        st.integers(0, n_good).map(lambda other: Edit(at, rest_of=other)),
    )


@st.composite
def mutated_json(draw: st.DrawFn, good: Good) -> bytes:
    """Put another value in some places of a document; what is no JSON stays as it is."""
    content = good[draw(st.integers(0, len(good) - 1))]
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


def _replaced(draw: st.DrawFn, value: Any) -> Any:
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


def mutated(good: Sequence[bytes]) -> st.SearchStrategy[bytes | Recipe]:
    """Either of the two, and now and then nothing of the kind; `prepared` makes bytes of it."""
    named = Good(good)
    return mutated_json(named) | recipes(named) | st.binary(max_size=300)


def prepared(drawn: bytes | Recipe, good: Sequence[bytes]) -> bytes:
    """Give the input itself."""
    return drawn.apply(good) if isinstance(drawn, Recipe) else drawn
