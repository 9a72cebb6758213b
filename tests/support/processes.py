"""Which processes still run, by `ps`, which Linux and macOS both have."""

from __future__ import annotations

import subprocess


def living(column: str, number: int) -> list[str]:
    """Give the processes of a process id or group (a column of `ps`) that have not ended."""
    shown = subprocess.run(
        ["ps", "-A", "-o", f"{column}=,stat="],  # noqa: S607 - every system's own
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in shown.stdout.splitlines()]
    # Z: it has ended, and its parent has not asked how.
    return [state for n, state in lines if int(n) == number and not state.startswith("Z")]


def is_gone(pid: int) -> bool:
    """True when a process has ended, whether its parent has asked how or not."""
    return not living("pid", pid)
