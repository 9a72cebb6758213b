"""`daemonctl listen|cancel|mute|unmute`: the verbs that act on the running daemon's session.

Each sends its verb and says what the daemon answered; what a session is, is the daemon's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from voice_daemon.cli.context import Context


@dataclass(frozen=True, slots=True)
class SessionCommand:
    """A command without arguments that is one verb on the control socket."""

    NAME: str
    HELP: str
    EXAMPLE: str
    done: str
    """What to say when the daemon accepted it without a message of its own."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare `--json`."""
        parser.add_argument("--json", action="store_true", help="print the answer as JSON")

    def run(self, args: argparse.Namespace, context: Context) -> int:
        """Send the verb; raises `NotRunningError`, or the daemon's refusal."""
        from voice_daemon.control.client import ask  # noqa: PLC0415 - only when it is run

        result = ask(context.paths().socket_path, self.NAME, err=context.err)
        if args.json:
            context.print_json({"verb": self.NAME, **result})
        else:
            context.out.write(f"{result.get('message', self.done)}\n")
        return 0


COMMANDS: Final = (
    SessionCommand(
        NAME="listen",
        HELP="open a session now, without the wake word",
        EXAMPLE="daemonctl listen",
        done="listening: speak now",
    ),
    SessionCommand(
        NAME="cancel",
        HELP="end the session without a transcript",
        EXAMPLE="daemonctl cancel",
        done="cancelled",
    ),
    SessionCommand(
        NAME="mute",
        HELP="stop listening until `daemonctl unmute`",
        EXAMPLE="daemonctl mute",
        done="muted",
    ),
    SessionCommand(
        NAME="unmute",
        HELP="listen again",
        EXAMPLE="daemonctl unmute",
        done="listening for the wake word again",
    ),
)
"""All four, for the registry."""
