"""`daemonctl config check|show|example|reset`: is it right, what is in force, what may be set.

What a configuration is belongs to `voice_daemon.config`; what was changed while the daemon ran,
to `voice_daemon.runtime.live_settings`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from voice_daemon.cli.context import Context
    from voice_daemon.config import Effective, Settings
    from voice_daemon.config.state import Change

NAME = "config"
HELP = "check the configuration, show what is in force, take changes back, or write an example"
EXAMPLE = "daemonctl config check"

_INVALID: Final = 2
_GO_BACK: Final = "daemonctl config reset, or send `default` to the setting's topic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="report every mistake in the file and the environment")
    check.add_argument(
        "--load", action="store_true", help="load and run the models as well; takes some seconds"
    )
    show = actions.add_parser("show", help="print the values in force and where each comes from")
    actions.add_parser("example", help="print a file with every key, its default and its bounds")
    reset = actions.add_parser("reset", help="take back what was changed while the daemon ran")
    for parsed in (check, show, reset):
        parsed.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `ConfigError` with every mistake, except for `check --json`."""
    actions = {"check": _check, "show": _show, "example": _example, "reset": _reset}
    return actions[args.action](args, context)


def _check(args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.config import ConfigProblems  # noqa: PLC0415 - pydantic is slow to load

    try:
        effective = context.effective()
        if args.load:
            _try_models(effective.settings, context)
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


def _try_models(settings: Settings, context: Context) -> None:
    """Load and run the models; raises `ConfigProblems` for one that does not work."""
    from voice_daemon.config import ConfigProblems, Mistake  # noqa: PLC0415 - pydantic is slow to load
    from voice_daemon.errors import ModelError  # noqa: PLC0415 - as above
    from voice_daemon.runtime.build import try_models  # noqa: PLC0415 - MLX

    try:
        try_models(settings, context.paths().models_dir)
    except ModelError as error:
        where = "[wake] models" if error.code.startswith("wake.") else "[asr] model"
        mistake = Mistake("configuration", where, "", error.message, error.remedy)
        raise ConfigProblems([mistake]) from error


def _show(args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.config import render  # noqa: PLC0415 - pydantic is slow to load

    effective, changes = _in_force(context)
    if args.json:
        values = {name: asdict(change) for name, change in changes.items()}
        context.print_json({**render.document(effective), "changed": values})
        return 0
    if changes:
        names = ", ".join(sorted(changes))
        context.out.write(f"# changed at run time: {names}\n# to go back: {_GO_BACK}\n")
    context.out.write(render.show(effective))
    return 0


def _in_force(context: Context) -> tuple[Effective, Mapping[str, Change]]:
    """Give the configuration with what was changed at run time in its place, and the changes."""
    from voice_daemon.config.problems import toml_value  # noqa: PLC0415 - pydantic is slow to load
    from voice_daemon.config.state import EMPTY, SettingsStore, UnreadableError, read_state  # noqa: PLC0415 - as above
    from voice_daemon.runtime.live_settings import CONFIG_KEYS, LiveSettings  # noqa: PLC0415 - only when it is run

    effective = context.effective()
    try:
        state = read_state(context.paths().changes_file)
    except UnreadableError as error:
        state = EMPTY
        context.err.write(f"daemonctl: warning: {error.message}\n  -> {error.remedy}\n")
    live = LiveSettings(effective.settings, store=SettingsStore(state=state))
    origins = dict(effective.origins)
    for name in live.restored.keys() & CONFIG_KEYS.keys():
        key = CONFIG_KEYS[name]
        before = toml_value(effective.value(key))
        origins[key] = f"changed at run time from {before} ({origins[key]})"
    return replace(effective, settings=live.settings, origins=origins), live.restored


def _reset(args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.control.client import ask  # noqa: PLC0415 - only when it is run
    from voice_daemon.errors import NotRunningError  # noqa: PLC0415 - as above

    paths = context.paths()
    try:
        names = ask(paths.socket_path, "reset-settings", err=context.err)["settings"]
    except NotRunningError:
        names = _forget_changes(paths.changes_file)
    if args.json:
        context.print_json({"settings": names})
    elif names:
        context.out.write(f"as configured again: {', '.join(names)}\n")
    else:
        context.out.write("nothing was changed at run time\n")
    return 0


def _forget_changes(file: Path) -> list[str]:
    """Forget what the daemon that is not running would restore; give the names."""
    from voice_daemon.config.state import SettingsStore  # noqa: PLC0415 - only when it is run

    store = SettingsStore(file)
    names = sorted(store.state.changes)
    for name in names:
        store.change(name, None)
    store.save()
    return names


def _example(_args: argparse.Namespace, context: Context) -> int:
    from voice_daemon.config import render  # noqa: PLC0415 - pydantic is slow to load

    context.out.write(render.example())
    return 0
