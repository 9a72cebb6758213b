"""`daemonctl config check|show|example|reset`: is it right, what is in force, what may be set.

The check also looks up what is named, so that what it accepts works when the daemon starts.
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from voice_daemon.cli.context import Context
from voice_daemon.config import AsrSettings, ConfigProblems, Effective, Mistake, Settings, render
from voice_daemon.config.persisted import EMPTY, Change, SettingsStore, UnreadableError, read_state
from voice_daemon.config.problems import toml_value
from voice_daemon.config.values import names_a_path
from voice_daemon.control.client import ask
from voice_daemon.errors import EXIT_OK, EXIT_USAGE, BrokerError, ModelError, NotRunningError
from voice_daemon.models import resolve
from voice_daemon.models.catalogue import describe
from voice_daemon.mqtt.tls import find_password, tls_context
from voice_daemon.paths import HOME_VARIABLE, Paths
from voice_daemon.runtime.live_settings import CONFIG_KEYS, LiveSettings
from voice_daemon.vocabulary.document import VocabularyError
from voice_daemon.vocabulary.store import read_file
from voice_daemon.wake.detector import check_models
from voice_daemon.wake.models import EVERY, bundled_wake_words, wake_choices, wake_word_of_setting

_GO_BACK: Final = "`daemonctl config reset`, or send `default` to the setting's topic"
_WEIGHTS: Final = frozenset({".bin", ".npz", ".safetensors"})


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `ConfigError` with every mistake, except for `check --json`."""
    actions = {"check": _check, "show": _show, "example": _example, "reset": _reset}
    return actions[args.action](args, context)


def _check(args: argparse.Namespace, context: Context) -> int:
    try:
        effective = context.effective()
        missing = [
            *missing_models(effective, models_dir=context.paths().models_dir),
            *unusable_files(effective, context.environ),
            *unwritable_folders(context.paths()),
        ]
        if missing:
            raise ConfigProblems(missing)
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


def missing_models(effective: Effective, *, models_dir: Path) -> Iterator[Mistake]:
    """Find the models that are named and not there, and what they cannot do."""
    wake = effective.settings.wake
    for model in wake.models:
        try:
            check_models(wake.model_copy(update={"models": (model,)}))
        except ModelError as error:
            yield effective.mistake(("wake", "models"), error.message, error.remedy)
    asr = effective.settings.asr
    try:
        folder = resolve(asr.model, models_dir=models_dir)
    except ModelError as error:
        if not _is_absent_path(asr):
            yield effective.mistake(("asr", "model"), error.message, error.remedy)
        return
    description = describe(folder)
    if folder.is_file() and description.layout != "ggml":
        remedy = "name a model folder, or a ggml-*.bin file of whisper.cpp"
        yield effective.mistake(("asr", "model"), "is not a whisper.cpp (ggml) file", remedy)
    elif folder.is_dir() and not any(found.suffix in _WEIGHTS for found in folder.iterdir()):
        remedy = "name the folder that holds the weights, or download the model again"
        yield effective.mistake(("asr", "model"), "there are no weights in that folder", remedy)
    elif description.languages == "en":
        if asr.language not in {"en", "auto"}:
            remedy = 'set language = "en", or take a multilingual model'
            yield effective.mistake(("asr", "language"), f"{asr.model} knows English only", remedy)
        if asr.task == "translate":
            remedy = 'set task = "transcribe", or take a multilingual model'
            yield effective.mistake(("asr", "task"), f"{asr.model} cannot translate", remedy)


def unusable_files(effective: Effective, environ: Mapping[str, str]) -> Iterator[Mistake]:
    """Find files of the login and of the names that do not hold what they should."""
    mqtt = effective.settings.mqtt
    for key, use in (
        ("password_file", lambda: find_password(mqtt.password_file, environ)),
        ("ca_file", lambda: tls_context(ca_file=mqtt.ca_file, cert_file=None, key_file=None)),
        (
            "cert_file",
            lambda: tls_context(ca_file=None, cert_file=mqtt.cert_file, key_file=mqtt.key_file),
        ),
    ):
        try:
            if getattr(mqtt, key) is not None:
                use()
        except BrokerError as error:
            yield effective.mistake(("mqtt", key), error.message, error.remedy)
    names = effective.settings.vocabulary.file
    try:
        if names is not None and names.exists():
            read_file(names)
    except VocabularyError as error:
        yield effective.mistake(("vocabulary", "file"), error.message, error.remedy)


def unwritable_folders(paths: Paths) -> Iterator[Mistake]:
    """Find where the daemon could not put its files: it makes what is missing of a path."""
    for folder in dict.fromkeys((paths.state_dir, paths.log_file.parent)):
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            said = "this user may not write into it" if there.is_dir() else "is not a folder"
            remedy = f"make it a folder of this user's, or set {HOME_VARIABLE} to another"
            yield Mistake(str(there), "", "", said, remedy)
            return


def absent_paths(effective: Effective) -> Iterator[Mistake]:
    """Warn of what is named and not there: a drive may not be mounted yet, a word not trained."""
    names = effective.settings.vocabulary.file
    if names is not None and not names.exists():
        remedy = "put the names there, or name another file"
        yield effective.mistake(("vocabulary", "file"), "there is no such file now", remedy)
    wake = effective.settings.wake
    words = {*wake_choices(wake.models), *bundled_wake_words()}
    for word in wake.thresholds:
        if wake_word_of_setting(word) not in words:
            remedy = f"the wake words are {', '.join(sorted(words - {EVERY}))}"
            yield effective.mistake(("wake", "thresholds"), f"there is no {word!r}", remedy)
    asr = effective.settings.asr
    if _is_absent_path(asr):
        remedy = "put the model there before the daemon starts, or name another"
        yield effective.mistake(("asr", "model"), "there is no such folder now", remedy)


def _is_absent_path(asr: AsrSettings) -> bool:
    """Tell whether the recogniser is named by a path where nothing is."""
    with suppress(OSError, ValueError):
        return names_a_path(asr.model) and not Path(asr.model).expanduser().exists()
    return False


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
