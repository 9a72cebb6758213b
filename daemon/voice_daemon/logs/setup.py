"""Sets up the log: JSON lines in a size-rotated file, readable lines on stderr.

What was said and what is secret is masked here, so that no caller can forget it.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from voice_daemon._lib.files import open_regular
from voice_daemon._lib.rate import TokenBucket
from voice_daemon.config import LogSettings
from voice_daemon.errors import ConfigError, Problem

BURST: Final = 100
"""At once: a full outbox that is lost, a flood's first lines."""
PER_S: Final = 2
"""Warnings and errors afterwards."""
CALM_PER_S: Final = 10
"""Other lines afterwards: a replay as fast as it goes writes some, a session a few a minute."""
MAX_NAMES: Final = 1000
"""Names of other libraries' lines are whole sentences; past this they share one bucket."""
_OTHERS: Final = ""


class RepeatFilter:
    """A structlog processor; callable from any thread."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._buckets: dict[str, TokenBucket] = {}
        self._dropped: dict[str, int] = {}

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Pass an event on, or raise `DropEvent`."""
        name = str(event.get("event"))
        per_s = CALM_PER_S if method in {"debug", "info"} else PER_S
        with self._lock:
            if name not in self._buckets and len(self._buckets) >= MAX_NAMES:
                name = _OTHERS
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = TokenBucket(burst=BURST, per_s=per_s, clock_s=self._clock_s)
                self._buckets[name] = bucket
            if not bucket.allows():
                self._dropped[name] = self._dropped.get(name, 0) + 1
                raise structlog.DropEvent
            repeats = self._dropped.pop(name, 0)
        return {**event, "repeats": repeats} if repeats else event


MASK = "***"
_SPOKEN = frozenset({"text", "draft", "words", "payload", "prompt"})
_SECRET = frozenset({"password"})
_BYTES_PER_MB = 1_000_000
_FIRST = ("at", "level", "event")
_OWN_PREFIX = "voice-daemon."
_CHATTY = ("httpx", "httpcore", "urllib3", "huggingface_hub", "filelock")
"""Libraries that tell every request at `info`."""


def configure(
    settings: LogSettings,
    *,
    log_file: Path | None,
    console: bool,
    log_transcripts: bool = False,
) -> None:
    """Send log events to `log_file` and, with `console`, to stderr; replaces what was set before.

    The file and its folder are made, readable by their owner alone. Raises `ConfigError` when
    the file cannot be written.
    """
    handlers: list[logging.Handler] = []
    mask = _Mask(_SECRET if log_transcripts else _SECRET | _SPOKEN)
    if log_file is not None:
        handler: logging.Handler = _open_file(settings, log_file)
        handler.setFormatter(_formatter(mask, structlog.processors.JSONRenderer(_to_json)))
        handlers.append(handler)
    if console:
        handlers.append(_console(mask))
    _install(handlers, settings.level.upper())


def unwritable() -> Problem | None:
    """Describe a log that cannot be written now; None when it can be, or when there is none."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _OwnerOnlyRotatingFile) and handler.fault is not None:
            return Problem(
                "log",
                f"the log file {handler.baseFilename} cannot be written: {handler.fault}",
                "make room, or make its folder one that this user may write to",
            )
    return None


def configure_for_command() -> None:
    """Show warnings and errors on stderr: what a command wants that is no daemon."""
    _install([_console(_Mask(_SECRET | _SPOKEN))], "WARNING")


class _Mask:
    """A processor that hides the values of some keys, however deep they lie."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys = keys

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: self._masked(key, value) for key, value in event.items()}

    def _masked(self, key: object, value: object) -> object:
        if key in self._keys:
            return MASK
        if isinstance(value, Mapping):
            return {name: self._masked(name, item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            # A tuple stays one: that of an exception is told by its type further on.
            items = [self._masked(None, item) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        return value


class _OwnerOnlyRotatingFile(RotatingFileHandler):
    """A rotated file that only its owner can read, and that fails quietly after saying so once."""

    fault: str | None = None
    """Why the newest event could not be written; None when it was."""
    _failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event, into a new file where somebody took the old one away."""
        before, self.fault = self.fault, None
        try:
            self._follow()
            super().emit(record)
        except OSError:
            self.handleError(record)
        if before and self.fault is None:
            self._failed = False

    def _follow(self) -> None:
        file = Path(self.baseFilename)
        try:
            found = file.stat()
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = None
        own = os.fstat(self.stream.fileno()) if self.stream else None
        if found is None or own is None or not os.path.samestat(found, own):
            self.close()
            self.stream = self._open()

    def _open(self) -> TextIOWrapper:
        def opener(path: str, flags: int) -> int:
            descriptor = open_regular(path, flags)
            os.fchmod(descriptor, 0o600)  # a file of an older version may be wider
            return descriptor

        return open(self.baseFilename, "a", encoding=self.encoding, opener=opener)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - its name
        # A full disk would otherwise bring a traceback on stderr for every event.
        error = sys.exc_info()[1]
        self.fault = str(getattr(error, "strerror", None) or error)
        if not self._failed:
            self._failed = True
            with suppress(OSError):  # launchd's file may lie on the same full disk
                sys.stderr.write(f"cannot write {self.baseFilename}: {error}\n")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class keeps one stream
        return sys.stderr


def _open_file(settings: LogSettings, log_file: Path) -> _OwnerOnlyRotatingFile:
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _OwnerOnlyRotatingFile(
            log_file,
            maxBytes=settings.max_mb * _BYTES_PER_MB,
            backupCount=settings.backups,
            encoding="utf-8",
        )
    except OSError as error:
        raise ConfigError(
            "log.unwritable",
            f"the log file {log_file} cannot be written: {error.strerror}",
            remedy=f"make {log_file.parent} a folder that this user may write to",
        ) from error
    handler.set_name(f"{_OWN_PREFIX}file")
    return handler


def _console(mask: _Mask) -> logging.Handler:
    handler = _StandardError()
    handler.set_name(f"{_OWN_PREFIX}console")
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ,
        timestamp_key="at",
        # The default shows local variables, and with them what was said.
        exception_formatter=structlog.dev.plain_traceback,
    )
    handler.setFormatter(_formatter(mask, renderer))
    return handler


def _formatter(mask: _Mask, renderer: Processor) -> structlog.stdlib.ProcessorFormatter:
    final: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask]
    if isinstance(renderer, structlog.processors.JSONRenderer):
        final.append(structlog.processors.format_exc_info)
    return structlog.stdlib.ProcessorFormatter(
        processors=[*final, renderer],
        foreign_pre_chain=[*_shared(), structlog.stdlib.add_logger_name],
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]


def _install(handlers: Sequence[logging.Handler], level: str) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        if (handler.get_name() or "").startswith(_OWN_PREFIX):
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            RepeatFilter(),
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _to_json(event: EventDict, **kwargs: Any) -> str:
    head = {key: event[key] for key in _FIRST if key in event}
    return json.dumps({**head, **event}, ensure_ascii=False, **kwargs)
