"""This process's memory, core files, signals and machine's name."""

import ctypes
import functools
import os
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

SCUTIL: Final = "/usr/sbin/scutil"
SCUTIL_TIMEOUT_S: Final = 5.0
_STATM = Path("/proc/self/statm")


def resident_mb() -> int:
    """Give the megabytes that this process holds.

    On macOS its footprint, which is what Activity Monitor shows and counts the GPU's memory too.
    The most there ever were where neither can be asked: without a file descriptor left.
    """
    with suppress(OSError):
        resident_pages = int(_STATM.read_text(encoding="ascii").split()[1])
        return resident_pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    with suppress(OSError, AttributeError):
        return footprint_bytes() // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10


class _Usage(ctypes.Structure):
    """rusage_info_v0 of macOS' sys/resource.h."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("before", ctypes.c_uint64 * 7),
        ("phys_footprint", ctypes.c_uint64),
        ("after", ctypes.c_uint64 * 2),
    )


def footprint_bytes(library: str | None = None) -> int:
    """Ask macOS for this process's footprint; raises `AttributeError` elsewhere."""
    usage = _Usage()
    ask = ctypes.CDLL(library, use_errno=True).proc_pid_rusage
    if ask(os.getpid(), 0, ctypes.byref(usage)) != 0:
        raise OSError(ctypes.get_errno(), "proc_pid_rusage")
    footprint: int = usage.phys_footprint
    return footprint


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


def forbid_core_dumps() -> None:
    """Have no core file written of this process and of those that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
