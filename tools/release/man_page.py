"""`python -m tools.release.man_page FILE`: daemonctl(1), from the parser behind `--help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from argparse_manpage.manpage import Manpage

from voice_daemon import __version__
from voice_daemon.cli.parser import ABOUT, COMMANDS, build_parser
from voice_daemon.errors import EXIT_CODES

ENVIRONMENT: Final = {
    "VOICE_DAEMON_CONFIG": "the configuration file, where --config does not name one",
    "VOICE_DAEMON_HOME": "one folder for configuration, state, log and models",
    "VOICE_DAEMON_<SECTION>__<KEY>": "any key of the configuration; wins over the file",
    "NO_COLOR": "no colours",
}


def manual() -> str:
    """Write the page, the same on every day."""
    parser = build_parser()
    parser.epilog = None  # it speaks of --help
    for name, command in _commands(parser).items():
        # The command's help stands above it already.
        command.description = f"Example: {COMMANDS[name].example}"
    about = {
        "project_name": "voice-daemon",
        "version": __version__,
        "manual_title": "voice-daemon",
        # Without a date here the page would carry today's, and differ from the committed one.
        "date": __version__,
        "description": ABOUT[0].lower() + ABOUT[1:].rstrip("."),
    }
    page = Manpage(parser, _data=about, format="single-commands-section")
    page.add_section("exit status", ">", _rows({str(c): text for c, text in EXIT_CODES.items()}))
    page.add_section("environment", ">", _rows(ENVIRONMENT))
    return str(page)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (listed,) = (action for action in parser._actions if action.nargs == argparse.PARSER)
    choices: dict[str, argparse.ArgumentParser] = vars(listed)["choices"]
    return choices


def _rows(meanings: dict[str, str]) -> str:
    rows = (f".TP\n.B {name}\n{_roff(meaning)}" for name, meaning in meanings.items())
    return "\n".join(rows)


def _roff(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(manual(), encoding="utf-8")
