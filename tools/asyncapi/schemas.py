"""JSON Schemas of payloads: keys from a payload as it was built, types from the dataclass.

Knows nothing of topics or of AsyncAPI.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

DERIVED: Mapping[str, Schema] = {
    "at": {"type": "string", "format": "date-time", "description": "RFC 3339, UTC."},
    "start_ms": {"type": "integer", "description": "From the start of speech."},
    "end_ms": {"type": "integer", "description": "From the start of speech."},
}
"""Keys that the payload's builder makes of something else."""
CONSTANT = frozenset({"schema", "event_type", "is_final", "status"})
"""Keys whose value tells one message from another."""
OPTIONAL = frozenset({"heard", "in_vocabulary", "handled_by"})
"""Keys that a payload may lack."""


def object_schema(example: Mapping[str, Any], source: type) -> Schema:
    """Give the schema of a payload of which `example` is one, built from a `source`."""
    hints = get_type_hints(source)
    documented = attribute_docs(source)
    properties: dict[str, Schema] = {}
    for key, value in example.items():
        if key in CONSTANT:
            properties[key] = {"const": value}
        elif key in DERIVED:
            properties[key] = dict(DERIVED[key])
        elif key in hints:
            properties[key] = _of_field(hints[key], value)
        else:
            raise KeyError(f"{key} is no field of {source.__name__}: add it to DERIVED")
        # What is said of a list of our own values is about the values, not about their payload.
        if key in documented and get_origin(hints.get(key)) is not tuple:
            properties[key]["description"] = documented[key]
    required = [key for key in example if key not in OPTIONAL]
    return {"type": "object", "required": required, "properties": properties}


def attribute_docs(source: type) -> dict[str, str]:
    """Give what the source says about each field, in the string that follows it."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(source))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[field.target.id] = inspect.cleandoc(str(after.value.value)).replace("\n", " ")
    return docs


def words(*values: str) -> Schema:
    """Give the schema of a payload that is a bare word."""
    return {"type": "string", "enum": [str(value) for value in values]}


def _of_field(hint: Any, value: Any) -> Schema:
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _of_field(get_args(hint)[0], value[0])}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return object_schema(value, hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return words(*hint)
    names = _type_names(hint)
    return {"type": names[0] if len(names) == 1 else names}


def _type_names(hint: Any) -> list[str]:
    """`float | None` -> number, null. What JSON has no number for is null too."""
    members = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    names = [_SIMPLE[member] for member in members]
    if "number" in names and "null" not in names:
        names.append("null")
    return names
