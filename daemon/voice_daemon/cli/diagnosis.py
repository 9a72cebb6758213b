"""Diagnoses the daemon from outside: its own answer, or why there is none.

Asks the control socket first, then the lock, launchd and the files that a dead daemon left.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from voice_daemon import __version__
from voice_daemon._lib.terminal import printable, rfc3339
from voice_daemon.cli.context import Context
from voice_daemon.cli.service import crash_files, installation_of
from voice_daemon.control.client import ControlClient
from voice_daemon.control.socket import holder_pid, lock_path
from voice_daemon.errors import (
    EXIT_FAILED,
    EXIT_NOT_INSTALLED,
    EXIT_NOT_RUNNING,
    EXIT_OK,
    ControlError,
    NotRunningError,
    Problem,
    ServiceError,
)
from voice_daemon.launchd.launchctl import NoSessionError
from voice_daemon.logs.crashes import CrashKind, read_crashes
from voice_daemon.logs.reader import tail
from voice_daemon.logs.records import read_record
from voice_daemon.runtime.status import Status

CRASHES_IN_A_ROW: Final = 3
"""Starts after which a program that ends with an error is said to crash again and again."""


class Condition(StrEnum):
    """The daemon's condition in one word."""

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
    """The launchd agent as it was found."""

    installed: bool
    loaded: bool
    """True where launchd has it."""
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


@dataclass(frozen=True, slots=True)
class LastError:
    """The newest error that the daemon left behind."""

    at: str
    """RFC 3339, or as near to it as is known."""
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Findings where a daemon should answer."""

    socket_path: str
    service: ServiceView | None
    """None where there is no launchd."""
    holder_pid: int | None
    """The process that holds the instance lock; 0 for an unknown one."""
    socket_left: bool
    """True where a socket file lies there."""


@dataclass(frozen=True, slots=True)
class DownReason:
    """The reason why no daemon answers."""

    condition: Condition
    code: str
    message: str
    remedy: str
    exit_code: int


def explain(found: ProbeResult) -> DownReason:
    """Find the reason why no daemon answers."""
    if found.holder_pid is not None:
        who = f" (pid {found.holder_pid})" if found.holder_pid else ""
        return DownReason(
            Condition.STARTING,
            "control.starting",
            f"the daemon{who} is starting or stopping: nothing listens on {found.socket_path}",
            "try again in a moment",
            EXIT_FAILED,
        )
    down_reason = _without_service(found) if found.service is None else _of_service(found.service)
    if (
        found.service is not None
        and found.socket_left
        and down_reason.condition is Condition.STOPPED
    ):
        return _stale(found, "daemonctl start")
    return down_reason


def _without_service(found: ProbeResult) -> DownReason:
    if found.socket_left:
        return _stale(found, "daemonctl run")
    return DownReason(
        Condition.STOPPED,
        "control.not_running",
        f"the daemon is not running: no control socket at {found.socket_path}",
        "start it with `daemonctl run`",
        EXIT_NOT_RUNNING,
    )


def _stale(found: ProbeResult, start: str) -> DownReason:
    return DownReason(
        Condition.STALE_SOCKET,
        "control.stale_socket",
        f"the daemon is not running: it was killed or crashed, and left {found.socket_path}",
        f"start it with `{start}`, which clears that away; `daemonctl logs` may say why it ended",
        EXIT_NOT_RUNNING,
    )


def _of_service(service: ServiceView) -> DownReason:
    if not service.installed:
        return DownReason(
            Condition.NOT_INSTALLED,
            "service.not_installed",
            "the launchd agent is not installed, and no daemon runs",
            "run `daemonctl install`, or `daemonctl run` for one in the foreground",
            EXIT_NOT_INSTALLED,
        )
    if not service.loaded:
        return _not_loaded(service)
    # Between two starts of launchd there is no process.
    if service.pid is None and service.has_failed:
        return _crashing(service)
    # launchd has just started it once more, and it may well end as the times before.
    if service.pid is not None and service.is_looping:
        return _crashing(service)
    if service.pid is not None or service.last_exit is None or "never" in service.last_exit:
        return DownReason(
            Condition.STARTING,
            "control.starting",
            "launchd is starting the daemon",
            "try again in a moment",
            EXIT_FAILED,
        )
    return DownReason(
        Condition.STOPPED,
        "control.not_running",
        "the daemon was asked to stop, and stopped",
        "start it with `daemonctl start`",
        EXIT_NOT_RUNNING,
    )


def _not_loaded(service: ServiceView) -> DownReason:
    if service.logged_in:
        message, remedy = "launchd does not have it loaded", "start it with `daemonctl start`"
    else:
        message = "this user is not logged in at the Mac's screen"
        remedy = (
            "log in there, or by Screen Sharing; turn on automatic login for a Mac on the shelf"
        )
    return DownReason(
        Condition.NOT_LOADED,
        "service.not_loaded",
        f"the agent is installed, but {message}",
        remedy,
        EXIT_NOT_RUNNING,
    )


def _crashing(service: ServiceView) -> DownReason:
    runs = f", {service.runs} times so far" if service.runs else ""
    return DownReason(
        Condition.CRASH_LOOPING,
        "service.crash_looping",
        f"the daemon ends as soon as it is started{runs}; its last end: {service.last_exit}. "
        "launchd tries again every 10 s",
        "correct the last error; `daemonctl doctor` looks for causes, `daemonctl logs` shows more",
        EXIT_NOT_RUNNING,
    )


_FAULTS: Final = frozenset({"worker.failed", "worker.crashed", "daemon.parked", "problem.raised"})
"""Log events that say why a daemon ended or cannot work."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The daemon as it was found: `status` where it answered, else `down_reason`."""

    status: Status | None
    down_reason: DownReason | None
    service: ServiceView | None
    daemon_version: str = ""
    last_error: LastError | None = None

    @property
    def condition(self) -> Condition:
        """The condition in one word."""
        if self.down_reason is not None:
            return self.down_reason.condition
        if self.is_failing:
            return Condition.CRASH_LOOPING
        if self.status is None or not self.status.healthy:
            return Condition.DEGRADED
        starting = self.status.session.state == "starting"
        return Condition.STARTING if starting else Condition.RUNNING

    @property
    def down_reason_or_raise(self) -> DownReason:
        """The reason why there is no status; raises ValueError where there is one."""
        if self.down_reason is None:
            raise ValueError("the daemon answered")
        return self.down_reason

    @property
    def is_failing(self) -> bool:
        """True while a daemon that failed again and again is being started once more."""
        starting = self.status is not None and self.status.session.state == "starting"
        return starting and self.service is not None and self.service.is_looping

    @property
    def other_version(self) -> str | None:
        """The daemon's version, where it is not this command's."""
        if self.status is None or self.daemon_version == __version__:
            return None
        return self.daemon_version or "unknown"

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Problems beside those that the daemon reports itself."""
        notes = []
        if self.is_failing and self.service is not None:
            about = f"it ended with {self.service.last_exit} and is being started again"
            if self.last_error is not None:
                about += f"; last error ({self.last_error.at}): {self.last_error.message}"
            remedy = self.last_error.remedy if self.last_error else "`daemonctl logs` may say why"
            notes.append(Problem("daemon", about, remedy))
        if self.other_version is not None:
            about = f"the daemon is version {self.other_version}, this command {__version__}"
            notes.append(Problem("version", about, "restart the daemon: `daemonctl restart`"))
        return tuple(notes)

    @property
    def exit_code(self) -> int:
        """The exit code of `daemonctl status`."""
        if self.down_reason is not None:
            return self.down_reason.exit_code
        good = self.condition in {Condition.RUNNING, Condition.STARTING}
        return EXIT_OK if good else EXIT_FAILED

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; the schema's version is added by whoever prints them."""
        about: dict[str, Any] = {
            "condition": self.condition.value,
            "command_version": __version__,
            "version_mismatch": self.other_version is not None,
            "service": None if self.service is None else asdict(self.service),
            "last_error": None if self.last_error is None else asdict(self.last_error),
        }
        if self.status is not None:
            return {**self.status.to_dict(), **about}
        down_reason = self.down_reason_or_raise
        running = down_reason.condition in {Condition.STARTING, Condition.NOT_ANSWERING}
        error = {
            "code": down_reason.code,
            "message": down_reason.message,
            "remedy": down_reason.remedy,
        }
        return {"running": running, "healthy": False, "error": error, **about}


def probe(context: Context, *, always_service: bool = True) -> Diagnosis:
    """Look at the daemon, and at the agent where there is a launchd.

    `always_service`: also when the daemon answers.
    """
    try:
        reply = ControlClient(context.paths().socket_path).exchange("status")
        status = Status.from_dict(reply.result)
    except ControlError as error:
        service = service_view(context)
        if isinstance(error, NotRunningError) or error.code == "control.starting":
            return _down(context, service)
        unanswered = DownReason(
            Condition.NOT_ANSWERING, error.code, error.message, error.remedy, error.exit_code
        )
        return Diagnosis(None, unanswered, service)
    service = service_view(context) if always_service else None
    seen = Diagnosis(status, None, service, reply.version)
    return replace(seen, last_error=last_error(context)) if seen.is_failing else seen


def service_view(context: Context) -> ServiceView | None:
    """Look at the launchd agent; None where there is no launchd, or none for this user."""
    try:
        installation = installation_of(context)
        installed = installation.installed
        try:
            state = installation.state()
        except NoSessionError:
            return ServiceView(installed, loaded=False, logged_in=False)
    except ServiceError:
        return None
    if state is None:
        return ServiceView(installed, loaded=False)
    return ServiceView(
        installed, loaded=True, pid=state.pid, last_exit=state.last_exit, runs=state.runs
    )


def last_error(context: Context) -> LastError | None:
    """Find the newest error that a daemon left: in launchd's file, or in the log."""
    found = [error for error in (_last_crash(context), _last_fault(context)) if error is not None]
    newest = max(found, key=lambda error: error.at, default=None)
    if newest is None:
        return None
    return LastError(newest.at, printable(newest.message), printable(newest.remedy))


def _down(context: Context, service: ServiceView | None) -> Diagnosis:
    socket_path = context.paths().socket_path
    found = ProbeResult(
        str(socket_path),
        service,
        holder_pid=holder_pid(lock_path(socket_path)),
        socket_left=socket_path.is_socket(),
    )
    down_reason = explain(found)
    ended_badly = {Condition.CRASH_LOOPING, Condition.STALE_SOCKET, Condition.STOPPED}
    left = last_error(context) if down_reason.condition in ended_badly else None
    return Diagnosis(None, down_reason, service, last_error=left)


def _last_crash(context: Context) -> LastError | None:
    path, _ = crash_files(context)
    crashes = [crash for crash in read_crashes(path) if crash.kind is not CrashKind.TEXT]
    if not crashes:
        return None
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    remedy = crashes[-1].remedy or "`daemonctl logs` shows it in full; please report it"
    return LastError(rfc3339(written), crashes[-1].summary, remedy)


def _last_fault(context: Context) -> LastError | None:
    records = [read_record(line) for line in tail(context.paths().log_file)]
    faults = [record for record in records if record is not None and record.event in _FAULTS]
    if not faults or faults[-1].at is None:
        return None
    fields = faults[-1].fields
    message = fields.get("problem") or fields.get("message") or faults[-1].event
    remedy = fields.get("remedy") or "`daemonctl logs` shows what was before it"
    return LastError(rfc3339(faults[-1].at), str(message), str(remedy))
