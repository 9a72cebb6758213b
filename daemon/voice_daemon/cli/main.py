"""`daemonctl`: runs the command that was asked for and turns errors into exit codes."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from voice_daemon._lib.signals import EarlySignals
from voice_daemon._lib.terminal import (
    flush_or_drop,
    open_standard_streams,
    print_error,
    replace_unencodable,
)
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import COMMANDS, parse
from voice_daemon.errors import EXIT_INTERRUPTED, EXIT_OK, VoiceDaemonError


def main(argv: Sequence[str] | None = None, *, early: EarlySignals | None = None) -> int:
    """Run one command line, without the program's name, and return its exit code.

    `early`: the signals that came before.
    """
    open_standard_streams()
    os.umask(os.umask(0o077) & 0o077)  # no umask may keep us from our own files
    for stream in (sys.stdout, sys.stderr):
        replace_unencodable(stream)
    try:
        code = _main(sys.argv[1:] if argv is None else argv, early or EarlySignals())
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        return _refused(error)
    return code


def _refused(error: OSError) -> int:
    """Tell what the system refused, mostly to write the output; a reader that has gone is no news.

    Nothing is left behind for Python to complain of when it flushes at exit.
    """
    if not isinstance(error, BrokenPipeError):
        what = f"{error.filename}: " if error.filename else "the system refuses: "
        remedy = "check the disk, the permissions, and where the output goes"
        said = VoiceDaemonError("system", f"{what}{error.strerror or error}", remedy=remedy)
        print_error(said, sys.stderr)
    flush_or_drop(sys.stdout)
    flush_or_drop(sys.stderr)
    return VoiceDaemonError.exit_code


def _main(argv: Sequence[str], early: EarlySignals) -> int:
    try:
        return _run(parse(argv), early)
    except VoiceDaemonError as error:
        print_error(error, sys.stderr)
        return error.exit_code
    except SystemExit as stop:  # argparse, after --help and --version
        return stop.code if isinstance(stop.code, int) else EXIT_OK


def _run(args: argparse.Namespace, early: EarlySignals) -> int:
    # Only now: help and mistyped words need neither structlog nor any command's libraries.
    setup = importlib.import_module("voice_daemon.logs.setup")
    setup.configure_for_command()
    command = importlib.import_module(COMMANDS[args.command].module_path)
    context = Context(args.config, os.environ, sys.stdout, sys.stderr, signals=early)
    code: int = command.run(args, context)
    return code
