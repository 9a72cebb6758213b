"""`daemonctl reload`: has the running daemon take over a changed configuration."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from voice_daemon.cli.context import Context
from voice_daemon.control.client import ask
from voice_daemon.errors import EXIT_OK, ConfigError, ControlError, VoiceDaemonError


def run(args: argparse.Namespace, context: Context) -> int:
    """Reload; raises `ConfigError` for a wrong configuration."""
    try:
        answer = ask(context.paths().socket_path, "reload", err=context.err)
    except ControlError as error:
        raise _as_configuration(error) from error
    if args.json:
        context.print_json(answer)
    else:
        context.out.writelines(f"{line}\n" for line in lines(answer))
    return EXIT_OK


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
