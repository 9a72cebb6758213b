"""`daemonctl status`: the running daemon's health, once or redrawn every second.

Exit codes: 0 healthy, 1 degraded, 3 not running. What is shown is `voice_daemon.status`'s.
"""

from __future__ import annotations

import time
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from voice_daemon.errors import NotRunningError, VoiceDaemonError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import TextIO

    from voice_daemon.commands import Context
    from voice_daemon.status import Status

NAME = "status"
HELP = "show the health of the running daemon"
EXAMPLE = "daemonctl status --watch"

HEALTHY: Final = 0
DEGRADED: Final = 1
WATCH_INTERVAL_S: Final = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--watch", action="store_true", help="redraw every second until Ctrl-C")
    parser.add_argument(
        "--json", action="store_true", help="print JSON (with --watch, a line each)"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Show the status; raises `NotRunningError` when there is no daemon to ask."""
    if args.watch:
        return _watch_json(context) if args.json else _watch(context)
    if args.json:
        return _print_json(context, context.err)
    status = _ask(context, context.err)
    from voice_daemon.status import render  # noqa: PLC0415 - only when it is run

    context.out.write(render(status, colour=_wants_colour(context)) + "\n")
    return _exit_code(status)


def _ask(context: Context, err: TextIO | None) -> Status:
    from voice_daemon.control.ask import ask  # noqa: PLC0415 - only when it is run
    from voice_daemon.status import Status  # noqa: PLC0415 - only when it is run

    return Status.from_dict(ask(context.paths().socket_path, "status", err=err))


def _print_json(context: Context, err: TextIO | None) -> int:
    """Print one document in any case: a script need not read stderr to see why."""
    try:
        status = _ask(context, err)
    except VoiceDaemonError as error:
        told = {"code": error.code, "message": error.message, "remedy": error.remedy}
        running = not isinstance(error, NotRunningError)
        context.print_json({"running": running, "healthy": False, "error": told})
        return error.exit_code
    context.print_json(status.to_dict())
    return _exit_code(status)


def _watch_json(context: Context) -> int:
    for err in _warn_once(context):
        _print_json(context, err)
        time.sleep(WATCH_INTERVAL_S)
    return HEALTHY


def _watch(context: Context) -> int:
    """Redraw until Ctrl-C, which the caller turns into 130; a pipe gets one text after another.

    A daemon that stops while it is watched is shown as not running, and again when it is back.
    """
    if not _is_terminal(context):
        for err in _warn_once(context):
            context.out.write(_watch_text(context, err, colour=False) + "\n\n")
            context.out.flush()
            time.sleep(WATCH_INTERVAL_S)
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.live import Live  # noqa: PLC0415 - only on a terminal
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    with Live(console=Console(file=context.out), auto_refresh=False) as live:
        for err in _warn_once(context):
            shown = _watch_text(context, err, colour=_wants_colour(context))
            live.update(Text.from_ansi(shown), refresh=True)
            time.sleep(WATCH_INTERVAL_S)
    return HEALTHY


def _warn_once(context: Context) -> Iterator[TextIO | None]:
    """For ever: where warnings go the first time, then nowhere."""
    return chain([context.err], repeat(None))


def _watch_text(context: Context, err: TextIO | None, *, colour: bool) -> str:
    from voice_daemon.status import render  # noqa: PLC0415 - only when it is run

    try:
        return render(_ask(context, err), colour=colour)
    except VoiceDaemonError as error:
        return f"{error.message}\n  -> {error.remedy}"


def _exit_code(status: Status) -> int:
    return HEALTHY if status.healthy else DEGRADED


def _is_terminal(context: Context) -> bool:
    return context.out.isatty() and context.environ.get("TERM") != "dumb"


def _wants_colour(context: Context) -> bool:
    return _is_terminal(context) and not context.environ.get("NO_COLOR")
