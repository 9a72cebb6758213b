"""TCC: which program may use the microphone, and why (not).

- The responsible program is asked about: the one at the top of the chain of parents, below
  launchd or the terminal, unless a child was started with `responsibility_spawnattrs_setdisclaim`
  (skhd.zig#43, Qt's article "The responsible process").
- A question needs NSMicrophoneUsageDescription in an Info.plist that a valid signature is bound
  to, and somebody at the screen. Otherwise the microphone is digital silence, without a word.
- The answer is kept for the bundle's identifier together with the requirement of the code that
  asked; for an ad-hoc signature that is its cdhash. Other code of the same identifier is refused
  without a question, while System Settings still shows the switch on (cua#2747, Ice#14).
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rigs.macos.code import Bundle, RefusedError, app_of
from rigs.macos.state import State

MICROPHONE = "kTCCServiceMicrophone"
_USAGE = {MICROPHONE: "NSMicrophoneUsageDescription"}


class Answer(StrEnum):
    """What a program hears. PROMPT: a question is on the screen, and silence until an answer."""

    GRANTED = "granted"
    DENIED = "denied"
    PROMPT = "prompt"


@dataclass(frozen=True)
class Tcc:
    """One user's permissions. `screen`: the session has a screen that somebody can see."""

    state: State
    screen: bool = True

    def ask(self, service: str, program: Path) -> Answer:
        """Decide for the responsible program."""
        client = self._client(program)
        if client is None:
            return Answer.DENIED
        identifier, requirement, info = client
        known = self._answers(service).get(identifier)
        if known is not None:
            same_code = known["requirement"] == requirement
            return Answer.GRANTED if known["allowed"] and same_code else Answer.DENIED
        can_ask = self.screen and bool(info.get(_USAGE[service]))
        return Answer.PROMPT if can_ask else Answer.DENIED

    def answer(self, service: str, program: Path, *, allowed: bool) -> None:
        """Click a button of the question; there must be one."""
        assert self.ask(service, program) is Answer.PROMPT, "no question is on the screen"
        client = self._client(program)
        assert client is not None
        identifier, requirement, _ = client
        answers = self._answers(service)
        answers[identifier] = {"allowed": allowed, "requirement": requirement}
        self.state.put(service, answers)

    def switch(self, service: str, identifier: str, *, on: bool) -> None:
        """Move the switch in System Settings; the requirement stays what it was."""
        answers = self._answers(service)
        answers[identifier]["allowed"] = on
        self.state.put(service, answers)

    def shown_on(self, service: str, identifier: str) -> bool | None:
        """Look at the switch in System Settings; None where there is no row."""
        known = self._answers(service).get(identifier)
        return None if known is None else bool(known["allowed"])

    def _answers(self, service: str) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = self.state.get(service, {})
        return found

    def _client(self, program: Path) -> tuple[str, str, dict[str, object]] | None:
        """Name the program as TCC does; None for one that no permission can be bound to."""
        app = app_of(program)
        if app is None:
            return None
        try:
            bundle = Bundle(app)
            signature = bundle.verify()
        except RefusedError:
            return None
        if signature.identifier != bundle.info.get("CFBundleIdentifier"):
            return None
        return signature.identifier, signature.requirement, bundle.info


def responsible_program(pid: int, *, below: int) -> Path:
    """Give the executable of the process's ancestor that is a child of `below` (a launchd)."""
    parent = parent_of(pid)
    while parent != below:
        pid, parent = parent, parent_of(parent)
        assert pid > 1, "the process is not below it"
    return Path(f"/proc/{pid}/exe").readlink() if Path("/proc").exists() else _name(pid)


def parent_of(pid: int) -> int:
    """Give a process's parent."""
    return int(_ps("ppid", pid))


def _name(pid: int) -> Path:
    return Path(_ps("comm", pid))


def _ps(column: str, pid: int) -> str:
    shown = subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)],  # noqa: S607 - every system's own
        capture_output=True,
        check=True,
    )
    return os.fsdecode(shown.stdout).strip()
