"""Loads the arrays of a .safetensors or .npz file without trusting what the file says.

Owns the checks that a header agrees with the bytes that are there, so that a damaged file is an
error with its name and never a crash, a huge allocation or code that runs. Knows no model.
"""

from __future__ import annotations

import json
import math
import zipfile
from typing import TYPE_CHECKING, Any, Final

import mlx.core as mx
import numpy as np

from voice_daemon.asr.checkpoints.binary import BinaryReader, damaged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from voice_daemon.asr.checkpoints.validate import Arrays

_SAFETENSORS_BYTES: Final = {
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "U32": 4,
    "U8": 1,
}
_MAX_HEADER_BYTES: Final = 16 * 2**20
_MAX_EXPANSION: Final = 8
"""Weights hardly compress: an archive that grows more than this is no checkpoint."""
_MAX_DIMENSION: Final = 2**31 - 1


def load_arrays(path: Path) -> Arrays:
    """Read {name: array} from a .safetensors or .npz file; ModelError when it is damaged."""
    if path.suffix == ".npz":
        return _load_npz(path)
    _check_safetensors(path)
    try:
        loaded = mx.load(str(path))
    except (RuntimeError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return dict(loaded) if isinstance(loaded, dict) else {}


def _check_safetensors(path: Path) -> None:
    """Check that the header is JSON, and that its tensors fill the rest of the file and no more."""
    n_file = path.stat().st_size
    with BinaryReader(path) as reader:
        n_header = reader.unsigned(8)
        if n_header > min(_MAX_HEADER_BYTES, n_file):
            raise damaged(path, f"its header claims {n_header} bytes")
        raw = reader.take(n_header)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        ends = [_tensor_end(name, entry) for name, entry in header.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"its header is not readable: {error}") from error
    n_data = n_file - 8 - n_header
    if max(ends, default=0) != n_data:
        raise damaged(path, f"its tensors need {max(ends, default=0)} bytes, {n_data} are there")


def _tensor_end(name: str, entry: Mapping[str, Any]) -> int:
    """Find where the tensor's data ends; ValueError unless its shape and offsets agree."""
    shape: list[int] = entry["shape"]
    begin: int = entry["data_offsets"][0]
    end: int = entry["data_offsets"][1]
    if not all(type(size) is int and 0 < size <= _MAX_DIMENSION for size in shape):
        raise ValueError(f"{name} has shape {shape}")
    item_bytes = _SAFETENSORS_BYTES.get(entry["dtype"])
    if item_bytes is None:
        raise ValueError(f"{name} has the type {entry['dtype']}")
    n_bytes = item_bytes * math.prod(shape)
    if type(begin) is not int or begin < 0 or end != begin + n_bytes:
        raise ValueError(f"{name} is {n_bytes} bytes at [{begin}, {end})")
    return begin + n_bytes


def _load_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, most_bytes=_MAX_EXPANSION * path.stat().st_size)
            return {
                member.filename.removesuffix(".npy"): _npy(archive, member) for member in members
            }
    except Exception as error:  # of zip, its compressions, numpy's headers and Python's parser
        raise damaged(path, str(error)) from error


def _members(archive: zipfile.ZipFile, *, most_bytes: int) -> list[zipfile.ZipInfo]:
    """List what is in an archive; ValueError for one that hides more than it may."""
    members = archive.infolist()
    n_expanded = sum(member.file_size for member in members)
    if n_expanded > most_bytes:
        raise ValueError(f"it would expand to {n_expanded} bytes")
    return members


def _npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> mx.array:
    """Read one .npy member; its header must describe exactly the bytes that follow."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version[0] == 1:
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds pickled objects, which are never loaded")
        data = file.read()
    if dtype.itemsize * math.prod(shape) != len(data):
        raise ValueError(f"{member.filename} is {shape} {dtype} in {len(data)} bytes")
    array: NDArray[np.generic] = np.frombuffer(data, dtype)
    return mx.array(array.reshape(shape, order="F" if is_fortran else "C"))
