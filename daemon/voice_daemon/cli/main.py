"""`daemonctl`: runs the command that was asked for and turns errors into exit codes.

Which commands there are is `voice_daemon.cli.parser`'s. Loads nothing heavy: no array
library, no audio, no model.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from voice_daemon._lib.signals import EarlySignals
from voice_daemon._lib.terminal import print_error
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import command_parser, load_command, top_parser
from voice_daemon.errors import VoiceDaemonError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from voice_daemon.cli.context import CliCommand

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number, as shells have it."""


def main(argv: Sequence[str] | None = None, *, early: EarlySignals | None = None) -> int:
    """Run one command line, without the program's name, and return its exit code.

    `early`: the signals that came before.
    """
    try:
        code = _main(sys.argv[1:] if argv is None else argv, early or EarlySignals())
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return VoiceDaemonError.exit_code
    return code


def _main(argv: Sequence[str], early: EarlySignals) -> int:
    try:
        options = top_parser().parse_args(argv)
        name, *arguments = options.command
        command = load_command(name)
        parser = command_parser(command)
        parser.set_defaults(config=getattr(options, "config", None))
        args = parser.parse_args(arguments)
        return _run(command, args, early)
    except VoiceDaemonError as error:
        print_error(error, sys.stderr)
        return error.exit_code
    except SystemExit as stop:  # argparse, after --help and --version
        return stop.code if isinstance(stop.code, int) else 0


def _run(command: CliCommand, args: argparse.Namespace, early: EarlySignals) -> int:
    from voice_daemon.logs import setup as logs  # noqa: PLC0415 - structlog is slow to load, and help needs none

    logs.configure_for_command()
    context = Context(args.config, os.environ, sys.stdout, sys.stderr, signals=early)
    return command.run(args, context)
