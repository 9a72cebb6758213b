"""The launcher seen from the daemon: the pipe that tells of its end.

The launcher (launchd/launcher.c) holds the other end and never writes. However it ends, by
SIGKILL too, this end reads the end of the file, and a daemon without its launcher would hold the
microphone that nobody stops any more. A watching process in between could itself be killed; a
variable instead of an argument would be inherited by every program that the daemon starts.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from voice_daemon.errors import UsageError

log = structlog.get_logger()

PARENT_PIPE: Final = 3
"""The descriptor that the launcher gives it as."""
GIVE_UP_S: Final = 12.0
"""Longer than the daemon takes to stop in its own time."""
_KILLED: Final = 128 + signal.SIGTERM


def end_with_parent(
    descriptor: int, *, give_up_s: float = GIVE_UP_S, leave: Callable[[int], None] = os._exit
) -> None:
    """Stop this process in its own time when the parent has gone; `leave` where it hangs then.

    Raises `UsageError` where the descriptor is no pipe.
    """
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        is_pipe = False
    if not is_pipe:
        raise UsageError(
            "run.parent_pipe",
            f"--parent-pipe {descriptor}: there is no pipe",
            remedy="leave it out: only the app's launcher says it",
        )
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the library's

    def watch() -> None:
        while os.read(descriptor, 1):
            continue  # the launcher never writes, and what another may write means nothing
        log.warning("daemon.launcher_gone")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(give_up_s)
        leave(_KILLED)

    threading.Thread(target=watch, name="parent", daemon=True).start()
