"""Who is at the other end of a Unix socket, as the kernel says.

Owns the two platforms' socket options. The macOS half is written from `unix(4)` and
`sys/ucred.h`.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

_LINUX_UCRED: Final = struct.Struct("iII")
"""`struct ucred`: pid, uid, gid."""

_MACOS_SOL_LOCAL: Final = 0
_MACOS_LOCAL_PEERCRED: Final = 1
_MACOS_XUCRED: Final = struct.Struct("IIhxx16I")
"""`struct xucred`: version, uid, number of groups, 16 groups."""


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process that connected. Raises OSError when it is unknown."""
    if sys.platform == "darwin":
        packed = connection.getsockopt(_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERCRED, _MACOS_XUCRED.size)
        return uid_of_xucred(packed)
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_UCRED.size)
    _, uid, _ = _LINUX_UCRED.unpack(packed)
    return int(uid)


def uid_of_xucred(packed: bytes) -> int:
    """Return the uid in macOS's `struct xucred`. Raises OSError for another layout."""
    if len(packed) != _MACOS_XUCRED.size:
        raise OSError(f"LOCAL_PEERCRED gave {len(packed)} bytes, not {_MACOS_XUCRED.size}")
    version, uid, *_ = _MACOS_XUCRED.unpack(packed)
    if version != 0:
        raise OSError(f"LOCAL_PEERCRED gave version {version}, not 0")
    return int(uid)
