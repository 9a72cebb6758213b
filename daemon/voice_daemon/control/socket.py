"""The control socket as a file: a private folder, a private socket, and no stale one in its place.

Knows nothing of what is said over it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

from voice_daemon._lib.ownership import exposed_way
from voice_daemon.errors import ControlError

if TYPE_CHECKING:
    from pathlib import Path

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
        if stat.S_IMODE(found.st_mode) & 0o077:
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
