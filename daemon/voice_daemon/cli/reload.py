"""`daemonctl reload`: has the running daemon take over a changed configuration.

Says what is in force now, and what needs a restart: the recogniser does. The daemon does the work.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from voice_daemon.errors import ConfigError, ControlError, VoiceDaemonError

if TYPE_CHECKING:
    from voice_daemon.cli.context import Context

NAME = "reload"
HELP = "have the running daemon take over a changed configuration"
EXAMPLE = "daemonctl reload"

GOOD: Final = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(args: argparse.Namespace, context: Context) -> int:
    """Reload; raises `ConfigError` for a wrong configuration."""
    from voice_daemon.control.client import ask  # noqa: PLC0415 - only when it is run

    try:
        answer = ask(context.paths().socket_path, NAME, err=context.err)
    except ControlError as error:
        raise _as_configuration(error) from error
    if args.json:
        context.print_json(answer)
    else:
        context.out.writelines(f"{line}\n" for line in lines(answer))
    return GOOD


def _as_configuration(error: ControlError) -> VoiceDaemonError:
    """Give a refusal the exit code of a wrong configuration, as other commands have it."""
    if not error.code.startswith("config."):
        return error
    return ConfigError(error.code, error.message, remedy=error.remedy or "nothing was changed")


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Report what became of each changed key."""
    if not (answer["applied"] or answer["restart"]):
        yield "nothing has changed"
    if answer["applied"]:
        yield f"in force: {', '.join(answer['applied'])}"
    if answer["restart"]:
        yield f"after a restart: {', '.join(answer['restart'])}"
        yield "  -> daemonctl restart"
