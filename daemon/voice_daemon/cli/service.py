"""`daemonctl install|uninstall|start|stop|restart`: the daemon as an agent of launchd."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from voice_daemon import __version__
from voice_daemon.cli.context import Context
from voice_daemon.config import load_settings
from voice_daemon.config.load import CONFIG_VARIABLE
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import (
    EXIT_FAILED,
    EXIT_OK,
    ControlError,
    NotRunningError,
    Problem,
    ServiceError,
    UsageError,
)
from voice_daemon.launchd import AgentPaths, Installation, Machine
from voice_daemon.launchd.agent import Agent
from voice_daemon.launchd.app_bundle import AD_HOC, Bundle, command_of
from voice_daemon.launchd.steps import Step, remove, write_file
from voice_daemon.models.measurements import FILE as MEASURED
from voice_daemon.paths import APP_NAME, HOME_VARIABLE, TIMERS_FILE, expand
from voice_daemon.runtime.status import Status


def ask_before_removing(paths: Sequence[Path], context: Context) -> None:
    """Raise `UsageError` unless somebody at a terminal says yes."""
    context.err.writelines(f"  {path}\n" for path in paths)
    if sys.stdin.isatty():
        context.err.write("remove all of these for good? [y/N] ")
        context.err.flush()
        if sys.stdin.readline().strip().lower() in {"y", "yes"}:
            return
    raise UsageError(
        "service.purge_not_confirmed",
        "nothing was removed: the purge was not confirmed",
        remedy="say `daemonctl uninstall --purge --yes`, or leave --purge out to keep these files",
    )


def belongings(context: Context, installation: Installation) -> list[Path]:
    """Give what the daemon and its commands made, and not the configuration.

    Models, sound, state, measurements and logs; with their rotations, and with what a crash left
    of a file that was being replaced.
    """
    paths, places = context.paths(), installation.places
    kept = (paths.changes_file.name, paths.vocabulary_file.name, TIMERS_FILE, MEASURED)
    state = [f"{APP_NAME}.sock*", "unsettled-*.jsonl"]
    state += [pattern for name in kept for pattern in (f"{name}*", f".{name}.*")]
    logs = [f"{log.name}*" for log in (paths.log_file, paths.wyoming_log_file)]
    return [
        paths.models_dir,
        paths.wake_words_dir,
        paths.audio_dir,
        *sorted(found for name in state for found in paths.state_dir.glob(name)),
        *sorted(found for name in logs for found in paths.log_file.parent.glob(name)),
        places.out_log,
        places.err_log,
    ]


def crash_files(context: Context) -> tuple[Path, Path]:
    """Give launchd's two files, with the one that holds crashes first."""
    places = AgentPaths(home=Path.home(), log_folder=context.paths().log_file.parent)
    return places.err_log, places.out_log


def drop_empty_folders(context: Context) -> None:
    """Remove the daemon's own folders where the purge left nothing in them."""
    paths = context.paths()
    for folder in {paths.log_file.parent, paths.state_dir, paths.models_dir.parent}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def config_file(context: Context) -> Path:
    """Give the file that the agent is to read, whether it is there or not."""
    named = context.environ.get(CONFIG_VARIABLE)
    file = context.config_path or (expand(named) if named else context.paths().config_file)
    return Path(file).absolute()


def variables(context: Context) -> dict[str, str]:
    """Give what the agent must be told of this environment; say what it is not told."""
    left = [
        name
        for name in sorted(context.environ)
        if name.startswith("VOICE_DAEMON_") and name not in {CONFIG_VARIABLE, HOME_VARIABLE}
    ]
    if left:
        context.err.write(
            f"daemonctl: warning: the agent will not see {', '.join(left)}\n"
            f"  -> write these settings into {config_file(context)}\n"
        )
    home = context.environ.get(HOME_VARIABLE)
    return {HOME_VARIABLE: str(context.paths().state_dir)} if home else {}


READY_S: Final = 60.0
_PAUSE_S: Final = 0.2
NEW_CONFIGURATION: Final = (
    "# Every key has a default. `daemonctl config example` shows them all, and\n"
    "# `daemonctl config check` says whether this file is right.\n"
)


Plan = Callable[[argparse.Namespace, Context, Installation], list[Step]]


@dataclass(frozen=True, slots=True)
class _ServiceCommand:
    """A command about the agent: `plan` lists the steps, `done` says that they were taken."""

    plan: Plan
    done: str
    starts: bool = False
    """True where a daemon runs afterwards, which is then waited for."""


def run(args: argparse.Namespace, context: Context, *, ready_s: float = READY_S) -> int:
    """Do the command step by step; raises `ServiceError` with a remedy where a step fails.

    `ready_s`: how long a started daemon may take to load its models and answer.
    """
    command = _COMMANDS[args.command]
    installation = installation_of(context)
    steps = command.plan(args, context, installation)
    _take(steps, args, context)
    status = None
    if not args.dry_run:
        status = _await_daemon(context, ready_s) if command.starts else None
        if args.command == "uninstall":
            _tell_what_stays(args, context, installation)
    is_up = status is not None and status.session.state != "starting"
    failed = command.starts and not args.dry_run and not is_up
    if args.json:
        document = {"command": args.command, "dry_run": args.dry_run}
        document |= {"steps": [step.text for step in steps]}
        context.print_json(document | {"pid": status.pid if status else None})
    elif args.dry_run:
        context.out.write("nothing was changed\n")
    elif status is not None and is_up:
        context.out.write(f"voice-daemon {status.version} is running (pid {status.pid})\n")
        _show_problems(status.problems, context.out)
    elif failed:
        how = "does not answer" if status is None else "is not ready"
        context.err.write(
            f"daemonctl: it was started, and {how} after {ready_s:g} s\n"
            "  -> `daemonctl status` and `daemonctl logs` say why\n"
        )
        _show_problems(status.problems if status else (), context.err)
    else:
        context.out.write(f"{command.done}\n")
    return EXIT_FAILED if failed else EXIT_OK


def installation_of(context: Context) -> Installation:
    """Give the service of this user; raises `ServiceError` off macOS and for root."""
    machine = context.machine or Machine.here(context.environ)
    log_folder = context.paths().log_file.parent
    return Installation(machine, AgentPaths(home=machine.home, log_folder=log_folder))


def _take(steps: Sequence[Step], args: argparse.Namespace, context: Context) -> None:
    for step in steps:
        if not args.json:
            context.out.write(f"{'would ' if args.dry_run else ''}{step.text}\n")
            context.out.flush()
        if args.dry_run:
            continue
        try:
            step.do()
        except ServiceError as error:
            if not step.is_optional:
                raise
            context.err.write(f"daemonctl: warning: {error.message}\n  -> {error.remedy}\n")


def _install(args: argparse.Namespace, context: Context, installation: Installation) -> list[Step]:
    if args.dry_run:
        load_settings(context.config_path, context.environ)  # which keeps nothing
    else:
        context.settings()  # a mistake in it is better told now than by a log
    _refuse_a_second(context, installation)
    file, places = config_file(context), installation.places
    agent = Agent(
        program=places.program,
        working_folder=places.home,
        out_log=places.out_log,
        err_log=places.err_log,
        variables=variables(context),
    )
    machine = installation.machine
    bundle = Bundle(
        machine.launcher, command_of(machine.python, file), identity=args.sign or AD_HOC
    )
    restart = _answering(context) not in {None, __version__}
    steps = installation.install_steps(agent, bundle, restart=restart)
    if not file.exists():
        steps.insert(0, write_file(file, NEW_CONFIGURATION.encode(), mode=0o600))
    return steps


def _start(_args: argparse.Namespace, context: Context, installation: Installation) -> list[Step]:
    steps = installation.start_steps()
    _refuse_a_second(context, installation)
    return steps


def _restart(_args: argparse.Namespace, context: Context, installation: Installation) -> list[Step]:
    """Plan a restart: the configured models have to work before one that works is stopped."""
    steps, status = installation.restart_steps(), _status(context)
    # One that waits, or still loads, has nothing to lose.
    is_warm = status is not None and status.asr.warm
    return [_try_models_step(context), *steps] if is_warm else steps


def _status(context: Context) -> Status | None:
    """Ask the running daemon how it is; None where it says nothing."""
    try:
        return Status.from_dict(ControlClient(context.paths().socket_path).request("status"))
    except ControlError:
        return None


def _try_models_step(context: Context) -> Step:
    settings, models_dir = context.settings(), context.paths().models_dir

    def try_them() -> None:
        from voice_daemon.runtime.build import try_models  # noqa: PLC0415 - MLX

        try_models(settings, models_dir)

    return Step(f"load and run {settings.asr.model} once, beside the running daemon", try_them)


def _uninstall(
    args: argparse.Namespace, context: Context, installation: Installation
) -> list[Step]:
    steps = installation.uninstall_steps()
    if not args.purge:
        return steps
    _refuse_a_second(context, installation)
    kept = [path for path in belongings(context, installation) if path.exists()]
    if kept and not args.yes and not args.dry_run:
        ask_before_removing(kept, context)
    return [*steps, *map(remove, kept)]


def _tell_what_stays(
    args: argparse.Namespace, context: Context, installation: Installation
) -> None:
    if args.purge:
        drop_empty_folders(context)
    if args.json:
        return
    stays = [config_file(context), *belongings(context, installation)]
    context.out.writelines(f"stays: {path}\n" for path in stays if path.exists())
    context.out.write(
        "stays: macOS's answer about the local network (System Settings > Privacy & Security)\n"
    )


def _answering(context: Context) -> str | None:
    """Give the version of the daemon that answers now; None when none does."""
    try:
        return ControlClient(context.paths().socket_path).exchange("status").version
    except NotRunningError:
        return None
    except ControlError:
        return "unknown"


def _refuse_a_second(context: Context, installation: Installation) -> None:
    """Raise where a daemon runs that launchd did not start.

    The agent's would leave at once beside it, and a purge would take its files away.
    """
    if not installation.loaded and _answering(context) is not None:
        raise ServiceError(
            "service.already_running",
            "a daemon is running that launchd did not start",
            remedy="end it first: Ctrl-C in its terminal; `daemonctl status` names its process",
        )


def _await_daemon(context: Context, ready_s: float) -> Status | None:
    """Wait until the daemon has its models; give what it says then, None where it says nothing."""
    give_up_s = time.monotonic() + ready_s
    status = None
    while time.monotonic() < give_up_s:
        status = _status(context)
        if status is not None and status.session.state != "starting":
            return status
        time.sleep(_PAUSE_S)
    return status


def _show_problems(problems: Sequence[Problem], out: TextIO) -> None:
    out.writelines(
        f"  ! {problem.part}: {problem.message}\n    -> {problem.remedy}\n" for problem in problems
    )


_COMMANDS: Final = {
    "install": _ServiceCommand(_install, done="installed", starts=True),
    "uninstall": _ServiceCommand(_uninstall, done="uninstalled"),
    "start": _ServiceCommand(_start, done="started", starts=True),
    "stop": _ServiceCommand(
        lambda _args, _context, installation: installation.stop_steps(),
        done="stopped until the next login, or `daemonctl start`",
    ),
    "restart": _ServiceCommand(_restart, done="restarted", starts=True),
}
