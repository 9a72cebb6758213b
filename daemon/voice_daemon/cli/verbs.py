"""`daemonctl listen|cancel|mute|unmute|reload`: the verbs that the running daemon carries out."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, Final

from voice_daemon.cli.context import Context
from voice_daemon.control.client import ask
from voice_daemon.errors import EXIT_OK, ConfigError, ControlError

_DONE: Final = {
    "listen": "listening: speak now",
    "cancel": "cancelled",
    "mute": "muted",
    "unmute": "listening for the wake word again",
}
"""Said of a verb that the daemon accepted without a message of its own."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Send the verb; raises `NotRunningError`, or the daemon's refusal."""
    verb = args.command
    try:
        answer = ask(context.paths().socket_path, verb, err=context.err)
    except ControlError as error:
        if not error.code.startswith("config."):
            raise
        # A wrong configuration has the exit code that it has for other commands.
        remedy = error.remedy or "nothing was changed"
        raise ConfigError(error.code, error.message, remedy=remedy) from error
    told = [answer.get("message", _DONE[verb])] if verb in _DONE else _reloaded(answer)
    if args.json:
        context.print_json({"verb": verb, **answer} if verb in _DONE else answer)
    else:
        context.out.writelines(f"{line}\n" for line in told)
    return EXIT_OK


def _reloaded(answer: Mapping[str, Any]) -> Iterator[str]:
    """Report what became of each changed key."""
    if not (answer["applied"] or answer["restart"]):
        yield "nothing has changed"
    if answer["applied"]:
        yield f"in force: {', '.join(answer['applied'])}"
    if answer["restart"]:
        yield f"after a restart: {', '.join(answer['restart'])}"
        yield "  -> daemonctl restart"
