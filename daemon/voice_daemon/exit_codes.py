"""What the process tells launchd: whether a restart may cure it, or a person has to look.

Knows errors and signals by kind only.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from voice_daemon.errors import AudioFileError, BrokerError, ConfigError, ModelError

if TYPE_CHECKING:
    from voice_daemon.errors import VoiceDaemonError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAULT: Final = 75
"""A restart may cure it."""
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130


def exit_code(error: VoiceDaemonError | None, stop_signal: int | None) -> int:
    """Give the exit code for what ended the daemon; no error is a wanted end."""
    match error:
        case None:
            return EXIT_INTERRUPTED if stop_signal == signal.SIGINT else EXIT_OK
        case ConfigError() | ModelError():
            return EXIT_CONFIG
        case AudioFileError():
            return EXIT_USAGE
        case BrokerError():
            return EXIT_FAILED
        case _:
            return EXIT_FAULT
