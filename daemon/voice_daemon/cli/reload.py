"""`daemonctl reload`: has the running daemon take over a changed configuration.

Says what is in force now, and what needs a restart. Another recogniser takes a while to load; the
old one serves until then, and the command waits for it. What is done is the daemon's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from voice_daemon.errors import ConfigError, ControlError, VoiceDaemonError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from voice_daemon.cli.context import Context

NAME = "reload"
HELP = "have the running daemon take over a changed configuration"
EXAMPLE = "daemonctl reload"

GOOD: Final = 0
REFUSED: Final = 1
DEFAULT_WAIT_S: Final = 120.0
_PAUSE_S: Final = 0.1
_LOADING: Final = "loading"
_REFUSED: Final = "refused"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait until another recogniser is loaded"
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(args: argparse.Namespace, context: Context) -> int:
    """Reload; 1 when the recogniser was refused, raises `ConfigError` for a wrong configuration."""
    from voice_daemon.control.client import ask  # noqa: PLC0415 - only when it is run

    socket_path = context.paths().socket_path
    try:
        answer = ask(socket_path, NAME, err=context.err)
    except ControlError as error:
        raise _as_configuration(error) from error
    progress: Mapping[str, Any] = {"switch": "none"}
    if answer["loading"]:
        if not args.json:
            context.err.write("loading the recogniser; the old one serves until it is warm\n")
        progress = _follow(context, wait_s=0.0 if args.no_wait else DEFAULT_WAIT_S)
    if args.json:
        context.print_json({**answer, **progress})
    else:
        context.out.writelines(f"{line}\n" for line in lines(answer, progress))
    return REFUSED if progress["switch"] == _REFUSED else GOOD


def _as_configuration(error: ControlError) -> VoiceDaemonError:
    """Give a refusal the exit code of a wrong configuration, as other commands have it."""
    if not error.code.startswith("config."):
        return error
    return ConfigError(error.code, error.message, remedy=error.remedy or "nothing was changed")


def _follow(context: Context, *, wait_s: float) -> dict[str, Any]:
    """Ask until the recogniser is there or refused, or so much time has passed."""
    from voice_daemon.control.client import ask  # noqa: PLC0415 - only when it is run

    end_s = time.monotonic() + wait_s
    while True:
        progress = ask(context.paths().socket_path, "reload-progress", err=None)
        if progress["switch"] != _LOADING or time.monotonic() >= end_s:
            return progress
        time.sleep(_PAUSE_S)


def lines(answer: Mapping[str, Any], progress: Mapping[str, Any]) -> Iterator[str]:
    """Tell what became of each changed key."""
    if not (answer["applied"] or answer["loading"] or answer["restart"]):
        yield "nothing has changed"
    if answer["applied"]:
        yield f"in force: {', '.join(answer['applied'])}"
    if answer["loading"]:
        yield f"{_outcome(progress)}: {', '.join(answer['loading'])}"
    if "message" in progress:
        yield f"  ! {progress['message']}"
        yield f"    -> {progress['remedy']}"
    if answer["restart"]:
        yield f"after a restart: {', '.join(answer['restart'])}"
        yield "  -> daemonctl restart"


def _outcome(progress: Mapping[str, Any]) -> str:
    if progress["switch"] == _LOADING:
        return "still loading"
    if progress["switch"] == _REFUSED:
        return f"refused, {progress['model']} goes on"
    return "in force"
