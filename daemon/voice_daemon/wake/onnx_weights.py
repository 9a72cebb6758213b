"""Reads the weights of an ONNX file: initializers, and which of them each node takes.

An ONNX file is one protocol buffer message. Of its schema (onnx/onnx.proto, IR version 3 and
later) only what holds weights is read: `ModelProto.graph` 7; `GraphProto.node` 1 and
`initializer` 5; `NodeProto.input` 1 and `op_type` 4; `TensorProto.dims` 1, `data_type` 2, `name` 8
and `raw_data` 9.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.errors import ModelError

_VARINT: Final = 0
_BYTES: Final = 2
_FIXED_SIZES: Final = {1: 8, 5: 4}
_FLOAT: Final = 1
"""`TensorProto.DataType.FLOAT`."""
_VARINT_BITS: Final = 64
_MAX_FILE_BYTES: Final = 50_000_000

Field = tuple[int, int | bytes]
"""A field's number and its value."""


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One operation, and the names of what it takes."""

    op_type: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnnxWeights:
    """The float32 initializers of a file by name, and its nodes in order."""

    tensors: dict[str, NDArray[np.float32]]
    nodes: tuple[OnnxNode, ...]


def read_onnx_weights(path: Path) -> OnnxWeights:
    """Read a file's weights; raises `ModelError` for one that is missing or damaged."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {_MAX_FILE_BYTES} bytes")
        return _read_model(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            "wake.model_unusable",
            f"the wake word model {path} cannot be read: {error}",
            remedy="install it again: pip install --force-reinstall --no-deps openwakeword==0.5.1",
        ) from error


def _read_model(data: bytes) -> OnnxWeights:
    graph = next((value for number, value in _fields(data) if number == 7), b"")
    tensors: dict[str, NDArray[np.float32]] = {}
    nodes = []
    for number, value in _fields(_as_bytes(graph)):
        if number == 1:
            nodes.append(_read_node(_as_bytes(value)))
        elif number == 5:
            name, tensor = _read_tensor(_as_bytes(value))
            if tensor is not None:
                tensors[name] = tensor
    if not tensors:
        raise ValueError("it holds no weights")
    return OnnxWeights(tensors, tuple(nodes))


def _read_node(data: bytes) -> OnnxNode:
    inputs, op_type = [], ""
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_as_bytes(value).decode())
        elif number == 4:
            op_type = _as_bytes(value).decode()
    return OnnxNode(op_type, tuple(inputs))


def _read_tensor(data: bytes) -> tuple[str, NDArray[np.float32] | None]:
    """Read a tensor's name and values; None for one of another type, or stored otherwise."""
    shape: list[int] = []
    name, raw, data_type = "", b"", 0
    for number, value in _fields(data):
        match number, value:
            case 1, int():
                shape.append(value)
            case 1, bytes():  # packed
                shape += _varints(value)
            case 2, int():
                data_type = value
            case 8, bytes():
                name = value.decode()
            case 9, bytes():
                raw = value
    if data_type != _FLOAT or not raw:
        return name, None
    if math.prod(shape) * 4 != len(raw):
        raise ValueError(f"{name} is {shape} and holds {len(raw)} bytes")
    return name, np.frombuffer(raw, "<f4").reshape(shape)


def _fields(data: bytes) -> Iterator[Field]:
    """Yield a message's fields; raises `ValueError` where it ends too soon."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(data, at)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f"it holds a field of the unknown kind {wire_type}")
        if size > len(data) - at:
            raise ValueError("it ends too soon")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length number; return it and the place after it."""
    value = 0
    for shift in range(0, _VARINT_BITS + 1, 7):
        if at >= len(data):
            raise ValueError("it ends too soon")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it holds a number that is too long")


def _varints(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("it holds a number where a message should be")  # noqa: TRY004 - a file's fault
    return value
