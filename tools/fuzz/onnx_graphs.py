"""ONNX graphs of a few bytes: an input, a node and an output, as protobuf writes them.

Only what a wake word's reader looks at; the numbers are those of onnx.proto.
"""

from __future__ import annotations

FLOAT, DOUBLE = 1, 11
"""TensorProto's types."""


def graph(
    shape: tuple[int, ...] = (1, 16, 96), *, operator: str = "GlobalMaxPool", kind: int = FLOAT
) -> bytes:
    """A model that gives what one operator makes of its input."""
    node = _text(1, "x") + _text(2, "y") + _text(4, operator)
    body = _part(1, node) + _text(2, "g") + _part(11, _value("x", shape, kind))
    return _model(body + _part(12, _text(1, "y")))


def graph_without_input() -> bytes:
    """A model that takes nothing: its output is a constant."""
    tensor = _number(1, 1) + _number(2, FLOAT) + _part(9, bytes(4)) + _text(8, "y")
    return _model(_text(2, "g") + _part(5, tensor) + _part(12, _text(1, "y")))


def _model(body: bytes) -> bytes:
    return _number(1, 8) + _part(7, body) + _part(8, _number(2, 13))


def _value(name: str, shape: tuple[int, ...], kind: int) -> bytes:
    dimensions = b"".join(_part(1, _number(1, size)) for size in shape)
    tensor = _number(1, kind) + _part(2, dimensions)
    return _text(1, name) + _part(2, _part(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # as int64 is written
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
