"""A daemon that cannot work with its configuration waits here until somebody changes it.

Under launchd a process that ends with an error is started again every ten seconds, for ever. So
this one ends only when another try may go differently: docs/adr/0010.
"""

import contextlib
import os
import queue
import signal
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from voice_daemon import __version__
from voice_daemon._lib.signals import accept_signals
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import (
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    ControlError,
    Problem,
    VoiceDaemonError,
)
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)

log = structlog.get_logger()

LOOK_EVERY_S: Final = 1.0
MAX_CRASH_FILE_BYTES: Final = 1_000_000
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_VERBS: Final = ("listen", "cancel", "mute", "unmute", "reload")
_STDOUT, _STDERR = 1, 2


def wait_for_a_change(
    error: VoiceDaemonError,
    *,
    before: object,
    fingerprint: Callable[[], object],
    socket_path: Path,
    log_file: Path,
    look_every_s: float = LOOK_EVERY_S,
) -> int:
    """Wait until `fingerprint` gives something else than `before`, or a signal comes.

    `before` was taken before the error was found: what is mended since then is not missed.
    Gives the exit code: 78 after a change or SIGHUP, so that launchd starts the daemon again;
    0 after SIGTERM, which is a wanted stop. Raises `AlreadyRunningError` when another daemon
    has the lock.
    """
    waiting = _WaitingDaemon(error, log_file)
    server = ControlServer(socket_path, waiting.handlers())
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    handlers = {n: signal.signal(n, lambda number, _: signals.put(number)) for n in _SIGNALS}
    accept_signals()
    try:
        server.start()
        log.error("daemon.parked", code=error.code, message=error.message, remedy=error.remedy)
        number = _next_signal(signals, lambda: fingerprint() != before, look_every_s)
        log.info("daemon.unparked", signal=signal.Signals(number).name if number else None)
    finally:
        server.stop()
        for n, handler in handlers.items():
            signal.signal(n, handler)
    match number:
        case signal.SIGTERM:
            return EXIT_OK
        case signal.SIGINT:
            return EXIT_INTERRUPTED
        case _:
            return EXIT_CONFIG


def _next_signal(
    signals: queue.SimpleQueue[int], changed: Callable[[], bool], look_every_s: float
) -> int | None:
    """Give the signal that came; None when something changed first."""
    while not changed():
        with contextlib.suppress(queue.Empty):
            return signals.get(timeout=look_every_s)
    return None


def files_fingerprint(paths: Iterable[Path]) -> tuple[object, ...]:
    """Give what tells whether any of these, or an entry of a folder among them, was changed."""
    return tuple(_file_fingerprint(path) for path in paths)


def _file_fingerprint(path: Path) -> tuple[object, ...]:
    try:
        about = path.stat()
        inner = sorted(path.iterdir()) if stat.S_ISDIR(about.st_mode) else []
    except OSError as error:
        return (str(path), error.errno)
    own = (str(path), about.st_mtime_ns, about.st_size, about.st_ino, about.st_mode)
    return (*own, *(str(entry) for entry in inner))


def empty_full_crash_files() -> None:
    """Empty standard output and error where they are files that have grown too long.

    launchd appends to them at every start and never shortens them.
    """
    for descriptor in (_STDOUT, _STDERR):
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode) and about.st_size > MAX_CRASH_FILE_BYTES:
            os.ftruncate(descriptor, 0)


class _WaitingDaemon:
    """Answers on the control socket for a daemon that waits."""

    def __init__(self, error: VoiceDaemonError, log_file: Path) -> None:
        self._error = error
        self._log_file = log_file
        self._since_s = time.monotonic()

    def handlers(self) -> dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        return {"status": self._status, **dict.fromkeys(_VERBS, self._refuse)}

    def _status(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._since_s,
            mic=MicStatus(device="not opened", sample_rate_hz=0),
            wake=WakeStatus(wake_words=(), threshold=0.0, self_test="pending"),
            asr=AsrStatus(model="none", warm=False),
            mqtt=BrokerStatus(url="none", client_id="nobody", connected=False),
            session=SessionStatus(state="degraded", muted=False),
            problems=(Problem("config", self._error.message, self._error.remedy),),
            log_file=str(self._log_file),
        ).to_dict()

    def _refuse(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ControlError(self._error.code, self._error.message, remedy=self._error.remedy)
