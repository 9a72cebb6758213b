"""Reads the configuration file and the environment into plain values, and names strangers.

Owns the two sources and the suggestions for unknown names; whether a known key's value is any
good is `config.load`'s question.
"""

from __future__ import annotations

import re
import stat
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from voice_daemon._lib.ownership import exposed_file, exposed_way
from voice_daemon.config.problems import ENVIRONMENT, Problem, closest, key_name
from voice_daemon.config.schema import ENV_DELIMITER, ENV_PREFIX, Section, Settings
from voice_daemon.config.text import MASK, is_secret, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic import BaseModel

    from voice_daemon.config.rules import Key

CONFIG_VARIABLE = "VOICE_DAEMON_CONFIG"
PASSWORD_VARIABLE = f"{ENV_PREFIX}MQTT{ENV_DELIMITER}PASSWORD"
"""The password itself: never among the settings, which are shown."""
OTHER_VARIABLES = (
    CONFIG_VARIABLE,
    PASSWORD_VARIABLE,
    "VOICE_DAEMON_HOME",
    "VOICE_DAEMON_TEST_DATA",
)
"""Variables with our prefix that are no configuration keys."""

SECTIONS: Mapping[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
TOP_KEYS = tuple(name for name in Settings.model_fields if name not in SECTIONS)

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_INLINE_REMEDY = (
    "write it alone into a file, `chmod 600` that file, and name it by [mqtt] password_file, or "
    f"set {PASSWORD_VARIABLE}"
)


@dataclass(frozen=True, slots=True)
class Source:
    """What one source says of the known keys, and what is wrong with its names."""

    values: Mapping[Key, Any]
    problems: tuple[Problem, ...]


def model_of(section: str) -> type[BaseModel]:
    """Return the model that holds a section's keys; the empty name is the top level."""
    return SECTIONS[section] if section else Settings


def all_keys() -> tuple[Key, ...]:
    """Return every key in the order of the schema, the top level first."""
    return (
        *(("", key) for key in TOP_KEYS),
        *((name, key) for name, model in SECTIONS.items() for key in model.model_fields),
    )


def variable(key: Key) -> str:
    """Return the environment variable that sets a key."""
    return ENV_PREFIX + ENV_DELIMITER.join(part for part in key if part).upper()


def read_file(file: Path) -> Source:
    """Read a TOML file; a file that cannot be read at all is one problem."""
    try:
        if not file.exists():
            return _missing(file)
        if not file.is_file():
            return _unreadable(file, "is not a file")
        source = _sorted_out(file, TomlConfigSettingsSource(Settings, file).toml_data)
    except tomllib.TOMLDecodeError as error:
        return _syntax_error(file, str(error))
    except UnicodeDecodeError as error:
        return _unreadable(file, f"is not UTF-8 text ({error.reason} at byte {error.start})")
    except OSError as error:
        return _unreadable(file, f"cannot be read: {error.strerror}")
    return source


def read_environ(environ: Mapping[str, str]) -> Source:
    """Read the variables with our prefix; values are still text."""
    known = {variable(key): key for key in all_keys()}
    ours = [name for name in environ if name.upper().startswith(ENV_PREFIX)]
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): environ[name] for name in ours if name in known}
    values: dict[Key, Any] = {}
    for name, value in source().items():
        if name in SECTIONS:
            values.update({(name, key): text for key, text in value.items()})
        else:
            values["", name] = value
    strangers = [name for name in ours if name not in known and name not in OTHER_VARIABLES]
    return Source(values, tuple(_unknown_variable(name, environ[name]) for name in strangers))


def _sorted_out(file: Path, table: Mapping[str, Any]) -> Source:
    """Part the keys that we know from the strangers."""
    values: dict[Key, Any] = {}
    problems: list[Problem] = []
    for name, value in table.items():
        if name in SECTIONS and isinstance(value, dict):
            fields = SECTIONS[name].model_fields
            values.update({(name, key): v for key, v in value.items() if key in fields})
            strangers = {key: v for key, v in value.items() if key not in fields}
            problems += (_unknown_key(file, name, key, v) for key, v in strangers.items())
        elif name in SECTIONS:
            remedy = f"write [{name}] on a line of its own, and its keys below"
            problems.append(Problem(str(file), name, shown(name, value), "is a section", remedy))
        elif name in TOP_KEYS:
            values["", name] = value
        elif isinstance(value, dict):
            problems.append(_unknown_section(file, name))
        else:
            problems.append(_unknown_key(file, "", name, value))
    problems += _readable_secret(file, table)
    problems += _in_others_hands(file)
    return Source(values, tuple(problems))


def _missing(file: Path) -> Source:
    remedy = f"write one with `daemonctl config example > {file}`, or name another"
    return Source({}, (Problem(str(file), "", "", "there is no such file", remedy),))


def _unreadable(file: Path, message: str) -> Source:
    remedy = f"name another file by --config or {CONFIG_VARIABLE}, or mend this one"
    return Source({}, (Problem(str(file), "", "", message, remedy),))


def _syntax_error(file: Path, message: str) -> Source:
    place = _TOML_PLACE.search(message)
    line = place[1] if place and place[1] else str(len(file.read_bytes().splitlines()))
    said = _TOML_PLACE.sub("", message)
    remedy = 'write `key = value` below a `[section]`, and text in "quotes"'
    return Source({}, (Problem(f"{file}:{line}", "", "", f"is not TOML: {said}", remedy),))


def _unknown_section(file: Path, name: str) -> Problem:
    guess = closest(name, SECTIONS)
    remedy = f"did you mean [{guess}]?" if guess else f"the sections are {', '.join(SECTIONS)}"
    return Problem(str(file), f"[{name}]", "", "there is no such section", remedy)


def _unknown_key(file: Path, section: str, key: str, value: object) -> Problem:
    said = "there is no such key"
    if is_secret(key):
        return Problem(str(file), key_name(section, key), MASK, said, _INLINE_REMEDY)
    remedy = _key_remedy(section, key)
    return Problem(str(file), key_name(section, key), shown(key, value), said, remedy)


def _key_remedy(section: str, key: str) -> str:
    homes = [key_name(*known) for known in all_keys() if known[1] == key]
    if homes:
        return f"did you mean {' or '.join(homes)}?"
    siblings = model_of(section).model_fields if section else TOP_KEYS
    guess = closest(key, siblings)
    if guess:
        return f"did you mean {guess}?"
    elsewhere = closest(key, [known[1] for known in all_keys()])
    if elsewhere:
        return _key_remedy(section, elsewhere)
    where = f"[{section}]" if section else "the top level, before any [section],"
    return f"{where} has {', '.join(siblings)}"


def _unknown_variable(name: str, value: str) -> Problem:
    said = "there is no such variable"
    if is_secret(name):
        return Problem(ENVIRONMENT, name, MASK, said, _INLINE_REMEDY)
    names = [variable(key) for key in all_keys()]
    # Compared without the prefix, which all have in common and which would make all alike.
    plain = {known.removeprefix(ENV_PREFIX): known for known in (*names, *OTHER_VARIABLES)}
    rest = name.upper().removeprefix(ENV_PREFIX)
    guesses = [known for known in names if known.endswith((f"__{rest}", f"_{rest}"))]
    guess = closest(rest, plain)
    if not guesses and guess:
        guesses = [plain[guess]]
    form = f"{ENV_PREFIX}<SECTION>{ENV_DELIMITER}<KEY>"
    remedy = f"did you mean {' or '.join(guesses)}?" if guesses else f"unset it, or write {form}"
    return Problem(ENVIRONMENT, name, shown(name, value), said, remedy)


def _readable_secret(file: Path, table: Mapping[str, Any]) -> Iterator[Problem]:
    """Find a password in a file that others can read: it is no longer a secret."""
    pairs = [("", name, value) for name, value in table.items()]
    pairs += [(s, k, v) for _, s, t in pairs if isinstance(t, dict) for k, v in t.items()]
    inline = [(s, k) for s, k, v in pairs if is_secret(k) and k != "password_file"]
    mode = stat.S_IMODE(file.stat().st_mode)
    if inline and mode & 0o077:
        message = f"others can read this file (mode {mode:04o}), and it holds a password"
        remedy = f"`chmod 600 {file}`, and change the password at the broker"
        yield Problem(str(file), key_name(*inline[0]), MASK, message, remedy)


def _in_others_hands(file: Path) -> Iterator[Problem]:
    """Find who else could write this file: it says who hears what is said."""
    exposure = exposed_file(file) or exposed_way(file)
    if exposure is not None:
        whose = "it" if exposure.path == file else str(exposure.path)
        message = f"others could write this file: {whose} {exposure.fault}"
        yield Problem(str(file), "", "", message, f"look through it, and run: {exposure.remedy}")
