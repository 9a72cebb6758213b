"""How much memory this process holds.

Knows two ways to ask the system and nothing else.
"""

from __future__ import annotations

import functools
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

SCUTIL: Final = "/usr/sbin/scutil"
SCUTIL_TIMEOUT_S: Final = 5.0
HELD_BACK: Final = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""What the app's launcher passes on (launchd/launcher.c)."""
_STATM = Path("/proc/self/statm")


def resident_mb() -> int:
    """Give resident megabytes; on macOS, which tells nobody cheaply, the most there ever were.

    So too for a process that has no file descriptor left to ask with.
    """
    with suppress(OSError):
        resident_pages = int(_STATM.read_text(encoding="ascii").split()[1])
        return resident_pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10


@functools.cache
def machine_name(platform: str = sys.platform, scutil: str = SCUTIL) -> str:
    """Give this machine's name on its network.

    On macOS the one that its owner gave it in the settings: what `gethostname` says there is the
    router's idea, and changes with the network and with the order in which things start.
    """
    if platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [scutil, "--get", "LocalHostName"],
                capture_output=True,
                text=True,
                timeout=SCUTIL_TIMEOUT_S,
                check=True,
            )
            if name := done.stdout.strip():
                return name
    return socket.gethostname()


def accept_signals() -> None:
    """Let signals through that a launcher held back until this process has its handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


def forbid() -> None:
    """Have no core file written of this process and of those that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
