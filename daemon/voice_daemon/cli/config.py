"""`daemonctl config check|show|example|reset`: is it right, what is in force, what may be set.

What a configuration is belongs to `voice_daemon.config`; what was changed while the daemon ran,
to `voice_daemon.runtime.live_settings`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from voice_daemon.cli.context import Context
from voice_daemon.config import ConfigProblems, Effective, Mistake, Settings, render
from voice_daemon.config.problems import toml_value
from voice_daemon.config.state import EMPTY, Change, SettingsStore, UnreadableError, read_state
from voice_daemon.control.client import ask
from voice_daemon.errors import EXIT_OK, EXIT_USAGE, ModelError, NotRunningError
from voice_daemon.runtime.live_settings import CONFIG_KEYS, LiveSettings
from voice_daemon.runtime.lookups import absent_paths, missing_models

_GO_BACK: Final = "daemonctl config reset, or send `default` to the setting's topic"


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `ConfigError` with every mistake, except for `check --json`."""
    actions = {"check": _check, "show": _show, "example": _example, "reset": _reset}
    return actions[args.action](args, context)


def _check(args: argparse.Namespace, context: Context) -> int:
    try:
        effective = context.effective()
        _refuse_missing_models(effective, context)
        if args.load:
            _try_models(effective.settings, context)
    except ConfigProblems as error:
        if not args.json:
            raise
        problems = [asdict(problem) for problem in error.problems]
        context.print_json({"ok": False, "problems": problems, "warnings": []})
        return EXIT_USAGE
    absent = [*absent_paths(effective)]
    warnings = [*effective.warnings, *absent]
    if args.json:
        told = [asdict(warning) for warning in warnings]
        context.print_json({"ok": True, "problems": [], "warnings": told})
        return EXIT_OK
    for warning in warnings:
        context.err.write(f"daemonctl: warning: {warning}\n")
    place = effective.file or "no configuration file, all defaults"
    context.out.write(f"{place}: {'well formed' if absent else 'no mistakes'}\n")
    return EXIT_OK


def _refuse_missing_models(effective: Effective, context: Context) -> None:
    """Raise `ConfigProblems` for models that are not on this disk."""
    missing = [*missing_models(effective, models_dir=context.paths().models_dir)]
    if missing:
        raise ConfigProblems(missing)


def _try_models(settings: Settings, context: Context) -> None:
    """Load and run the models; raises `ConfigProblems` for one that does not work."""
    from voice_daemon.runtime.build import try_models  # noqa: PLC0415 - MLX, for --load alone

    try:
        try_models(settings, context.paths().models_dir)
    except ModelError as error:
        where = "[wake] models" if error.code.startswith("wake.") else "[asr] model"
        mistake = Mistake("configuration", where, "", error.message, error.remedy)
        raise ConfigProblems([mistake]) from error


def _show(args: argparse.Namespace, context: Context) -> int:
    effective, changes = _in_force(context)
    if args.json:
        values = {name: asdict(change) for name, change in changes.items()}
        context.print_json({**render.document(effective), "changed": values})
        return EXIT_OK
    if changes:
        names = ", ".join(sorted(changes))
        context.out.write(f"# changed at run time: {names}\n# to go back: {_GO_BACK}\n")
    context.out.write(render.show(effective))
    return EXIT_OK


def _in_force(context: Context) -> tuple[Effective, Mapping[str, Change]]:
    """Give the configuration with what was changed at run time in its place, and the changes."""
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
    paths = context.paths()
    try:
        names = ask(paths.socket_path, "reset-settings", err=context.err)["settings"]
    except NotRunningError:
        names = _forget_changes(paths.changes_file)
    if args.json:
        context.print_json({"settings": names})
    elif names:
        context.out.write(f"back to the configured value: {', '.join(names)}\n")
    else:
        context.out.write("nothing was changed at run time\n")
    return EXIT_OK


def _forget_changes(file: Path) -> list[str]:
    """Forget what the daemon that is not running would restore; give the names."""
    store = SettingsStore(file)
    names = sorted(store.state.changes)
    for name in names:
        store.change(name, None)
    store.save()
    return names


def _example(_args: argparse.Namespace, context: Context) -> int:
    context.out.write(render.example())
    return EXIT_OK
