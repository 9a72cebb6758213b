"""`daemonctl completion bash|zsh|fish`: a script that lets a shell complete command lines."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import build_parser
from voice_daemon.errors import EXIT_OK


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the script."""
    context.out.write(f"{script(args.shell)}\n")
    return EXIT_OK


def script(shell: str) -> str:
    """Write the completion script of one shell."""
    parser = build_parser()
    for action in _actions(parser):
        if action.type is Path or "FILE" in str(action.metavar):
            vars(action)["complete"] = shtab.FILE  # where shtab looks for it
    made: str = shtab.complete(parser, shell=shell)
    return made.rstrip()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of a parser and of its subcommands."""
    for action in parser._actions:  # noqa: SLF001 - argparse lists them nowhere else
        yield action
        if action.nargs == argparse.PARSER and isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from _actions(below)
