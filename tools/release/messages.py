"""`python -m tools.release.messages FOLDER`: every text that a user can see, read from the code.

Help, errors and their remedies, problems, checks of the doctor, output, log events and the names
that Home Assistant shows; and, as `text`, every other sentence of the code, which a variable, a
table or a parameter carries to one of these. Values stand as `{...}`; each text is listed once.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEYWORDS: Final = {
    "help": "help",
    "remedy": "remedy",
    "reason": "log",
    "description": "help",
    "epilog": "help",
    "done": "output",
    "friendly_name": "name",
}
"""Keyword argument -> kind of text."""
CALLS: Final = {
    "Problem": "problem",
    "fail": "doctor",
    "warn": "doctor",
    "ok": "doctor",
    "skip": "doctor",
    "Command": "help",
    "Mistake": "error",
    "DownReason": "status",
}
"""Function or class -> kind of the texts that it is given."""
WRITERS: Final = frozenset({"write", "writelines", "print"})
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical", "exception"})
_MIN_LETTERS: Final = 3
_MIN_SPACES: Final = 2
"""A text of three words or more is written for people; most shorter ones are keys and commands."""
_CODE: Final = ("{{", "{%", "import ", "\\p{")
"""Marks of what only programs read: templates, Python for a child process, patterns."""


@dataclass(frozen=True, slots=True)
class Message:
    """A text of the code that reaches a person."""

    place: str
    kind: str
    text: str


def messages(folder: Path) -> Iterator[Message]:
    """Yield every text of every module below a folder, each once."""
    seen: set[tuple[str, str]] = set()
    for path in sorted(folder.rglob("*.py")):
        for line, kind, text in _of_module(ast.parse(path.read_text(encoding="utf-8"))):
            told = " ".join(text.split())
            if sum(c.isalpha() for c in told) >= _MIN_LETTERS and (kind, told) not in seen:
                seen.add((kind, told))
                yield Message(f"{path.relative_to(folder)}:{line}", kind, told)


def _of_module(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    told: set[str] = set()
    for line, kind, text in _with_a_place(tree):
        told.add(text)
        yield line, kind, text
    yield from ((line, "text", text) for line, text in _sentences(tree) if text not in told)


def _with_a_place(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield the texts that stand where their kind is plain."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, ast.Dict):
            # Home Assistant's discovery is made of dictionaries.
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "name":
                    yield from ((value.lineno, "name", text) for text in _texts(value))
        elif isinstance(node, ast.Yield) and node.value is not None:
            yield from ((node.lineno, "output", t) for t in _texts(node.value) if " " in t)


def _sentences(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield what reads as a sentence, wherever it stands; no docstring, list of words or code."""
    passed_over = set(_not_said(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in passed_over:
            for text in _texts(node):
                is_code = any(mark in text for mark in _CODE)
                if not is_code and text.strip().count(" ") >= _MIN_SPACES:
                    yield node.lineno, text


def _not_said(tree: ast.Module) -> Iterator[int]:
    """Yield the identities of strings that are no texts of their own."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as docstring):
                yield id(docstring)
            case ast.JoinedStr(values=parts):
                yield from map(id, parts)
                yield from (
                    id(part.format_spec) for part in parts if isinstance(part, ast.FormattedValue)
                )
            case ast.Attribute(value=ast.Constant() as words, attr="split"):
                yield id(words)


def _of_call(call: ast.Call) -> Iterator[tuple[int, str, str]]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    kind = CALLS.get(name, "")
    if name.endswith(("Error", "Problems")):
        kind = "error"
    elif name in WRITERS:
        kind = "output"
    elif name in LEVELS:
        kind = "log"
    if kind:
        for argument in call.args:
            # A dotted word is a code for scripts.
            yield from (
                (argument.lineno, kind, text) for text in _texts(argument) if " " in text.strip()
            )
    for keyword in call.keywords:
        if keyword.arg in KEYWORDS:
            yield from (
                (keyword.value.lineno, KEYWORDS[keyword.arg], t) for t in _texts(keyword.value)
            )


def _texts(node: ast.expr) -> Iterator[str]:
    """Yield the strings that an expression may be, with `{...}` for its values."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{...}" for part in parts
            )
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)
        case ast.BinOp(left=left, right=right):
            yield from _texts(left)
            yield from _texts(right)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value)


if __name__ == "__main__":
    for found in messages(Path(sys.argv[1])):
        sys.stdout.write(f"{found.place}\t{found.kind}\t{found.text}\n")
