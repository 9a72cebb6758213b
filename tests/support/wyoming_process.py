"""`daemonctl serve-wyoming` as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.daemon_process import PATIENCE_S, daemon_environment, daemonctl


@contextmanager
def wyoming_process(home: Path) -> Iterator[int]:
    """Serve for the length of the block, which gets the port; it must end well afterwards."""
    process = subprocess.Popen(
        [*daemonctl(), "serve-wyoming", "--port", "0"],
        env=daemon_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"tcp://127\.0\.0\.1:(\d+)", line)
            assert found, line
            yield int(found[1])
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
