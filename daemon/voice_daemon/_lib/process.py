"""How much memory this process holds.

Knows two ways to ask the system and nothing else.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

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


def forbid() -> None:
    """Have no core file written of this process and of those that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
