"""Whether the system may write this process's memory to a disk when it crashes.

Knows nothing of what is in that memory: the password, and the sound of the last minute.
"""

from __future__ import annotations

import resource


def forbid() -> None:
    """Have no core file written of this process and of those that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
