"""One daemon at a time: a `flock` beside the control socket, with the holder's pid inside.

The kernel drops the lock with its process, however that ends, so it is never stale. Knows
nothing of sockets.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from voice_daemon.errors import AlreadyRunningError, ControlError

if TYPE_CHECKING:
    from pathlib import Path

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
            if _try_lock(descriptor, fcntl.LOCK_EX):
                self._descriptor = descriptor
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
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else _read_pid(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ControlError(
            "control.lock_unusable",
            f"the lock file {path} cannot be opened: {error.strerror}",
            remedy="remove it, or set VOICE_DAEMON_HOME to a folder of your own",
        ) from error


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(descriptor: int) -> int:
    """Read the holder's pid; 0 in the instant before it is written."""
    text = os.pread(descriptor, _MAX_PID_BYTES, 0).strip()
    return int(text) if text.isdigit() else 0
