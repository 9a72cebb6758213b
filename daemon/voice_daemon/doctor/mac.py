"""Checks that only a Mac can do, each with what is expected and what is seen.

What is told holds no secret, no name of a person, a network or a device, and nothing that was
said: it is meant to be pasted.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from voice_daemon.doctor.checks import Verdict
from voice_daemon.doctor.system import compute
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.launchd import LABEL, AgentPaths, Machine
from voice_daemon.launchd.steps import StepOutcome
from voice_daemon.runtime.status import Status

OLDEST_MACOS: Final = 14
PYTHONS: Final = ((3, 11), (3, 14))
MOST_MEMORY_GB: Final = 4.0
"""A large model with everything around it."""
STALE_MS: Final = 2000
_NOT_RUNNING: Final = "no daemon answers: daemonctl install"
_PYTHON: Final = "import platform as p; print(p.python_version(), p.machine())"


class SelfCheckVerdict(StrEnum):
    """Comparison of what is seen with what is expected."""

    AS_EXPECTED = "as expected"
    DIFFERS = "differs"
    NOT_SEEN = "not seen"
    """It could not be looked at."""


@dataclass(frozen=True, slots=True)
class MacCheck:
    """One line of the report: how to look by hand, what is expected, and what is seen."""

    check: str
    how: str
    expected: str
    seen: str
    verdict: SelfCheckVerdict


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """The checks for one installation. `status`: what the running daemon says; None without one.

    `name_is_fixed`: the device's name is written down. `compute_options`: for MLX's own check.
    """

    machine: Machine
    places: AgentPaths
    status: Status | None
    name_is_fixed: bool
    compute_options: dict[str, Any]

    def look(self) -> Iterator[MacCheck]:
        """Take one look after another; each stands for itself."""
        yield from self._system()
        yield from self._app()
        yield from self._agent()
        yield from self._daemon()
        yield from self._surroundings()

    def _system(self) -> Iterator[MacCheck]:
        yield self._program(
            "macos",
            ("sw_vers", "-productVersion"),
            f"{OLDEST_MACOS} or newer",
            lambda done: int(done.out.split(".")[0]) >= OLDEST_MACOS,
        )
        yield self._program(
            "processor", ("uname", "-m"), "arm64", lambda done: done.out.strip() == "arm64"
        )
        (first, last), python = PYTHONS, self.machine.python
        yield self._program(
            "python",
            (python, "-E", "-P", "-c", _PYTHON),
            f"3.{first[1]} to 3.{last[1]}, arm64",
            lambda done: (
                first <= tuple(map(int, done.out.split(".")[:2])) <= last and "arm64" in done.out
            ),
        )
        found = list(compute(**self.compute_options))
        yield _check(
            "metal",
            "daemonctl doctor",
            "MLX computes on Metal",
            "; ".join(finding.message for finding in found),
            good=all(finding.verdict is Verdict.OK for finding in found),
        )

    def _app(self) -> Iterator[MacCheck]:
        app, program = self.places.app, self.places.program
        for name, path in (
            ("agent file", self.places.agent_file),
            ("app's Info.plist", app / "Contents" / "Info.plist"),
        ):
            yield self._program(
                name, ("plutil", "-lint", path), "OK", lambda done: done.out.rstrip().endswith("OK")
            )
        yield self._program(
            "signature",
            ("codesign", "--verify", "--strict", app),
            "no output, exit code 0",
            lambda done: done.code == 0,
        )
        yield self._program(
            "identity",
            ("codesign", "--display", "--verbose=4", app),
            f"Identifier={LABEL}",
            lambda done: f"Identifier={LABEL}" in done.err.splitlines(),
            show=lambda done: _lines(done.err, "Identifier=", "CDHash=", "Signature="),
        )
        yield self._program(
            "program",
            ("file", "-b", program),
            "Mach-O 64-bit executable arm64",
            lambda done: "Mach-O" in done.out and "arm64" in done.out,
        )
        yield self._program(
            "launcher",
            (program, "--show"),
            "the Python that the daemon is installed in",
            lambda done: done.out.splitlines()[0] == str(self.machine.python),
            show=lambda done: done.out.splitlines()[0] if done.out else done.err,
        )

    def _agent(self) -> Iterator[MacCheck]:
        target = f"gui/{self.machine.uid}/{LABEL}"
        wanted = ("state = running", "exit timeout = 15", "minimum runtime = 10")
        command = ("launchctl", "print", target)
        how = f"launchctl print gui/$UID/{LABEL}"
        yield self._program(
            "agent",
            command,
            ", ".join(wanted),
            lambda done: all(line in _stripped(done.out) for line in wanted),
            show=lambda done: _lines(
                done.out, *(line.split(" = ")[0] + " = " for line in wanted), "runs = "
            ),
            how=how,
        )
        if self.status is None:
            yield _unseen("launcher's child", "ps -o ppid= -p PID", "the launcher", _NOT_RUNNING)
            return
        launched = self.machine.run(*command).out
        found = re.search(r"^\s*pid = (\d+)$", launched, re.MULTILINE)
        yield self._program(
            "launcher's child",
            ("ps", "-o", "ppid=", "-p", str(self.status.pid)),
            "the process that launchd started",
            lambda done: found is not None and done.out.strip() == found[1],
            show=lambda done: (
                "it is its parent"
                if found is not None and done.out.strip() == found[1]
                else "another process is its parent"
            ),
            how="ps -o ppid= -p PID",
        )

    def _daemon(self) -> Iterator[MacCheck]:
        status, how = self.status, "daemonctl status --json"
        if status is None:
            yield _unseen("daemon", how, "it answers", _NOT_RUNNING)
            return
        mic = status.mic
        yield _check(
            "microphone permission",
            how,
            "authorized",
            mic.permission or "unknown",
            good=mic.permission == "authorized",
        )
        hears = math.isfinite(mic.level_dbfs) and (mic.last_block_age_ms or 0) < STALE_MS
        level = f"{mic.level_dbfs:.0f} dBFS" if math.isfinite(mic.level_dbfs) else "silence"
        yield _check("sound", how, "some level, and blocks that are not old", level, good=hears)
        wake, asr = status.wake.self_test, status.asr.self_test
        yield _check("wake word's self-test", how, "pass", wake, good=wake == "pass")
        expected = "pass (skipped: a model for another language)"
        good = asr in {"pass", "skipped"}
        yield _check("recogniser's self-test", how, expected, asr, good=good)
        broker = status.mqtt
        trouble = broker.last_error.removeprefix(f"{broker.url}: ") or "not connected"
        yield _check(
            "broker",
            how,
            "connected (on another machine: Local Network is allowed)",
            "connected" if broker.connected else trouble,
            good=broker.connected,
        )
        yield self._program(
            "memory",
            ("vmmap", "-summary", str(status.pid)),
            f"Physical footprint below {MOST_MEMORY_GB:g}G",
            lambda done: _footprint_gb(done.out) < MOST_MEMORY_GB,
            show=lambda done: _lines(done.out, "Physical footprint:", "IOAccelerator"),
            how="vmmap -summary PID",
        )

    def _surroundings(self) -> Iterator[MacCheck]:
        yield _check(
            "name",
            "daemonctl config show",
            "node_id is written down",
            "written down" if self.name_is_fixed else "it follows the network",
            good=self.name_is_fixed,
        )
        for name, setting, wanted in (("sleep", "sleep", "0"), ("power cut", "autorestart", "1")):
            yield self._program(
                name,
                ("pmset", "-g"),
                f"{setting} {wanted}",
                lambda done, setting=setting, wanted=wanted: (  # type: ignore[misc]
                    _setting(done.out, setting) == wanted
                ),
                show=lambda done, setting=setting: (  # type: ignore[misc]
                    f"{setting} {_setting(done.out, setting) or 'is not told'}"
                ),
            )
        yield self._program(
            "disk encryption",
            ("fdesetup", "status"),
            "FileVault is Off (or somebody logs in after each restart)",
            lambda done: "Off" in done.out,
        )

    def _program(
        self,
        name: str,
        command: Sequence[str | Path],
        expected: str,
        judge: Callable[[StepOutcome], bool],
        *,
        show: Callable[[StepOutcome], str] | None = None,
        how: str | None = None,
    ) -> MacCheck:
        """Run a program and judge what it says."""
        told = self._private(how or " ".join(map(str, command)))
        try:
            done = self.machine.run(*command)
        except VoiceDaemonError as error:
            return _unseen(name, told, expected, self._private(error.message))
        try:
            good = done.code == 0 and judge(done)
            seen = show(done) if show is not None and done.code == 0 else _words(done)
        except (ValueError, IndexError):
            good, seen = False, _words(done)
        return _check(name, told, expected, self._private(seen), good=good)

    def _private(self, text: str) -> str:
        """Leave out whose Mac it is."""
        return text.replace(str(self.machine.home), "~")


def _check(name: str, how: str, expected: str, seen: str, *, good: bool) -> MacCheck:
    verdict = SelfCheckVerdict.AS_EXPECTED if good else SelfCheckVerdict.DIFFERS
    return MacCheck(name, how, expected, seen.strip(), verdict)


def _unseen(name: str, how: str, expected: str, why: str) -> MacCheck:
    return MacCheck(name, how, expected, why, SelfCheckVerdict.NOT_SEEN)


def _words(done: StepOutcome) -> str:
    said = " ".join((done.out or done.err).split())[:200]
    return said if done.code == 0 else f"exit code {done.code}: {said}"


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def _lines(text: str, *beginnings: str) -> str:
    return ", ".join(line for line in _stripped(text) if line.startswith(beginnings))


def _setting(text: str, name: str) -> str | None:
    """Find a value in the output of `pmset -g`."""
    found = re.search(rf"^\s*{name}\s+(\d+)", text, re.MULTILINE)
    return found[1] if found else None


def _footprint_gb(text: str) -> float:
    """Read vmmap's `Physical footprint: 412.3M`; raises `ValueError` where there is none."""
    found = re.search(r"Physical footprint:\s+([\d.]+)([KMG])", text)
    if found is None:
        raise ValueError(text)
    return float(found[1]) * {"K": 1e-6, "M": 1e-3, "G": 1.0}[found[2]]


def compute_here() -> dict[str, Any]:
    """Give the options by which MLX is tried on this machine."""
    return {"python": sys.executable, "platform": sys.platform}
