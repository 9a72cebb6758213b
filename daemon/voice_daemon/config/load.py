"""Builds `Settings` from the file and the environment, or reports all that is wrong.

The environment wins over the file, and the file over the defaults. Values of the file are
checked strictly; those of the environment are text and are converted. Knows nothing of how
problems are printed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import ValidationError

from voice_daemon._lib.ownership import exposed_file, shared_with_a_group
from voice_daemon.config import text
from voice_daemon.config.problems import ENVIRONMENT, ConfigProblems, Problem, closest, key_name
from voice_daemon.config.rules import RULES, WARNINGS
from voice_daemon.config.schema import Settings
from voice_daemon.config.sources import (
    CONFIG_VARIABLE,
    PASSWORD_VARIABLE,
    SECTIONS,
    Source,
    all_keys,
    model_of,
    read_environ,
    read_file,
    variable,
)
from voice_daemon.config.values import names_a_path
from voice_daemon.paths import default_paths, expand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from voice_daemon.config.rules import Key

DEFAULT = "default"

_FILES: tuple[Key, ...] = (
    ("mqtt", "password_file"),
    ("mqtt", "ca_file"),
    ("mqtt", "cert_file"),
    ("mqtt", "key_file"),
)
_SECRET_FILES = frozenset({("mqtt", "password_file"), ("mqtt", "key_file")})
_MODELS = frozenset({("asr", "model"), ("wake", "models")})
_SAID = {
    "greater_than_equal": "is less than {ge:g}",
    "less_than_equal": "is more than {le:g}",
    "finite_number": "is not a finite number",
    "string_too_long": "is longer than {max_length} characters",
    "too_short": "is empty",
    "too_long": "has more than {max_length} entries",
    "refused": "{reason}",
}
"""Pydantic's types of error in our words; what is not here is a value of another kind."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force, and where each came from."""

    settings: Settings
    origins: Mapping[Key, str]
    """`default`, the file's path, or the variable's name, for every key."""
    file: Path | None
    """The file that was read; None where there was none."""
    warnings: tuple[Problem, ...]
    """What is accepted, and should have been meant."""

    def value(self, key: Key) -> object:
        """Return the value in force of one key."""
        section, name = key
        return getattr(getattr(self.settings, section) if section else self.settings, name)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One value that passed its check, and where it stands."""

    value: Any
    origin: str
    raw: object

    def problem(self, key: Key, message: str, remedy: str) -> Problem:
        """Blame this value."""
        named = key_name(*key) if self.origin != variable(key) else self.origin
        file = self.origin if self.origin != variable(key) else ENVIRONMENT
        return Problem(file, named, text.shown(key[1], self.raw), message, remedy)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the configuration in force; see `load_effective`."""
    return load_effective(path, environ).settings


def load_effective(path: Path | None, environ: Mapping[str, str]) -> Effective:
    """Read `path`, or the file that `VOICE_DAEMON_CONFIG` names, or the platform's default.

    A file that was asked for must exist; the platform's may be missing. Raises
    `ConfigProblems` with every mistake in the file and in the environment.
    """
    problems: list[Problem] = []
    leaves: dict[Key, _Leaf] = {}
    file = _config_file(path, environ)
    if file is not None:
        source = read_file(file)
        problems += source.problems
        leaves.update(_checked(source, str(file), file.absolute().parent, problems))
    source = read_environ(environ)
    problems += source.problems
    leaves.update(_checked(source, ENVIRONMENT, Path.cwd(), problems))
    settings = _assemble({key: leaf.value for key, leaf in leaves.items()})
    problems += _broken_rules(settings, leaves)
    problems += _bad_files(leaves)
    if environ.get(PASSWORD_VARIABLE) and not settings.mqtt.username:
        said = "there is no username to the password"
        remedy = "set [mqtt] username too, or unset it"
        problems.append(Problem(ENVIRONMENT, PASSWORD_VARIABLE, text.MASK, said, remedy))
    if problems:
        raise ConfigProblems(problems)
    return Effective(
        settings,
        {key: leaves[key].origin if key in leaves else DEFAULT for key in all_keys()},
        file,
        (*_shared_file(file), *_warnings(settings, leaves)),
    )


def _config_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return path
    if environ.get(CONFIG_VARIABLE):
        return expand(environ[CONFIG_VARIABLE])
    standard = default_paths(environ).config_file
    try:
        standard.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return standard  # it may be there: reading it tells why it cannot be had
    return standard


def _checked(
    source: Source, origin: str, folder: Path, problems: list[Problem]
) -> Iterator[tuple[Key, _Leaf]]:
    """Check each value by itself, so that one mistake does not hide another."""
    from_environ = origin == ENVIRONMENT
    for key, raw in source.values.items():
        section, name = key
        model = model_of(section)
        field = model.model_fields[name]
        value = _split(raw, field) if from_environ else raw
        leaf = _Leaf(None, variable(key) if from_environ else origin, raw)
        try:
            checked = model.model_validate({name: value}, strict=False if from_environ else None)
        except ValidationError as error:
            message, remedy = _explain(error.errors()[0], name, field)
            problems.append(leaf.problem(key, message, remedy))
        else:
            yield key, _Leaf(_anchored(key, getattr(checked, name), folder), leaf.origin, raw)


def _split(raw: str, field: FieldInfo) -> object:
    """Text of a variable -> what its key holds: a list is written with commas."""
    if get_origin(field.annotation) is not tuple:
        return raw
    return [item.strip() for item in raw.split(",")]


def _anchored(key: Key, value: object, folder: Path) -> object:
    """Make relative paths absolute, from the folder of the file that wrote them."""
    if isinstance(value, Path):
        return folder / value
    if key in _MODELS and isinstance(value, tuple):
        return tuple(_anchored(key, item, folder) for item in value)
    if key in _MODELS and isinstance(value, str) and names_a_path(value):
        return str(folder / expand(value))
    return value


def _explain(error: ErrorDetails, name: str, field: FieldInfo) -> tuple[str, str]:
    """Turn pydantic's complaint about a value into what is wrong and what to do."""
    remedy = f"give {text.accepted(name, field)}"
    if error["type"] == "literal_error":
        guess = closest(str(error["input"]), text.choices(field))
        return "is not one of the choices", f'did you mean "{guess}"?' if guess else remedy
    said = _SAID.get(error["type"])
    if said is None:
        return f"is not {text.kind(field)}", remedy
    return said.format(**error.get("ctx", {})), remedy


def _assemble(values: Mapping[Key, Any]) -> Settings:
    """Values that passed their checks -> settings; all others at their defaults."""
    parts: dict[str, Any] = {key: value for (section, key), value in values.items() if not section}
    for name, model in SECTIONS.items():
        parts[name] = model(**{key: v for (section, key), v in values.items() if section == name})
    return Settings(**parts)


def _broken_rules(settings: Settings, leaves: Mapping[Key, _Leaf]) -> Iterator[Problem]:
    for rule in RULES:
        blamed = [key for key in rule.keys if key in leaves]
        if blamed and rule.broken(settings):
            yield leaves[blamed[0]].problem(blamed[0], rule.message, rule.remedy)


def _warnings(settings: Settings, leaves: Mapping[Key, _Leaf]) -> Iterator[Problem]:
    for rule in WARNINGS:
        if rule.broken(settings):
            (key,) = rule.keys
            yield leaves[key].problem(key, rule.message, rule.remedy)


def _shared_file(file: Path | None) -> Iterator[Problem]:
    """Warn of a file that a group may write: it may be one of this user alone."""
    with suppress(OSError):  # it may be gone since it was read
        exposure = None if file is None else shared_with_a_group(file)
        if exposure is not None:
            whose = "it" if exposure.path == file else str(exposure.path)
            message = f"others may be able to write it: {whose} {exposure.fault}"
            yield Problem(str(file), "", "", message, f"run: {exposure.remedy}")


def _bad_files(leaves: Mapping[Key, _Leaf]) -> Iterator[Problem]:
    for key in _FILES:
        if key in leaves and leaves[key].value is not None:
            fault = _fault_of_file(leaves[key].value, secret=key in _SECRET_FILES)
            if fault:
                yield leaves[key].problem(key, *fault)


def _fault_of_file(  # noqa: PLR0911 - one return a kind of fault
    file: Path, *, secret: bool
) -> tuple[str, str] | None:
    """Return what is wrong with a file that the configuration names, and the remedy."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        return f"the file cannot be used: {error.strerror}", f"put the file at {file}"
    if not file.is_file():
        return "is not a file", f"put a file at {file}"
    if secret and mode & 0o077:
        return f"others can read this file (mode {mode:04o})", f"`chmod 600 {file}`"
    exposure = exposed_file(file)
    if exposure is not None:
        return f"others could change the file: it {exposure.fault}", f"run: {exposure.remedy}"
    if not os.access(file, os.R_OK):
        return "this user may not read the file", f"`chmod 600 {file}` as its owner"
    if not file.read_bytes().strip():
        return "the file is empty", f"write what is missing into {file}"
    return None
