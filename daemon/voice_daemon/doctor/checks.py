"""Findings of checks, and running checks one after another within bounds of time."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from voice_daemon.errors import VoiceDaemonError

DEFAULT_TIMEOUT_S: Final = 10.0


class Verdict(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, or may; something should be done."""
    FAIL = "fail"
    SKIP = "skip"
    """It could not be looked at, or need not be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    verdict: Verdict
    message: str
    remedy: str = ""
    took_ms: int = 0


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """Something should be done."""
    return Finding(check, Verdict.WARN, message, remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """Something is wrong."""
    return Finding(check, Verdict.FAIL, message, remedy)


def skip(check: str, message: str) -> Finding:
    """There was nothing to look at."""
    return Finding(check, Verdict.SKIP, message)


def failed(check: str, error: VoiceDaemonError) -> Finding:
    """Something is wrong, and the error says what."""
    return fail(check, error.message, error.remedy)


def answer_of(command: Sequence[str], *, timeout_s: float) -> Any:
    """Give the JSON that a program prints, one that may die of it; ValueError where it does."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(error) from error
    if done.returncode != 0:
        raise ValueError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return json.loads(done.stdout)


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at."""

    name: str
    look: Callable[[], Iterable[Finding]]
    timeout_s: float = DEFAULT_TIMEOUT_S


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """Run checks in order and give what each found.

    Each runs on a thread of its own: what it asks (a resolver, a driver, a library) may never
    answer. It is then left behind, and the process ends without it.
    """
    for check in checks:
        found: list[Finding] = []
        began_s = time.monotonic()
        thread = threading.Thread(
            target=_run, args=(check, found), name=f"doctor-{check.name}", daemon=True
        )
        thread.start()
        thread.join(check.timeout_s)
        took_ms = round((time.monotonic() - began_s) * 1000)
        if thread.is_alive():
            message = f"no answer within {check.timeout_s:g} s"
            found = [*found, fail(check.name, message, "try again; if it stays, restart the Mac")]
        yield from (replace(finding, took_ms=took_ms) for finding in found)


def _run(check: Check, found: list[Finding]) -> None:
    """Run a check on its thread; whatever goes wrong is a finding."""
    try:
        found.extend(check.look())
    except VoiceDaemonError as error:
        found.append(failed(check.name, error))
    except Exception as error:  # noqa: BLE001 - a check's own fault must not hide the others
        message = f"this could not be looked at: {type(error).__name__}: {error}"
        found.append(fail(check.name, message, "please report it"))
