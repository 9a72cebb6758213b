"""Which commands `daemonctl` has, and how its command lines are read.

Knows the commands by name only; each is a module of this package, imported when it is needed.
Loads nothing heavy, and runs nothing: that is `voice_daemon.cli.main`'s.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from voice_daemon import __version__
from voice_daemon.errors import UsageError

if TYPE_CHECKING:
    from voice_daemon.cli.context import CliCommand

PROG = "daemonctl"
ABOUT = "Controls voice-daemon: wake word, streaming transcripts, MQTT."

COMMANDS = {
    "run": "run",
    "demo": "demo",
    "transcribe": "transcribe",
    "serve-wyoming": "serve_wyoming",
    "status": "status",
    "logs": "logs",
    "doctor": "doctor",
    "selfcheck": "selfcheck",
    "install": "service",
    "uninstall": "service",
    "start": "service",
    "stop": "service",
    "restart": "service",
    "reload": "reload",
    "listen": "session",
    "cancel": "session",
    "mute": "session",
    "unmute": "session",
    "devices": "devices",
    "test-mic": "mic_test",
    "test-wake": "wake_test",
    "models": "models",
    "vocabulary": "vocabulary",
    "config": "config",
    "completion": "completion",
}
"""Command -> module of `voice_daemon.cli` that holds it, in the order of the help."""

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


def load_command(name: str) -> CliCommand:
    """Import a command; raises `UsageError` for a name that is none."""
    if name not in COMMANDS:
        guess = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean `{PROG} {guess[0]}`?" if guess else f"see `{PROG} --help`"
        raise UsageError("usage.unknown_command", f"there is no command {name!r}", remedy=remedy)
    module = importlib.import_module(f"voice_daemon.cli.{COMMANDS[name]}")
    if COMMANDS[name] not in SHARED_MODULES:
        return cast("CliCommand", module)
    commands: tuple[CliCommand, ...] = module.COMMANDS
    return next(command for command in commands if name == command.NAME)


def top_parser() -> argparse.ArgumentParser:
    """Read what stands before the command, and the command."""
    parser = _TopParser(
        prog=PROG,
        usage=f"{PROG} [--config PATH] COMMAND ...",
        description=ABOUT,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"voice-daemon {__version__}")
    _add_config(parser)
    # argparse.PARSER: the command's name, and everything after it untouched.
    parser.add_argument("command", nargs=argparse.PARSER, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def command_parser(command: CliCommand) -> argparse.ArgumentParser:
    """Read what stands after the command."""
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
