"""The supervising process: loads and unloads agents, answers launchctl, keeps a journal.

It is the other programs of the Mac as well: a process for each would cost more than what they do.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import pwd
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from rigs.fake_launchd import property_list
from rigs.fake_launchd.codes import Answer, failed, not_found
from rigs.fake_launchd.job import Job
from rigs.macos.programs import Said, run

TICK_S = 0.02
MAX_REQUEST_BYTES = 65_536
SESSION = "Aqua"


class Launchd:
    """One user's login session. `now_s` is the time of the newest tick."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._jobs: dict[str, Job] = {}
        self._disabled: set[str] = set()
        self._setenv: dict[str, str] = {}
        self._journal = Path(options.journal).open("a", buffering=1)  # noqa: SIM115 - for ever

    def tick(self) -> None:
        """Move every job on, and forget those that were booted out and have ended."""
        now_s = time.monotonic()
        for job in list(self._jobs.values()):
            job.advance(now_s)
            if job.leaving and job.pid is None:
                del self._jobs[job.label]
                self._note(event="removed", label=job.label)

    def end(self) -> None:
        """The user logs out: everything is killed."""
        for job in self._jobs.values():
            job.kill()

    def answer(self, arguments: list[str]) -> Answer:
        """Do what one launchctl command line asks."""
        verb, *rest = arguments or [""]
        if verb == "setenv" and len(rest) == 2:
            self._setenv[rest[0]] = rest[1]
            return Answer()
        if verb == "getenv" and len(rest) == 1:
            return Answer(out=self._setenv.get(rest[0], ""))
        handler = {
            "bootstrap": self._bootstrap,
            "bootout": self._bootout,
            "kickstart": self._kickstart,
            "print": self._print,
            "enable": self._enable,
            "disable": self._disable,
        }.get(verb)
        if handler is None:
            return Answer(64, err=f"Unrecognized subcommand: {verb}\n")
        flags = [argument for argument in rest if argument.startswith("-")]
        target, *more = [argument for argument in rest if not argument.startswith("-")] or [""]
        domain, _, label = target.partition("/")[2].partition("/")
        if not target.startswith("gui/") or domain != str(self._options.uid):
            return failed(verb, 125)
        if not self._options.session:
            return failed(verb, 125)
        return handler(label, flags, more)

    def _bootstrap(self, _label: str, _flags: list[str], files: list[str]) -> Answer:
        path = Path(files[0]) if files else Path()
        agent = property_list.read(path, owner=os.getuid(), session=SESSION)
        if isinstance(agent, int):
            return failed("bootstrap", agent)
        if agent["Label"] in self._disabled:
            return failed("bootstrap", 119)
        if agent["Label"] in self._jobs:  # also while it is still on its way out
            return failed("bootstrap", 5)
        job = Job(agent, str(path), self._environment(), self._options.throttle_scale, self._note)
        self._jobs[job.label] = job
        self._note(event="loaded", label=job.label)
        job.load()
        return Answer()

    def _bootout(self, label: str, _flags: list[str], _more: list[str]) -> Answer:
        """Return at once; the label stays until the program has ended."""
        job = self._jobs.get(label)
        if job is None:
            return failed("bootout", 3)
        if job.leaving:
            return failed("bootout", 37)
        job.leaving = True
        job.terminate(time.monotonic())
        return Answer()

    def _kickstart(self, label: str, flags: list[str], _more: list[str]) -> Answer:
        job = self._jobs.get(label)
        if job is None:
            return not_found(label, self._options.uid)
        if job.leaving or (job.pid is not None and "-k" not in flags):
            return Answer(
                37, err="Could not kickstart service: 37: Operation already in progress\n"
            )
        job.kill()
        job.advance(time.monotonic())
        job.kickstart(time.monotonic())
        return Answer()

    def _enable(self, label: str, _flags: list[str], _more: list[str]) -> Answer:
        self._disabled.discard(label)
        return Answer()

    def _disable(self, label: str, _flags: list[str], _more: list[str]) -> Answer:
        self._disabled.add(label)
        return Answer()

    def _print(self, label: str, _flags: list[str], _more: list[str]) -> Answer:
        job = self._jobs.get(label)
        if job is None:
            return not_found(label, self._options.uid)
        lines = [
            f"active count = {int(job.pid is not None)}",
            f"path = {job.path}",
            "type = LaunchAgent",
            f"state = {'running' if job.pid else 'not running'}",
            "",
            f"program = {job.agent['ProgramArguments'][0]}",
            f"domain = gui/{self._options.uid}",
            f"minimum runtime = {job.agent.get('ThrottleInterval', 10)}",
            f"exit timeout = {job.agent.get('ExitTimeOut', 5)}",
            f"runs = {job.runs}",
            *([f"pid = {job.pid}"] if job.pid else []),
            *_last_exit(job),
        ]
        text = "".join(f"\t{line}\n" if line else "\n" for line in lines)
        return Answer(out=f"gui/{self._options.uid}/{label} = {{\n{text}}}\n")

    def _environment(self) -> dict[str, str]:
        user = pwd.getpwuid(os.getuid())
        return {
            "HOME": self._options.home,
            "LOGNAME": user.pw_name,
            "USER": user.pw_name,
            "SHELL": user.pw_shell,
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "TMPDIR": "/tmp",  # noqa: S108 - what a login session has
            **self._setenv,
        }

    def _note(self, **what: object) -> None:
        self._journal.write(json.dumps(what) + "\n")


def _last_exit(job: Job) -> list[str]:
    if job.exit_signal is not None:
        name = signal.strsignal(job.exit_signal)
        return [f"last terminating signal = {name}: {job.exit_signal}"]
    if job.exit_code is None:
        return ["last exit code = (never exited)"]
    sysexits = {75: "EX_TEMPFAIL", 78: "EX_CONFIG"}
    name = f": {sysexits[job.exit_code]}" if job.exit_code in sysexits else ""
    return [f"last exit code = {job.exit_code}{name}"]


def _request(connection: socket.socket) -> list[str]:
    """Read a program's name and its arguments, each with a NUL behind it."""
    request = b""
    while part := connection.recv(MAX_REQUEST_BYTES):
        request += part
    return os.fsdecode(request).split("\0")[:-1]


def serve(launchd: Launchd, listener: socket.socket, folder: Path) -> None:
    """Answer one request a connection, and tick in between, until SIGTERM."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while not _stopping:
            if selector.select(TICK_S):
                connection, _ = listener.accept()
                with connection:
                    program, *arguments = _request(connection)
                    launchd.tick()
                    said: Answer | Said
                    if program == "launchctl":
                        said = launchd.answer(arguments)
                    else:
                        said = run(folder, program, *arguments)
                    connection.sendall("\0".join((str(said.code), said.out, said.err, "")).encode())
            launchd.tick()


_stopping: list[int] = []


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--home", required=True)
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--throttle-scale", type=float, default=1.0)
    parser.add_argument("--no-session", dest="session", action="store_false")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: _stopping.append(number))
    launchd = Launchd(options)
    with socket.socket(socket.AF_UNIX) as listener:
        # Its name shows once somebody listens there: whoever waits for it may connect at once.
        listener.bind(f"{options.socket}.new")
        listener.listen()
        Path(f"{options.socket}.new").rename(options.socket)
        try:
            serve(launchd, listener, Path(options.socket).parent)
        except OSError as error:
            if error.errno != errno.EINTR:
                raise
        finally:
            launchd.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
