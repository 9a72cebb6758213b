"""Builds `Settings` from the file and the environment, or reports all that is wrong.

The environment wins over the file, and the file over the defaults. Values of the file are
checked strictly; those of the environment are text and are converted.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from voice_daemon._lib.files import (
    decode_text,
    exposed_file,
    exposed_way,
    fault_of_file,
    open_to_others,
    read_bounded,
    shared_with_a_group,
)
from voice_daemon._lib.names import path_in_any_normal_form
from voice_daemon.config.persisted import SettingsStore, UnreadableError, read_state
from voice_daemon.config.problems import (
    ENVIRONMENT,
    MASK,
    ConfigProblems,
    Mistake,
    accepted,
    choices,
    closest,
    is_secret,
    key_name,
    kind,
    shown,
)
from voice_daemon.config.rules import RULES, WARNINGS, Key, Rule
from voice_daemon.config.schema import ENV_DELIMITER, ENV_PREFIX, Section, Settings
from voice_daemon.config.values import names_a_path
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.paths import default_paths, expand

MAX_CONFIG_BYTES = 2**16
"""Seven times the example with every comment; a key of many dots takes the square of its length."""
MAX_STRANGERS = 20
"""So many unknown names are told of a file, or of the environment: more is another program's."""
CONFIG_VARIABLE = "VOICE_DAEMON_CONFIG"
PASSWORD_VARIABLE = f"{ENV_PREFIX}MQTT{ENV_DELIMITER}PASSWORD"
"""The password itself: never among the settings, which are shown."""
OTHER_VARIABLES = (
    CONFIG_VARIABLE,
    PASSWORD_VARIABLE,
    "VOICE_DAEMON_HOME",
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


def _read_file(file: Path, problems: list[Mistake]) -> dict[Key, Any]:
    """Read the known keys of a TOML file; one that cannot be read at all is one problem."""
    mend = f"name another file by --config or {CONFIG_VARIABLE}, or correct this one"
    try:
        if not file.exists():
            write = f"write one with `daemonctl config example > {file}`, or name another"
            problems.append(_about_file(file, "there is no such file", write))
        elif not file.is_file():
            problems.append(_about_file(file, "is not a file", mend))
        else:
            text = decode_text(read_bounded(file, MAX_CONFIG_BYTES))
            return _sorted_out(file, tomllib.loads(text), problems)
    except tomllib.TOMLDecodeError as error:
        problems.append(_syntax_error(file, str(error)))
    except UnicodeDecodeError as error:
        said = f"is not UTF-8 text ({error.reason} at byte {error.start})"
        problems.append(_about_file(file, said, mend))
    except OSError as error:
        problems.append(_about_file(file, f"cannot be read: {error.strerror}", mend))
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, deep nesting
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        problems.append(_about_file(file, f"cannot be read: {said.partition(';')[0]}", mend))
    return {}


def _read_environ(environ: Mapping[str, str], problems: list[Mistake]) -> dict[Key, Any]:
    """Read the known variables, whose values are text."""
    known = {variable(key): key for key in all_keys()}
    ours = [name for name in environ if name.upper().startswith(ENV_PREFIX)]
    strangers = [name for name in ours if name not in known and name not in OTHER_VARIABLES]
    problems += _first_few(_unknown_variable(name, environ[name]) for name in strangers)
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): environ[name] for name in ours if name in known}
    values: dict[Key, Any] = {}
    for name, value in source().items():
        if name in SECTIONS:
            values.update({(name, key): text for key, text in value.items()})
        else:
            values["", name] = value
    return values


def _sorted_out(file: Path, table: Mapping[str, Any], problems: list[Mistake]) -> dict[Key, Any]:
    """Part the keys that we know from the strangers."""
    values: dict[Key, Any] = {}
    for name, value in table.items():
        if name in SECTIONS and isinstance(value, dict):
            fields = SECTIONS[name].model_fields
            values.update({(name, key): v for key, v in value.items() if key in fields})
        elif name in TOP_KEYS:
            values["", name] = value
    problems += _first_few(_strangers(file, table))
    problems += _readable_secret(file, table)
    problems += _in_others_hands(file)
    return values


def _strangers(file: Path, table: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find the keys and sections that there are not."""
    for name, value in table.items():
        if name in SECTIONS and isinstance(value, dict):
            fields = SECTIONS[name].model_fields
            strangers = ((key, v) for key, v in value.items() if key not in fields)
            yield from (_unknown_key(file, name, key, v) for key, v in strangers)
        elif name in SECTIONS:
            remedy = f"write [{name}] on a line of its own, and its keys below"
            yield Mistake(str(file), name, shown(name, value), "is a section", remedy)
        elif name not in TOP_KEYS:
            is_section = isinstance(value, dict)
            yield (
                _unknown_section(file, name) if is_section else _unknown_key(file, "", name, value)
            )


def _first_few(strangers: Iterator[Mistake]) -> Iterator[Mistake]:
    """Give no more mistakes than a person reads; to look for what each meant takes time."""
    few = tuple(islice(strangers, MAX_STRANGERS))
    yield from few
    if next(strangers, None) is not None:
        remedy = "correct these first, or name another file"
        yield Mistake(few[0].file, "", "", f"more than {MAX_STRANGERS} names are unknown", remedy)


def _about_file(file: Path, message: str, remedy: str) -> Mistake:
    return Mistake(str(file), "", "", message, remedy)


def _syntax_error(file: Path, message: str) -> Mistake:
    place = _TOML_PLACE.search(message)
    line = place[1] if place and place[1] else str(len(file.read_bytes().splitlines()))
    said = _TOML_PLACE.sub("", message)
    remedy = 'write `key = value` below a `[section]`, and text in "quotes"'
    return Mistake(f"{file}:{line}", "", "", f"is not TOML: {said}", remedy)


def _unknown_section(file: Path, name: str) -> Mistake:
    guess = closest(name, SECTIONS)
    remedy = f"did you mean [{guess}]?" if guess else f"the sections are {', '.join(SECTIONS)}"
    return Mistake(str(file), f"[{name}]", "", "there is no such section", remedy)


def _unknown_key(file: Path, section: str, key: str, value: object) -> Mistake:
    said = "there is no such key"
    if is_secret(key):
        return Mistake(str(file), key_name(section, key), MASK, said, _INLINE_REMEDY)
    remedy = _key_remedy(section, key)
    return Mistake(str(file), key_name(section, key), shown(key, value), said, remedy)


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


def _unknown_variable(name: str, value: str) -> Mistake:
    said = "there is no such variable"
    if is_secret(name):
        return Mistake(ENVIRONMENT, name, MASK, said, _INLINE_REMEDY)
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
    return Mistake(ENVIRONMENT, name, shown(name, value), said, remedy)


def _readable_secret(file: Path, table: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find a password in a file that others can read: it is no longer a secret."""
    pairs = [("", name, value) for name, value in table.items()]
    pairs += [(s, k, v) for _, s, t in pairs if isinstance(t, dict) for k, v in t.items()]
    inline = [(s, k) for s, k, v in pairs if is_secret(k) and k != "password_file"]
    mode = open_to_others(file.stat())
    if inline and mode is not None:
        message = f"others can read this file (mode {mode}), and it holds a password"
        remedy = f"`chmod 600 {file}`, and change the password at the broker"
        yield Mistake(str(file), key_name(*inline[0]), MASK, message, remedy)


def _in_others_hands(file: Path) -> Iterator[Mistake]:
    """Find who else could write this file: it says who hears what is said."""
    exposure = exposed_file(file) or exposed_way(file)
    if exposure is not None:
        whose = "it" if exposure.path == file else str(exposure.path)
        message = f"others could write this file: {whose} {exposure.fault}"
        yield _about_file(file, message, f"look through it, and run: {exposure.remedy}")


DEFAULT = "default"
KEPT = "kept since the first start"

_FILES: tuple[Key, ...] = (
    ("mqtt", "password_file"),
    ("mqtt", "ca_file"),
    ("mqtt", "cert_file"),
    ("mqtt", "key_file"),
)
_SECRET_FILES = frozenset({("mqtt", "password_file"), ("mqtt", "key_file")})
_MODELS = frozenset({("asr", "model"), ("wake", "models")})
_NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
"""Stands in a path for bytes that are no text."""
_SAID = {
    "greater_than_equal": "is less than {ge:g}",
    "less_than_equal": "is more than {le:g}",
    "finite_number": "is not a finite number",
    "string_too_long": "is longer than {max_length} characters",
    "too_short": "is empty",
    "too_long": "has more than {max_length} entries",
    "refused": "{reason}",
    "string_unicode": "holds bytes that are not UTF-8",
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
    warnings: tuple[Mistake, ...]
    """Legal settings that are probably a mistake."""

    def mistake(self, key: Key, message: str, remedy: str) -> Mistake:
        """Blame the value in force of one key."""
        return _Leaf(None, self.origins[key], self.value(key)).problem(key, message, remedy)

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

    def problem(self, key: Key, message: str, remedy: str) -> Mistake:
        """Blame this value."""
        is_variable = self.origin == variable(key)
        file = ENVIRONMENT if is_variable else self.origin
        named = self.origin if is_variable else key_name(*key)
        return Mistake(file, named, shown(key[1], self.raw), message, remedy)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the configuration in force; see `load_effective`."""
    return load_effective(path, environ).settings


def load_effective(path: Path | None, environ: Mapping[str, str]) -> Effective:
    """Read `path`, or the file that `VOICE_DAEMON_CONFIG` names, or the platform's default.

    A file that was asked for must exist; the platform's may be missing. Raises
    `ConfigProblems` with every mistake in the file and in the environment.
    """
    problems: list[Mistake] = []
    leaves: dict[Key, _Leaf] = {}
    file = _config_file(path, environ)
    if file is not None:
        values = _read_file(file, problems)
        leaves.update(_checked(values, str(file), file.absolute().parent, problems))
    values = _read_environ(environ, problems)
    leaves.update(_checked(values, ENVIRONMENT, Path.cwd(), problems))
    settings = _assemble({key: leaf.value for key, leaf in leaves.items()})
    problems += _broken(RULES, settings, leaves)
    problems += _bad_files(leaves)
    if environ.get(PASSWORD_VARIABLE) and not settings.mqtt.username:
        said = "a password is set without a username"
        remedy = "set [mqtt] username too, or unset it"
        problems.append(Mistake(ENVIRONMENT, PASSWORD_VARIABLE, MASK, said, remedy))
    if problems:
        raise ConfigProblems(problems)
    return Effective(
        settings,
        {key: leaves[key].origin if key in leaves else DEFAULT for key in all_keys()},
        file,
        (*_shared_file(file), *_broken(WARNINGS, settings, leaves)),
    )


def with_kept_node_id(effective: Effective, state_file: Path) -> Effective:
    """Put the node id of the first start in, where none is configured; keep it where there is none.

    Systems rename themselves: after a clash of names, or as the network says. The topics, the
    client id and Home Assistant's device would all move with the name.
    """
    key = ("", "node_id")
    if effective.origins[key] != DEFAULT:
        return effective
    try:
        node_id = read_state(state_file).node_id
    except UnreadableError:
        node_id = ""  # whoever owns the state sets the file aside, and says so
    else:
        if not node_id:
            store = SettingsStore(state_file)
            store.keep_node_id(effective.settings.node_id)
            with suppress(VoiceDaemonError):  # the daemon tells of a state that cannot be kept
                store.save()
                node_id = effective.settings.node_id
    if not node_id:
        return effective
    settings = effective.settings.model_copy(update={"node_id": node_id})
    return replace(effective, settings=settings, origins={**effective.origins, key: KEPT})


def _config_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return path
    if environ.get(CONFIG_VARIABLE):
        return expand(environ[CONFIG_VARIABLE])
    standard = default_paths(environ).config_file
    try:
        # Not exists(): a link that leads nowhere is a mistake to be told.
        standard.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may be there: reading it tells why it cannot be had
    return standard


def _checked(
    values: Mapping[Key, Any], origin: str, folder: Path, problems: list[Mistake]
) -> Iterator[tuple[Key, _Leaf]]:
    """Check each value by itself, so that one mistake does not hide another."""
    from_environ = origin == ENVIRONMENT
    for key, raw in values.items():
        section, name = key
        model = model_of(section)
        field = model.model_fields[name]
        value = _split(raw, field) if from_environ else raw
        leaf = _Leaf(None, variable(key) if from_environ else origin, raw)
        try:
            # A variable is text, from which a number or a flag has to be read.
            checked = model.model_validate({name: value}, strict=False if from_environ else None)
        except ValidationError as error:
            message, remedy = _explain(error.errors()[0], name, field)
            problems.append(leaf.problem(key, message, remedy))
        else:
            anchored = _anchored(key, getattr(checked, name), folder)
            if key in _MODELS and _NOT_UTF8.search("".join(anchored)):
                message = f"lies in {folder}, whose name is not UTF-8"
                problems.append(leaf.problem(key, message, "give the folder another name"))
            else:
                yield key, _Leaf(anchored, leaf.origin, raw)


def _split(raw: str, field: FieldInfo) -> object:
    """Text of a variable -> what its key holds: a list is written with commas."""
    if get_origin(field.annotation) is not tuple:
        return raw
    return [item.strip() for item in raw.split(",")]


def _anchored(key: Key, value: Any, folder: Path) -> Any:
    """Make relative paths absolute, from the folder of the file that wrote them."""
    if isinstance(value, Path):
        return path_in_any_normal_form(folder / value)
    if key in _MODELS and isinstance(value, tuple):
        return tuple(_anchored(key, item, folder) for item in value)
    if key in _MODELS and isinstance(value, str) and names_a_path(value):
        return str(path_in_any_normal_form(folder / expand(value)))
    return value


def _explain(error: ErrorDetails, name: str, field: FieldInfo) -> tuple[str, str]:
    """Turn pydantic's complaint about a value into what is wrong and what to do."""
    remedy = f"give {accepted(name, field)}"
    if error["type"] == "literal_error":
        guess = closest(str(error["input"]), choices(field))
        return "is not one of the choices", f'did you mean "{guess}"?' if guess else remedy
    said = _SAID.get(error["type"])
    if said is None:
        return f"is not {kind(field)}", remedy
    return said.format(**error.get("ctx", {})), remedy


def _assemble(values: Mapping[Key, Any]) -> Settings:
    """Values that passed their checks -> settings; all others at their defaults."""
    parts: dict[str, Any] = {key: value for (section, key), value in values.items() if not section}
    for name, model in SECTIONS.items():
        parts[name] = model(**{key: v for (section, key), v in values.items() if section == name})
    return Settings(**parts)


def _broken(
    rules: Iterable[Rule], settings: Settings, leaves: Mapping[Key, _Leaf]
) -> Iterator[Mistake]:
    """Blame the first key that was set for each broken rule."""
    for rule in rules:
        blamed = [key for key in rule.keys if key in leaves]
        if blamed and rule.broken(settings):
            yield leaves[blamed[0]].problem(blamed[0], rule.message, rule.remedy)


def _shared_file(file: Path | None) -> Iterator[Mistake]:
    """Warn of a file that a group may write: it may be one of this user alone."""
    if file is None:
        return
    with suppress(OSError):  # it may be gone since it was read
        exposure = shared_with_a_group(file)
        if exposure is not None:
            whose = "it" if exposure.path == file else str(exposure.path)
            message = f"others may be able to write it: {whose} {exposure.fault}"
            yield _about_file(file, message, f"run: {exposure.remedy}")


def _bad_files(leaves: Mapping[Key, _Leaf]) -> Iterator[Mistake]:
    for key in _FILES:
        if key in leaves and leaves[key].value is not None:
            fault = fault_of_file(leaves[key].value, secret=key in _SECRET_FILES)
            if fault:
                yield leaves[key].problem(key, *fault)
