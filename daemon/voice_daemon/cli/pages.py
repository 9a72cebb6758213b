"""Every command line as plain values, read from the parsers that `--help` is printed by.

What completions and the manual page are made of. Knows neither.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from voice_daemon.cli.parser import ABOUT, COMMANDS, PROG, command_parser, load_command, top_parser

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Argument:
    """Something that may stand on the command line."""

    flags: tuple[str, ...]
    """`-f`, `--follow`; () where it is given by its place."""
    value: str
    """What its value is called; empty for a switch."""
    help: str
    choices: tuple[str, ...]
    is_path: bool
    repeats: bool
    """True when several values may follow."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of one command, or of one of its actions."""

    name: str
    """`models pull`; empty for the program itself."""
    help: str
    usage: str
    arguments: tuple[Argument, ...]
    actions: tuple[Page, ...]
    example: str = ""

    @property
    def options(self) -> tuple[Argument, ...]:
        """What begins with a dash."""
        return tuple(argument for argument in self.arguments if argument.flags)

    @property
    def places(self) -> tuple[Argument, ...]:
        """What is given by its place."""
        return tuple(argument for argument in self.arguments if not argument.flags)

    @property
    def word(self) -> str:
        """What is typed to get here, after the pages above."""
        return self.name.rpartition(" ")[2]


def program() -> Page:
    """Read the whole of `daemonctl`: its commands are the actions."""
    commands = []
    for name in COMMANDS:
        command = load_command(name)
        page = _page(name, command.HELP, command_parser(command))
        commands.append(replace(page, example=command.EXAMPLE))
    return replace(_page("", ABOUT, top_parser()), actions=tuple(commands))


def _page(name: str, about: str, parser: argparse.ArgumentParser) -> Page:
    # argparse shows its arguments nowhere but here; every generator of completions reads them so.
    entries = parser._actions  # noqa: SLF001 - see above
    arguments = tuple(_argument(e) for e in entries if _is_shown(e))
    actions = tuple(page for entry in entries for page in _actions_of(name, entry))
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return Page(name, about, usage, arguments, actions)


def _is_shown(entry: argparse.Action) -> bool:
    return entry.help != argparse.SUPPRESS and not isinstance(entry, argparse._SubParsersAction)  # noqa: SLF001 - as above


def _actions_of(name: str, entry: argparse.Action) -> Iterator[Page]:
    if not isinstance(entry, argparse._SubParsersAction):  # noqa: SLF001 - as above
        return
    helps = {choice.dest: choice.help or "" for choice in entry._choices_actions}  # noqa: SLF001 - as above
    for word, parser in entry.choices.items():
        yield _page(f"{name} {word}", helps.get(word, ""), parser)


def _argument(entry: argparse.Action) -> Argument:
    is_switch = entry.nargs == 0
    value = entry.metavar if isinstance(entry.metavar, str) else entry.dest.upper()
    return Argument(
        flags=tuple(entry.option_strings),
        value="" if is_switch else value,
        help=(entry.help or "") % {"prog": PROG, "default": entry.default},
        choices=tuple(str(choice) for choice in entry.choices or ()),
        is_path=entry.type is Path or "FILE" in value,
        repeats=entry.nargs in ("*", "+"),
    )
