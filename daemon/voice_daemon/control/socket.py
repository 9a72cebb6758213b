"""The control socket as a file: in a private folder, and in the place of no stale one."""

import errno
import os
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from voice_daemon._lib.files import exposed_way, open_regular, open_to_others, try_lock
from voice_daemon.errors import AlreadyRunningError, ControlError

_ATTEMPTS = 4
_ATTEMPT_PAUSE_S = 0.05
_MAX_PID_BYTES = 32


def lock_path(socket_path: Path) -> Path:
    """Return the lock file that belongs to a control socket."""
    return socket_path.with_name(f"{socket_path.name}.lock")


class InstanceLock:
    """Holds the right to be the daemon of one control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True between `acquire` and `release`."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock and write our pid into it.

        Raises `AlreadyRunningError` with the holder's pid. Tries for a moment first: a
        client that looks whether anyone holds the lock has it itself for an instant.
        """
        descriptor = _open(self._path, os.O_RDWR | os.O_CREAT)
        for attempt in range(_ATTEMPTS):
            if try_lock(descriptor):
                self._descriptor = descriptor
                # Of the daemon before us, which may have been killed.
                os.ftruncate(descriptor, 0)
                with suppress(OSError):  # a full disk: the lock holds all the same
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_ATTEMPT_PAUSE_S)
        pid = _read_pid(descriptor)
        os.close(descriptor)
        raise AlreadyRunningError(pid, lock_file=str(self._path))

    def release(self) -> None:
        """Give the lock back; harmless when it is not held.

        The file stays: removing it would let two processes lock two files of one name.
        """
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def holder_pid(path: Path) -> int | None:
    """Return the pid of the process that holds the lock; None when nobody does."""
    if not path.exists():
        return None
    descriptor = _open(path, os.O_RDONLY)
    try:
        return None if try_lock(descriptor, shared=True) else _read_pid(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    try:
        return open_regular(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        raise ControlError(
            "control.lock_unusable",
            f"the lock file {path} cannot be opened: {error.strerror}",
            remedy="remove it, or set VOICE_DAEMON_HOME to a folder of your own",
        ) from error


def _read_pid(descriptor: int) -> int:
    """Read the holder's pid; 0 in the instant before it is written."""
    text = os.pread(descriptor, _MAX_PID_BYTES, 0).strip()
    return int(text) if text.isdigit() else 0


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


_BACKLOG: Final = 64


def make_private_folder(folder: Path) -> None:
    """Create `folder` for its owner alone, or take others' access from it.

    Raises `ControlError` for a folder that is somebody else's or is shared (sticky, like
    /tmp): that one is not ours to close. The same for one on whose way somebody else could put
    another in its place.
    """
    try:
        _refuse_a_way_of_others(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
            raise ControlError(
                "control.shared_folder",
                f"the control socket's folder {folder} is shared with other users",
                remedy="set VOICE_DAEMON_HOME to a folder of your own",
            )
        if open_to_others(found):
            folder.chmod(0o700)
    except OSError as error:
        raise ControlError(
            "control.folder_unusable",
            f"the control socket's folder {folder} cannot be used: {error.strerror}",
            remedy="make it writable, or set VOICE_DAEMON_HOME to a folder of your own",
        ) from error


def _refuse_a_way_of_others(folder: Path) -> None:
    exposure = exposed_way(folder)
    if exposure is not None:
        raise ControlError(
            "control.unsafe_parent",
            f"the control socket's folder {folder} can be replaced by others: "
            f"{exposure.path} {exposure.fault}",
            remedy=f"run: {exposure.remedy}; or set VOICE_DAEMON_HOME to a folder below your home",
        )


def listen(path: Path) -> socket.socket:
    """Bind and listen; the socket returned never blocks.

    Only for the holder of the instance lock: a socket that lies there is then nobody's.
    Between `bind` and `listen` nobody can connect, so the mode is right before it matters,
    whatever the umask is.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_a_stale_one(path)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ControlError(
            "control.socket_unusable",
            f"the control socket {path} cannot be made: {error.strerror or error}",
            remedy="remove what lies there, or set VOICE_DAEMON_HOME to another (short) folder",
        ) from error
    listener.settimeout(0)
    return listener


def _remove_a_stale_one(path: Path) -> None:
    """Remove a socket of ours; what else lies there is left, for `bind` to stumble over.

    Raises OSError for a link: it may lead to a socket that is not ours to serve.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "it is a link")
    if stat.S_ISSOCK(found.st_mode):
        path.unlink()
