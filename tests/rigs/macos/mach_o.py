"""A reader of 64-bit Mach-O programs: what a Mac looks at before it runs one.

From Apple's mach-o/loader.h and, for the signature, Security's cs_blobs.h.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

MAGIC = 0xFEEDFACF
ARM64 = 0x0100000C
EXECUTE = 2
MACOS = 1
_LC_LOAD_DYLIB, _LC_UUID, _LC_CODE_SIGNATURE, _LC_BUILD_VERSION = 0xC, 0x1B, 0x1D, 0x32
_SUPER_BLOB, _CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
_CS_ADHOC = 0x2


@dataclass(frozen=True)
class Signature:
    """A code directory and whether it fits the bytes that it is about."""

    identifier: str
    ad_hoc: bool
    cdhash: str
    fits: bool


@dataclass(frozen=True)
class MachO:
    """One program. `minos`: the oldest macOS, as (major, minor)."""

    cpu: int
    kind: int
    platform: int
    minos: tuple[int, int]
    uuid: UUID | None
    libraries: tuple[str, ...]
    signature: Signature | None


def read(content: bytes) -> MachO:
    """Read a thin program; raises `ValueError` for anything else."""
    magic, cpu, _, kind, n_commands = struct.unpack_from("<5I", content)
    if magic != MAGIC:
        raise ValueError("no 64-bit Mach-O")
    platform, minos, uuid, signature = 0, (0, 0), None, None
    libraries = []
    for command, at, size in _commands(content, n_commands):
        body = content[at : at + size]
        if command == _LC_BUILD_VERSION:
            platform, version = struct.unpack_from("<2I", body, 8)
            minos = (version >> 16, version >> 8 & 0xFF)
        elif command == _LC_UUID:
            uuid = UUID(bytes=body[8:24])
        elif command == _LC_LOAD_DYLIB:
            (name_at,) = struct.unpack_from("<I", body, 8)
            libraries.append(body[name_at:].split(b"\0")[0].decode())
        elif command == _LC_CODE_SIGNATURE:
            start, length = struct.unpack_from("<2I", body, 8)
            signature = _signature(content, content[start : start + length])
    return MachO(cpu, kind, platform, minos, uuid, tuple(libraries), signature)


def _commands(content: bytes, n: int) -> Iterator[tuple[int, int, int]]:
    at = 32
    for _ in range(n):
        command, size = struct.unpack_from("<2I", content, at)
        yield command & 0x7FFFFFFF, at, size
        at += size


def _signature(content: bytes, blob: bytes) -> Signature | None:
    magic, _, n = struct.unpack_from(">3I", blob)
    if magic != _SUPER_BLOB:
        return None
    for i in range(n):
        (at,) = struct.unpack_from(">I", blob, 12 + 8 * i + 4)
        kind, length = struct.unpack_from(">2I", blob, at)
        if kind == _CODE_DIRECTORY:
            return _directory(content, blob[at : at + length])
    return None


def _directory(content: bytes, directory: bytes) -> Signature:
    flags, hashes_at, name_at = struct.unpack_from(">3I", directory, 12)
    n_pages, limit = struct.unpack_from(">2I", directory, 28)
    hash_size, page_bits = directory[36], directory[39]
    page = 1 << page_bits
    fits = all(
        hashlib.sha256(content[i * page : min((i + 1) * page, limit)]).digest()
        == directory[hashes_at + i * hash_size : hashes_at + (i + 1) * hash_size]
        for i in range(n_pages)
    )
    return Signature(
        identifier=directory[name_at:].split(b"\0")[0].decode(),
        ad_hoc=bool(flags & _CS_ADHOC),
        cdhash=hashlib.sha256(directory).hexdigest()[:40],
        fits=fits and n_pages * page >= limit,
    )
