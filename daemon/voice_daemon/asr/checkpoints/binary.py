"""Reads little-endian values from a file that may be damaged or hostile.

Owns one rule: nothing is read, and nothing is allocated, that the rest of the file cannot hold.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from voice_daemon._lib.files import decode_text, open_to_read, read_bounded
from voice_daemon.errors import ModelError

_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER_BYTES: Final = 1024
"""A pointer is three short lines."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Place, type and shape of an array in a file."""

    at: int
    """Bytes from the file's start."""
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Its size in bytes."""
        return self.dtype.itemsize * math.prod(self.shape)


class BinaryReader:
    """Sequential reads from `path`; ModelError where the file ends too soon."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._n_bytes = path.stat().st_size
        self._file = open_to_read(path)
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def at_end(self) -> bool:
        """True when every byte has been read or skipped."""
        return self._at == self._n_bytes

    def unsigned(self, n_bytes: int) -> int:
        """One unsigned integer of `n_bytes` bytes."""
        return int.from_bytes(self.take(n_bytes), "little")

    def signed(self, count: int) -> tuple[int, ...]:
        """`count` signed 32-bit integers."""
        return struct.unpack(f"<{count}i", self.take(4 * count))

    def take(self, n_bytes: int) -> bytes:
        """Read the next `n_bytes` bytes."""
        stored = self.skip_array(np.uint8, (n_bytes,))
        return self._read(stored)

    def skip_array(self, dtype: DTypeLike, shape: tuple[int, ...]) -> StoredArray:
        """Pass over the next `shape` values of `dtype`, row by row, and say where they are."""
        stored = StoredArray(self._at, np.dtype(dtype).newbyteorder("<"), shape)
        n_left = self._n_bytes - self._at
        if not 0 <= stored.n_bytes <= n_left:
            raise self.damaged(f"{stored.n_bytes} bytes are due where {n_left} are left")
        self._at += stored.n_bytes
        return stored

    def read_array(self, stored: StoredArray) -> NDArray[np.generic]:
        """Read what `skip_array` passed over, as a read-only array."""
        return np.frombuffer(self._read(stored), stored.dtype).reshape(stored.shape)

    def _read(self, stored: StoredArray) -> bytes:
        if self._file.tell() != stored.at:
            self._file.seek(stored.at)
        taken = self._file.read(stored.n_bytes)
        if len(taken) != stored.n_bytes:
            raise self.damaged("it shrank while it was read")
        return taken

    def damaged(self, fault: str) -> ModelError:
        """Make the error for a file that contradicts itself."""
        return damaged(self.path, fault)


def read_text(path: Path) -> str:
    """Read a small file of a model's whole; ValueError for one that is too long to be it."""
    return decode_text(read_bounded(path))


def refuse_lfs_pointer(path: Path) -> None:
    """Raise `ModelError` for a git-lfs pointer: a clone without git-lfs has it in a file's place.

    Any reader would call it damaged, and the way out is another one.
    """
    if path.stat().st_size > _MAX_POINTER_BYTES:
        return
    with open_to_read(path) as file:
        if not file.read(_MAX_POINTER_BYTES).startswith(_LFS_POINTER):
            return
    raise ModelError(
        "model.lfs_pointer",
        f"{path} is a git-lfs pointer, not the file that it stands for",
        remedy="run `git lfs install` and `git lfs pull` in that folder, or download the model "
        "with `daemonctl models pull`",
    )


def damaged(path: Path, fault: str) -> ModelError:
    """Make the error for a model file that is cut short or contradicts itself."""
    return ModelError(
        "model.damaged",
        f"{path} is damaged or cut short: {fault}",
        remedy="download the model again with `daemonctl models pull`",
    )
