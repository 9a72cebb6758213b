"""The variables that name a Home Assistant for tests, and how its tests start a daemon."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from support.daemon_process import DaemonProcess

URL = "VOICE_DAEMON_HA_URL"
TOKEN_FILE = "VOICE_DAEMON_HA_TOKEN_FILE"
RESTART = "VOICE_DAEMON_HA_RESTART"
LOG = "VOICE_DAEMON_HA_LOG"

PICTURES = os.environ.get("VOICE_DAEMON_PICTURES")
"""A folder for pictures; None where none are asked for."""

N_TIMES = int(os.environ.get("VOICE_DAEMON_TIMES", "0"))
"""How many commands to time."""


def print_times(what: str, times_s: Sequence[float]) -> None:
    """Print the median and the 90th percentile, for a report."""
    median, p90 = statistics.median(times_s), statistics.quantiles(times_s, n=10)[-1]
    least, most = min(times_s), max(times_s)
    print(  # noqa: T201 - see above
        f"\n{what}: median {median:.3f} s, p90 {p90:.3f} s ({least:.3f} to {most:.3f}), "
        f"n = {len(times_s)}"
    )


StartDaemon = Callable[..., AbstractContextManager[DaemonProcess]]
