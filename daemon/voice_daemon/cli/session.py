"""`daemonctl listen|cancel|mute|unmute`: the verbs that act on the running daemon's session."""

import argparse
from typing import Final

from voice_daemon.cli.context import Context
from voice_daemon.control.client import ask
from voice_daemon.errors import EXIT_OK

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
    result = ask(context.paths().socket_path, verb, err=context.err)
    if args.json:
        context.print_json({"verb": verb, **result})
    else:
        context.out.write(f"{result.get('message', _DONE[verb])}\n")
    return EXIT_OK
