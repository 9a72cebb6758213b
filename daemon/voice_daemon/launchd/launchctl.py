"""The words spoken with launchd: bootstrap, enable, kickstart, bootout and print.

Never `load` and `unload`, which report success whatever happens; never `kickstart -k`, which loses
the sentence that is being spoken. What `print` writes is for people: only its exit code decides.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voice_daemon.errors import ServiceError
from voice_daemon.launchd.steps import StepOutcome

NO_SUCH_PROCESS: Final = 3
IO_ERROR: Final = 5
IN_PROGRESS: Final = 36
ALREADY_IN_PROGRESS: Final = 37
NO_SUCH_DOMAIN: Final = 112
NO_SUCH_SERVICE: Final = 113
DISABLED: Final = 119
NO_SESSION: Final = 125


@dataclass(frozen=True, slots=True)
class Meaning:
    """One number in words."""

    what: str
    remedy: str


_LATER: Final = "wait a few seconds and try again"
_LOG_IN: Final = (
    "log in on the Mac's own screen (or by Screen Sharing) as this user and try again; for a "
    "Mac that starts by itself turn on automatic login"
)

MEANINGS: Final = {
    1: Meaning("the operation is not permitted", "run it as the user who logs in, not by sudo"),
    2: Meaning("the agent's file is missing", "run `daemonctl install`"),
    NO_SUCH_PROCESS: Meaning("the agent is not loaded", "run `daemonctl start`"),
    IO_ERROR: Meaning(
        "launchd refuses the agent: it is still loaded, it is disabled, its file is wrong, or "
        "this user is not logged in at the screen",
        "log in on the Mac's own screen (or by Screen Sharing); then "
        "run `daemonctl uninstall` and `daemonctl install`; if it stays, "
        "`plutil -lint ~/Library/LaunchAgents/io.github.voice-daemon.plist`",
    ),
    17: Meaning("the agent is loaded already", "run `daemonctl restart`"),
    IN_PROGRESS: Meaning("launchd is still stopping the agent", _LATER),
    ALREADY_IN_PROGRESS: Meaning("launchd is still starting or stopping the agent", _LATER),
    78: Meaning(
        "launchd could not start the program: a file or a folder of the agent is missing or "
        "may not be written",
        "run `daemonctl install` again",
    ),
    NO_SUCH_DOMAIN: Meaning("there is no such login session", _LOG_IN),
    NO_SUCH_SERVICE: Meaning("the agent is not loaded", "run `daemonctl start`"),
    DISABLED: Meaning(
        "the agent is disabled",
        "turn it on in System Settings, General, Login Items, or run `daemonctl install`",
    ),
    122: Meaning(
        "the agent's file belongs to somebody else, or others may write to it",
        "run `daemonctl install` again",
    ),
    NO_SESSION: Meaning("this user has no login session with a screen", _LOG_IN),
    133: Meaning("the agent is loaded already", "run `daemonctl restart`"),
    134: Meaning("the agent may not be loaded in this kind of session", _LOG_IN),
}

UNKNOWN: Final = Meaning(
    "launchd refused", "`launchctl error NUMBER` says what it means; then see docs/install.md"
)


BOOTOUT_PATIENCE_S: Final = 25.0
"""Longer than the agent's ExitTimeOut: launchd kills what has not ended by then."""
BOOTSTRAP_PATIENCE_S: Final = 8.0
"""A label can stay reserved for about five seconds after its agent has gone."""
_PAUSE_S: Final = 0.2

_GONE: Final = frozenset({NO_SUCH_PROCESS, NO_SUCH_SERVICE})
_PASSING: Final = frozenset({IO_ERROR, IN_PROGRESS, ALREADY_IN_PROGRESS})
_NO_SESSION: Final = frozenset({NO_SUCH_DOMAIN, NO_SESSION})


class NoSessionError(ServiceError):
    """The user is not logged in at the screen: there is no launchd to speak with."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """A loaded agent. All but its being loaded is decoration, None where it cannot be read."""

    pid: int | None
    last_exit: str | None
    """`75: EX_TEMPFAIL`, `Killed: 9` or `(never exited)`, as launchd has it."""
    runs: int | None


class Launchctl:
    """Speaks with the launchd of one user's login session.

    `run` runs the program with some arguments.
    """

    def __init__(
        self,
        uid: int,
        run: Callable[[tuple[str | Path, ...]], StepOutcome],
        *,
        bootstrap_patience_s: float = BOOTSTRAP_PATIENCE_S,
    ) -> None:
        self.domain = f"gui/{uid}"
        """The login session: `gui/501`."""
        self._run = run
        self._bootstrap_patience_s = bootstrap_patience_s

    def target(self, label: str) -> str:
        """Name an agent of this session: `gui/501/label`."""
        return f"{self.domain}/{label}"

    def state(self, label: str) -> AgentState | None:
        """Look at an agent; None when it is not loaded. Raises `NoSessionError`."""
        done = self._run(("print", self.target(label)))
        if done.code == 0:
            return read_state(done.out)
        if done.code in _GONE:
            return None
        raise self._refusal("print", done)

    def enable(self, label: str) -> None:
        """Lift a ban that `launchctl disable` or the system settings put on the agent."""
        done = self._run(("enable", self.target(label)))
        if done.code != 0:
            raise self._refusal("enable", done)

    def bootstrap(self, label: str, agent_file: Path) -> None:
        """Load the agent; one that is loaded already stays as it is."""
        give_up_s = time.monotonic() + self._bootstrap_patience_s
        while True:
            done = self._run(("bootstrap", self.domain, agent_file))
            # Refused because it is loaded, or is just being loaded: all is well.
            if done.code == 0 or (done.code in _PASSING and self.state(label) is not None):
                return
            if done.code not in _PASSING or time.monotonic() >= give_up_s:
                raise self._refusal("bootstrap", done)
            time.sleep(_PAUSE_S)

    def kickstart(self, label: str) -> None:
        """Start the agent's program now; one that runs already goes on."""
        done = self._run(("kickstart", self.target(label)))
        if done.code not in {0, ALREADY_IN_PROGRESS}:
            raise self._refusal("kickstart", done)

    def bootout(self, label: str) -> None:
        """Stop the agent's program, unload the agent, and wait until both have gone.

        launchctl returns before that, and whoever loads it again too early is refused.
        """
        done = self._run(("bootout", self.target(label)))
        if done.code in _GONE:
            return
        # A bootout before this one may still be at work: its end is waited for all the same.
        if done.code not in {0, *_PASSING}:
            raise self._refusal("bootout", done)
        give_up_s = time.monotonic() + BOOTOUT_PATIENCE_S
        while self.state(label) is not None:
            if time.monotonic() >= give_up_s:
                raise ServiceError(
                    "service.does_not_stop",
                    f"{label} is still loaded {BOOTOUT_PATIENCE_S:g} s after it was told to go",
                    remedy="try again; `daemonctl logs` may say what it waits for",
                )
            time.sleep(_PAUSE_S)

    def _refusal(self, verb: str, done: StepOutcome) -> ServiceError:
        known = MEANINGS.get(done.code, UNKNOWN)
        said = " ".join((done.err or done.out).split())[:200]
        kind = NoSessionError if done.code in _NO_SESSION else ServiceError
        return kind(
            f"service.launchctl_{done.code}",
            f"launchctl {verb} failed with {done.code}: {known.what} ({said})",
            remedy=known.remedy,
        )


def read_state(text: str) -> AgentState:
    """Take from `launchctl print` what can be recognised."""
    pid, runs = _field(text, "pid"), _field(text, "runs")
    last_exit = _field(text, "last terminating signal") or _field(text, "last exit code")
    return AgentState(
        pid=int(pid) if pid and pid.isdigit() else None,
        last_exit=last_exit,
        runs=int(runs) if runs and runs.isdigit() else None,
    )


def _field(text: str, name: str) -> str | None:
    """Find `name = value` at the first level of indentation."""
    found = re.search(rf"^(?:\t| {{1,8}}){re.escape(name)} = (.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else None
