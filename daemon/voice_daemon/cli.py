"""`daemonctl`: finds the command that was asked for, runs it and turns errors into exit codes.

Knows the commands by name only; each is a module of `voice_daemon.commands`, imported when it
is needed. Loads nothing heavy: no array library, no audio, no model.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from voice_daemon import __version__
from voice_daemon.commands import Command, Context, print_error
from voice_daemon.errors import UsageError, VoiceDaemonError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG = "daemonctl"
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number, as shells have it."""

COMMANDS = {
    "run": "run",
    "demo": "demo",
    "transcribe": "transcribe",
    "serve-wyoming": "serve_wyoming",
    "status": "status",
    "install": "service",
    "uninstall": "service",
    "start": "service",
    "stop": "service",
    "restart": "service",
    "listen": "session",
    "cancel": "session",
    "mute": "session",
    "unmute": "session",
    "devices": "devices",
    "test-mic": "test_mic",
    "test-wake": "test_wake",
    "models": "models",
    "config": "config",
}
"""Command -> module of `voice_daemon.commands` that holds it, in the order of the help."""

SHARED_MODULES = frozenset({"session", "service"})
"""Modules that hold several commands, in a tuple `COMMANDS`."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are told like all others."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("usage.arguments", message, remedy=f"see `{self.prog} --help`")


class _TopParser(_Parser):
    """The parser of what stands before the command; its help lists the commands."""

    def format_help(self) -> str:
        rows = [f"  {name:<15}{load_command(name).HELP}" for name in COMMANDS]
        more = f"`{PROG} COMMAND --help` tells more of each."
        return "\n".join((super().format_help(), "commands:", *rows, "", more, ""))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, without the program's name, and return its exit code."""
    try:
        code = _main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return VoiceDaemonError.exit_code
    return code


def load_command(name: str) -> Command:
    """Import a command; raises `UsageError` for a name that is none."""
    if name not in COMMANDS:
        guess = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean `{PROG} {guess[0]}`?" if guess else f"see `{PROG} --help`"
        raise UsageError("usage.unknown_command", f"there is no command {name!r}", remedy=remedy)
    module = importlib.import_module(f"voice_daemon.commands.{COMMANDS[name]}")
    if COMMANDS[name] not in SHARED_MODULES:
        return cast("Command", module)
    commands: tuple[Command, ...] = module.COMMANDS
    return next(command for command in commands if name == command.NAME)


def _main(argv: Sequence[str]) -> int:
    try:
        options = _top_parser().parse_args(argv)
        name, *arguments = options.command
        command = load_command(name)
        parser = _command_parser(command)
        parser.set_defaults(config=getattr(options, "config", None))
        args = parser.parse_args(arguments)
        return _run(command, args)
    except VoiceDaemonError as error:
        print_error(error, sys.stderr)
        return error.exit_code
    except SystemExit as stop:  # argparse, after --help and --version
        return stop.code if isinstance(stop.code, int) else 0


def _run(command: Command, args: argparse.Namespace) -> int:
    from voice_daemon import logs  # noqa: PLC0415 - structlog is slow to load, and help needs none

    logs.configure_for_command()
    context = Context(config_path=args.config, environ=os.environ, out=sys.stdout, err=sys.stderr)
    return command.run(args, context)


def _top_parser() -> argparse.ArgumentParser:
    parser = _TopParser(
        prog=PROG,
        usage=f"{PROG} [--config PATH] COMMAND ...",
        description="Controls voice-daemon: wake word, streaming transcripts, MQTT.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"voice-daemon {__version__}")
    _add_config(parser)
    # argparse.PARSER: the command's name, and everything after it untouched.
    parser.add_argument("command", nargs=argparse.PARSER, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _command_parser(command: Command) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{PROG} {command.NAME}",
        description=command.HELP,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    _add_config(parser)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    # Suppressed, so that the command's own parser keeps what was given before the command.
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="configuration file (default: $VOICE_DAEMON_CONFIG, else the platform's)",
    )
