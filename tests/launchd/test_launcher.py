"""The launcher of the app, as it is built from its C source: signals, exit codes, no orphans.

The same source is built for macOS (test_launcher_binary.py). It uses nothing that Linux and macOS
do not both have, but for how a program finds its own path.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.brokers import eventually
from rigs.macos import native_launcher
from support.processes import is_gone, living

pytestmark = pytest.mark.skipif(
    native_launcher.why_not() is not None, reason=native_launcher.why_not() or ""
)

PASSED_ON = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]

CHILD = """
import os, signal, sys, time
from pathlib import Path
HERE = Path(os.environ["HERE"])
def note(name): (HERE / name).touch()
def unblock(): signal.pthread_sigmask(signal.SIG_UNBLOCK, range(1, 32))
note(f"pid-{os.getpid()}")
"""
"""What every child of these tests begins with."""


class Launched:
    """One start of the launcher, with a child of Python code. `here`: where the child notes."""

    def __init__(self, program: Path, here: Path, **options: object) -> None:
        self.here = here
        self.process = subprocess.Popen(
            [program, "these", "are", "not", "passed", "on"],
            env={"HERE": str(here), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )

    @property
    def child(self) -> int:
        """Wait for the child to say its process id."""
        eventually(lambda: any(self.here.glob("pid-*")), "the child runs")
        return int(next(self.here.glob("pid-*")).name.removeprefix("pid-"))

    def noted(self, name: str) -> bool:
        return (self.here / name).exists()

    def await_note(self, name: str) -> None:
        eventually(lambda: self.noted(name), f"the child notes {name}")

    def wait(self) -> int:
        code: int = self.process.wait(timeout=60)
        return code

    def end(self) -> None:
        """Leave nothing behind, whatever the test found."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native_launcher.build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def app(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make an app whose command is the given Python code."""

    def make(code: str, *arguments: str) -> Path:
        command = [sys.executable, "-S", "-E", "-c", CHILD + code, *arguments]
        return native_launcher.app_around(built, tmp_path / "Zoë's App.app", command)

    return make


@pytest.fixture
def launch(app: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    started: list[Launched] = []

    def start(code: str, *arguments: str, **options: object) -> Launched:
        here = tmp_path / f"here-{len(started)}"
        here.mkdir()
        started.append(Launched(app(code, *arguments), here, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.parametrize("code", [0, 1, 75, 78, 255])
def test_the_childs_exit_code_is_the_launchers(launch: Callable[..., Launched], code: int) -> None:
    assert launch(f"sys.exit({code})").wait() == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_that_a_signal_ended_gives_128_and_the_signal(
    launch: Callable[..., Launched], number: signal.Signals
) -> None:
    launched = launch(f"unblock(); os.kill(os.getpid(), {int(number)}); time.sleep(60)")
    assert launched.wait() == 128 + number


@pytest.mark.parametrize("number", PASSED_ON)
def test_a_signal_is_passed_on_and_the_child_decides(
    launch: Callable[..., Launched], number: signal.Signals
) -> None:
    launched = launch(
        f"signal.signal({int(number)}, lambda *_: sys.exit(9)); unblock(); note('ready')\n"
        "time.sleep(60)"
    )
    launched.await_note("ready")
    os.kill(launched.process.pid, number)
    assert launched.wait() == 9


@pytest.mark.parametrize("number", PASSED_ON)
def test_a_signal_that_comes_while_the_child_starts_waits_for_its_handlers(
    launch: Callable[..., Launched], number: signal.Signals
) -> None:
    """Python takes a second to load the daemon; by default such a signal would kill it."""
    launched = launch(
        "while not (HERE / 'go').exists(): time.sleep(0.01)\n"
        f"signal.signal({int(number)}, lambda *_: note('came'))\n"
        "unblock(); sys.exit(0)"
    )
    child = launched.child
    os.kill(launched.process.pid, number)
    time.sleep(0.1)  # for the launcher to pass it on; were it late, the test would still pass
    assert not is_gone(child)
    (launched.here / "go").touch()
    assert launched.wait() == 0
    assert launched.noted("came")


def test_a_signal_at_any_moment_of_the_start_ends_both_or_reaches_the_child(
    launch: Callable[..., Launched],
) -> None:
    """SIGHUP means reload: it must never end a daemon that has begun to start."""
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "signal.signal(signal.SIGHUP, lambda *_: note('reload'))\nunblock()\ntime.sleep(60)"
    )
    for delay_ms in range(0, 40, 2):
        launched = launch(code)
        time.sleep(delay_ms / 1000)
        os.kill(launched.process.pid, signal.SIGHUP)
        os.kill(launched.process.pid, signal.SIGTERM)
        ended = launched.wait()
        # Below 0: it came before the program had begun at all, and there never was a child.
        assert ended in {0, -signal.SIGHUP, -signal.SIGTERM}
        assert ended < 0 or launched.noted("reload")
        assert ended == 0 or not any(launched.here.iterdir())


def test_a_signal_that_was_ignored_where_it_was_started_is_passed_on_all_the_same(
    launch: Callable[..., Launched],
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        launched = launch(
            "signal.signal(signal.SIGHUP, lambda *_: sys.exit(9)); unblock(); note('ready')\n"
            "time.sleep(60)"
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    launched.await_note("ready")
    os.kill(launched.process.pid, signal.SIGHUP)
    assert launched.wait() == 9


def test_a_child_that_is_stopped_and_goes_on_has_not_ended(
    launch: Callable[..., Launched],
) -> None:
    launched = launch("note('ready')\nwhile not (HERE / 'go').exists(): time.sleep(0.01)\n")
    launched.await_note("ready")
    os.kill(launched.child, signal.SIGSTOP)
    time.sleep(0.1)
    assert launched.process.poll() is None
    os.kill(launched.child, signal.SIGCONT)
    (launched.here / "go").touch()
    assert launched.wait() == 0


WATCH_PIPE = "assert os.read(3, 1) == b''; note('alone'); sys.exit(0)"


def test_a_child_learns_that_its_launcher_was_killed(launch: Callable[..., Launched]) -> None:
    launched = launch("note('ready')\n" + WATCH_PIPE)
    launched.await_note("ready")
    child = launched.child
    os.kill(launched.process.pid, signal.SIGKILL)
    launched.await_note("alone")
    eventually(lambda: is_gone(child), "the child has ended")


def test_it_learns_it_also_where_it_looks_much_later(launch: Callable[..., Launched]) -> None:
    launched = launch("while not (HERE / 'go').exists(): time.sleep(0.01)\n" + WATCH_PIPE)
    child = launched.child
    os.kill(launched.process.pid, signal.SIGKILL)
    launched.wait()
    assert not is_gone(child)
    (launched.here / "go").touch()
    launched.await_note("alone")


def test_a_launcher_that_is_killed_at_any_moment_leaves_nobody_behind(
    launch: Callable[..., Launched],
) -> None:
    for delay_ms in range(0, 40, 2):
        launched = launch(WATCH_PIPE)
        time.sleep(delay_ms / 1000)
        os.kill(launched.process.pid, signal.SIGKILL)
        launched.wait()
        eventually(
            lambda group=launched.process.pid: not living("pgid", group),  # type: ignore[misc]
            f"nobody is left of one that was killed after {delay_ms} ms",
        )


def test_a_grandchild_that_inherits_everything_does_not_keep_the_pipe_open(
    launch: Callable[..., Launched],
) -> None:
    launched = launch(
        "import subprocess\n"
        "subprocess.Popen(['sleep', '60'], close_fds=False); note('ready')\n" + WATCH_PIPE
    )
    launched.await_note("ready")
    os.kill(launched.process.pid, signal.SIGKILL)
    launched.await_note("alone")


def test_the_child_stays_in_the_process_group_that_launchd_clears(
    launch: Callable[..., Launched],
) -> None:
    launched = launch("note('ready'); time.sleep(60)")
    assert os.getpgid(launched.child) == launched.process.pid


def test_the_pipe_is_the_only_descriptor_that_it_adds(launch: Callable[..., Launched]) -> None:
    launched = launch("[note(f'open-{n}') for n in range(64) if not os.system(f'true <&{n}')]")
    assert launched.wait() == 0
    assert {path.name for path in launched.here.glob("open-*")} == {f"open-{n}" for n in range(4)}


def test_the_command_may_hold_any_text_and_the_apps_own_arguments_are_not_passed_on(
    launch: Callable[..., Launched],
) -> None:
    odd = ["two words", "", "Zoë", "line\nbreak", "$HOME `x` \"q\" 'q'"]
    launched = launch(f"sys.exit(sys.argv[1:] != {odd!r})", *odd)
    assert launched.wait() == 0


def test_it_shows_its_command_and_starts_nothing(app: Callable[..., Path], tmp_path: Path) -> None:
    program = app("note('started')", "last")
    shown = subprocess.run(
        [program, "--show"], env={"HERE": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[0] == sys.executable
    assert shown.stdout.splitlines()[-1] == "last"
    assert not list(tmp_path.glob("pid-*"))


def test_a_link_from_elsewhere_leads_to_its_own_command_only(
    app: Callable[..., Path], built: Path, tmp_path: Path
) -> None:
    theirs = native_launcher.app_around(built, tmp_path / "Other.app", ["/bin/sh", "-c", "exit 3"])
    ours = app("")
    theirs.unlink()
    theirs.symlink_to(ours)
    shown = subprocess.run([theirs, "--show"], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[0] == sys.executable


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (None, "cannot read"),
        (b"", "cannot use"),
        (b"/bin/sh", "cannot use"),  # cut off
        (b"sh\0-c\0exit 0\0", "cannot use"),  # a name would be looked for
        (b"/bin/sh\0" * 32, "cannot use"),
        (b"/bin/sh\0" + b"x" * 16_384 + b"\0", "cannot use"),
        (b"/nowhere/python\0", "cannot start /nowhere/python: No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_started_gives_127_and_the_remedy(
    app: Callable[..., Path], command: bytes | None, told: str
) -> None:
    program = app("")
    sealed = program.parents[1] / "Resources" / "command"
    if command is None:
        sealed.unlink()
    else:
        sealed.write_bytes(command)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert told in done.stderr
    assert "-> run `daemonctl install`" in done.stderr
