"""What it means that no daemon answers, and what to do: never installed, not loaded, crashing.

Pure: from what was found (by `voice_daemon.cli.diagnosis`) to words. Knows nothing of sockets,
files or launchd beyond the values given.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

NOT_RUNNING: Final = 3
NOT_INSTALLED: Final = 4
FAILED: Final = 1

CRASHES_IN_A_ROW: Final = 3
"""Starts after which a program that ends with an error is said to crash again and again."""


class Condition(StrEnum):
    """How the daemon is, in one word."""

    RUNNING = "running"
    STARTING = "starting"
    DEGRADED = "degraded"
    NOT_ANSWERING = "not_answering"
    CRASH_LOOPING = "crash_looping"
    STALE_SOCKET = "stale_socket"
    STOPPED = "stopped"
    NOT_LOADED = "not_loaded"
    NOT_INSTALLED = "not_installed"


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What is known of the launchd agent."""

    installed: bool
    loaded: bool
    """Whether launchd has it."""
    logged_in: bool = True
    """False where the user has no login session, and so no launchd."""
    pid: int | None = None
    last_exit: str | None = None
    """As launchd words it: `75: EX_TEMPFAIL`, `Killed: 9`, `(never exited)`."""
    runs: int | None = None

    @property
    def has_failed(self) -> bool:
        """True when the program's last end was a failure."""
        ended = self.last_exit or "(never exited)"
        return not (ended == "0" or ended.startswith(("0:", "(never")))

    @property
    def is_looping(self) -> bool:
        """True when it has failed again and again."""
        return self.has_failed and (self.runs or 0) >= CRASHES_IN_A_ROW

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LastError:
    """The newest error that the daemon left behind."""

    at: str
    """RFC 3339, or as near to it as is known."""
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found where a daemon should answer."""

    socket_path: str
    service: ServiceView | None
    """None where there is no launchd."""
    holder_pid: int | None
    """Who holds the instance lock; 0 for somebody unknown."""
    socket_left: bool
    """Whether a socket lies there."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why nobody answers."""

    condition: Condition
    code: str
    message: str
    remedy: str
    exit_code: int


def explain(found: Evidence) -> Absence:
    """Say why nobody answers."""
    if found.holder_pid is not None:
        who = f" (pid {found.holder_pid})" if found.holder_pid else ""
        return Absence(
            Condition.STARTING,
            "control.starting",
            f"the daemon{who} is starting or stopping: nothing listens on {found.socket_path}",
            "try again in a moment",
            FAILED,
        )
    absence = _without_service(found) if found.service is None else _of_service(found.service)
    if found.service is not None and found.socket_left and absence.condition is Condition.STOPPED:
        return _stale(found, "daemonctl start")
    return absence


def _without_service(found: Evidence) -> Absence:
    if found.socket_left:
        return _stale(found, "daemonctl run")
    return Absence(
        Condition.STOPPED,
        "control.not_running",
        f"the daemon is not running: no control socket at {found.socket_path}",
        "start it with `daemonctl run`",
        NOT_RUNNING,
    )


def _stale(found: Evidence, start: str) -> Absence:
    return Absence(
        Condition.STALE_SOCKET,
        "control.stale_socket",
        f"the daemon is not running: it was killed or crashed, and left {found.socket_path}",
        f"start it with `{start}`, which clears that away; `daemonctl logs` may say why it ended",
        NOT_RUNNING,
    )


def _of_service(service: ServiceView) -> Absence:
    if not service.installed:
        return Absence(
            Condition.NOT_INSTALLED,
            "service.not_installed",
            "the launchd agent is not installed, and no daemon runs",
            "run `daemonctl install`, or `daemonctl run` for one in the foreground",
            NOT_INSTALLED,
        )
    if not service.loaded:
        return _not_loaded(service)
    if service.pid is None and service.has_failed:
        return _crashing(service)
    if service.pid is not None and service.is_looping:
        return _crashing(service)
    if service.pid is not None or service.last_exit is None or "never" in service.last_exit:
        return Absence(
            Condition.STARTING,
            "control.starting",
            "launchd is starting the daemon",
            "try again in a moment",
            FAILED,
        )
    return Absence(
        Condition.STOPPED,
        "control.not_running",
        "the daemon ended by itself, as it was asked to",
        "start it with `daemonctl start`",
        NOT_RUNNING,
    )


def _not_loaded(service: ServiceView) -> Absence:
    if service.logged_in:
        message, remedy = "launchd does not have it loaded", "start it with `daemonctl start`"
    else:
        message = "this user is not logged in at the Mac's screen"
        remedy = (
            "log in there, or by Screen Sharing; turn on automatic login for a Mac on the shelf"
        )
    return Absence(
        Condition.NOT_LOADED,
        "service.not_loaded",
        f"the agent is installed, but {message}",
        remedy,
        NOT_RUNNING,
    )


def _crashing(service: ServiceView) -> Absence:
    runs = f", {service.runs} times so far" if service.runs else ""
    return Absence(
        Condition.CRASH_LOOPING,
        "service.crash_looping",
        f"the daemon ends as soon as it is started{runs}; its last end: {service.last_exit}. "
        "launchd tries again every 10 s",
        "cure the last error; `daemonctl doctor` looks for causes, `daemonctl logs` shows more",
        NOT_RUNNING,
    )
