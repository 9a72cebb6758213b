"""`daemonctl config check|show|example`: is it right, what is in force, what may be set.

What a configuration is belongs to `voice_daemon.config`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from voice_daemon.commands import Context

NAME = "config"
HELP = "check the configuration, show what is in force, or write an example"
EXAMPLE = "daemonctl config check"

_INVALID: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="report every mistake in the file and the environment")
    show = actions.add_parser("show", help="print the values in force and where each comes from")
    actions.add_parser("example", help="print a file with every key, its default and its bounds")
    for parsed in (check, show):
        parsed.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `ConfigError` with every mistake, except for `check --json`."""
    actions = {"check": _check, "show": _show, "example": _example}
    return actions[args.action](args, context)


def _check(args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.config import ConfigProblems  # noqa: PLC0415 - pydantic is slow to load

    try:
        effective = context.effective()
    except ConfigProblems as error:
        if not args.json:
            raise
        problems = [asdict(problem) for problem in error.problems]
        context.print_json({"ok": False, "problems": problems, "warnings": []})
        return _INVALID
    if args.json:
        warnings = [asdict(warning) for warning in effective.warnings]
        context.print_json({"ok": True, "problems": [], "warnings": warnings})
        return 0
    for warning in effective.warnings:
        context.err.write(f"daemonctl: warning: {warning}\n")
    place = effective.file or "no configuration file, all defaults"
    context.out.write(f"{place}: no mistakes\n")
    return 0


def _show(args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.config import render  # noqa: PLC0415 - pydantic is slow to load

    effective = context.effective()
    if args.json:
        context.print_json(render.document(effective))
    else:
        context.out.write(render.show(effective))
    return 0


def _example(_args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.config import render  # noqa: PLC0415 - pydantic is slow to load

    context.out.write(render.example())
    return 0
