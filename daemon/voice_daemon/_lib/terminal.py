"""Words on a terminal: how an error is shown."""

from __future__ import annotations

from typing import TextIO

from voice_daemon.errors import VoiceDaemonError


def print_error(error: VoiceDaemonError, err: TextIO) -> None:
    """Tell a person of an error: `daemonctl: what`, then `  -> remedy`.

    The message of a wrong configuration has a line for each mistake.
    """
    err.writelines(f"daemonctl: {line}\n" for line in error.message.splitlines())
    if error.remedy:
        err.write(f"  -> {error.remedy}\n")
