"""`daemonctl status`: the daemon's health on one screen, once or watched.

Exit codes: 0 healthy or starting, 1 degraded or not answering, 3 not running, 4 not installed.
What is seen is `cli.diagnosis`'s, and how it is written `cli.status_view`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from voice_daemon.cli.context import Context
    from voice_daemon.launchd import Machine

NAME = "status"
HELP = "show the health of the running daemon"
EXAMPLE = "daemonctl status --watch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show level, wake score and words as they are, until Ctrl-C; in a pipe a line "
        "for each change",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON (with --watch, a line for each change)"
    )


def run(
    args: argparse.Namespace,
    context: Context,
    *,
    machine_of: Callable[[Mapping[str, str]], Machine] | None = None,
) -> int:
    """Show the status. `machine_of`: where launchd is looked for; None: on this machine."""
    from voice_daemon.cli.diagnosis import look  # noqa: PLC0415 - only when it is run
    from voice_daemon.cli.watch import screen_text, watch  # noqa: PLC0415 - as above

    if args.watch:
        watch(context, machine_of, as_json=args.json)
    sight = look(context, machine_of)
    if args.json:
        context.print_json(sight.to_dict())
    else:
        text = screen_text(sight, None, context, colour=context.wants_colour)
        context.out.write(f"{text}\n")
    return sight.exit_code
