"""One agent that is loaded: when its program starts, how it is stopped, and what it ended with.

Time is given to it, so that the rules stand apart from the clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_THROTTLE_S = 10
DEFAULT_EXIT_TIMEOUT_S = 20
SPAWN_FAILED = 78


@dataclass
class Job:
    """Runs one agent's program. `journal` is told of everything that happens to it."""

    agent: dict[str, Any]
    path: str
    environment: dict[str, str]
    throttle_scale: float
    journal: Callable[..., None]
    runs: int = 0
    exit_code: int | None = None
    exit_signal: int | None = None
    leaving: bool = False
    """Booted out: gone as soon as its process is."""
    _process: subprocess.Popen[bytes] | None = None
    _started_s: float = field(default=float("-inf"))
    _kill_at_s: float | None = None
    _wanted: bool = False

    @property
    def label(self) -> str:
        return str(self.agent["Label"])

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def load(self) -> None:
        """Start at once if the agent says so; SuccessfulExit implies RunAtLoad (manual page)."""
        keep_alive = self.agent.get("KeepAlive", False)
        implied = isinstance(keep_alive, dict) and "SuccessfulExit" in keep_alive
        self._wanted = bool(self.agent.get("RunAtLoad") or keep_alive is True or implied)

    def kickstart(self, now_s: float) -> None:
        """Start now, whatever the throttle says."""
        self._started_s = float("-inf")
        self._wanted = True
        self.advance(now_s)

    def terminate(self, now_s: float) -> None:
        """Ask the program to end; advance() kills it when ExitTimeOut has passed."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        timeout_s = self.agent.get("ExitTimeOut", DEFAULT_EXIT_TIMEOUT_S)
        self._kill_at_s = now_s + timeout_s if timeout_s else None

    def kill(self) -> None:
        """End the program without asking, as `kickstart -k` does."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._clear_group(self._process.pid)

    def advance(self, now_s: float) -> None:
        """Do whatever is due: notice an end, kill what does not end, start what is wanted."""
        if self._process is not None and self._process.poll() is not None:
            self._ended(self._process)
        if self._process is not None and self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_at_s = None
            self._signal(signal.SIGKILL)
        due_s = self._started_s + self._throttle_s()
        if self._process is None and self._wanted and not self.leaving and now_s >= due_s:
            self._spawn(now_s)

    def _throttle_s(self) -> float:
        interval_s: float = self.agent.get("ThrottleInterval", DEFAULT_THROTTLE_S)
        return interval_s * self.throttle_scale

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self.journal(event="signalled", label=self.label, signal=number.name)
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        code = process.returncode
        self._process, self._kill_at_s = None, None
        self.exit_code, self.exit_signal = (code, None) if code >= 0 else (None, -code)
        self._clear_group(process.pid)
        self._wanted = self._kept_alive()
        self.journal(event="ended", label=self.label, code=self.exit_code, signal=self.exit_signal)

    def _clear_group(self, group: int) -> None:
        """End what the program has started and left behind."""
        if not self.agent.get("AbandonProcessGroup"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def _kept_alive(self) -> bool:
        """Whether the end that came calls for a start: conditions are ORed."""
        keep_alive = self.agent.get("KeepAlive", False)
        if isinstance(keep_alive, bool):
            return keep_alive
        conditions = {
            "SuccessfulExit": self.exit_code == 0,
            "Crashed": self.exit_signal is not None,
        }
        return any(
            keep_alive[key] is holds for key, holds in conditions.items() if key in keep_alive
        )

    def _spawn(self, now_s: float) -> None:
        self._started_s = now_s
        self._wanted = False
        self.runs += 1
        arguments = self.agent.get("ProgramArguments") or [self.agent["Program"]]
        try:
            with self._open("StandardOutPath") as out, self._open("StandardErrorPath") as err:
                self._process = subprocess.Popen(
                    arguments,
                    executable=self.agent.get("Program"),
                    env=self._environment(),
                    cwd=self.agent.get("WorkingDirectory", "/"),
                    umask=_umask(self.agent.get("Umask", 0o22)),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        except OSError as error:
            self.exit_code, self.exit_signal = SPAWN_FAILED, None
            self._wanted = self._kept_alive()
            self.journal(event="not_spawned", label=self.label, error=str(error))
        else:
            self.journal(event="spawned", label=self.label, pid=self._process.pid, at_s=now_s)

    def _open(self, key: str) -> Any:
        return Path(self.agent.get(key, os.devnull)).open("ab")

    def _environment(self) -> dict[str, str]:
        """Give what launchd gives: its own few, those of `setenv`, then the agent's."""
        given = {"XPC_SERVICE_NAME": self.label, "XPC_FLAGS": "0x0"}
        return {**self.environment, **given, **self.agent.get("EnvironmentVariables", {})}


def _umask(value: int | str) -> int:
    """A number stands for itself; text is read as strtoul(3) does, 0 in front is octal."""
    return value if isinstance(value, int) else int(value, 8 if value.startswith("0") else 10)
