"""Writes configuration as TOML: the annotated example, and the values in force."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voice_daemon.config.load import SECTIONS, Effective, all_keys, model_of
from voice_daemon.config.problems import accepted, toml_value
from voice_daemon.config.rules import Key

_EXAMPLE_HEAD = """\
# voice-daemon: every key with its default.
#
# A key may be left out. An unknown key is an error, and so is a value of the wrong kind.
# Every key can also be set by a variable, which wins over this file: [audio] gain_db is
# VOICE_DAEMON_AUDIO__GAIN_DB. Lists are written with commas there.
#
# See what is in force with `daemonctl config show`; check a file with `daemonctl config check`.
"""
_EXAMPLE_NODE_ID = "mac-mini"


def example() -> str:
    """Return a configuration file with every key, its default, its unit and its bounds."""
    lines = [_EXAMPLE_HEAD]
    section = ""
    for key in all_keys():
        if key[0] != section:
            section = key[0]
            lines.append(f"# {SECTIONS[section].__doc__}\n[{section}]")
        lines.append(_example_entry(key))
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """Return docs/configuration.md with the tables of keys as the schema has them now."""
    head, *chapters = page.split("\n## ")
    by_title = {chapter.split("\n", 1)[0]: chapter for chapter in chapters}
    for section in ("", *SECTIONS):
        title = f"[{section}]" if section else "Top level"
        said = SECTIONS[section].__doc__ if section else ""
        chapter = by_title.get(title, f"{title}\n\n{said}\n\n|\n")
        before, _, table = chapter.partition("\n|")
        rows = "\n| Key | Default | Accepts | Meaning |\n|---|---|---|---|"
        rows += "".join(f"\n{_row(key)}" for key in all_keys() if key[0] == section)
        after = table.split("\n\n", 1)[1:]  # prose below the table
        by_title[title] = "\n\n".join([before + rows, *after]).rstrip("\n") + "\n"
    return "\n## ".join([head, *by_title.values()])


def _row(key: Key) -> str:
    section, name = key
    field = model_of(section).model_fields[name]
    # Its default is this machine's name, which a page cannot know.
    default = f"`{toml_value(field.default)}`" if section else "the host name"
    return f"| `{name}` | {default} | {accepted(name, field)} | {field.description} |"


def show(effective: Effective) -> str:
    """Return the values in force as TOML, each with the place that it comes from."""
    lines = [f"# {effective.file}" if effective.file else "# there is no configuration file"]
    for section in ("", *SECTIONS):
        if section:
            lines += ["", f"[{section}]"]
        entries = [
            (f"{key} = {toml_value(effective.value((owner, key)))}", effective.origins[owner, key])
            for owner, key in all_keys()
            if owner == section
        ]
        width = max(len(entry) for entry, _ in entries)
        lines += [f"{entry:{width}}  # {origin}" for entry, origin in entries]
    return "\n".join(lines) + "\n"


def document(effective: Effective) -> dict[str, object]:
    """Return the values in force and their origins for JSON, nested as the file is."""
    return {
        "file": str(effective.file) if effective.file else None,
        "settings": _nested((key, _plain(effective.value(key))) for key in all_keys()),
        "origins": _nested((key, effective.origins[key]) for key in all_keys()),
    }


def _example_entry(key: Key) -> str:
    section, name = key
    field = model_of(section).model_fields[name]
    said = accepted(name, field)
    head = f"# {field.description}\n# {said[0].upper()}{said[1:]}.\n"
    if key == ("", "node_id"):
        # Its default is this machine's name, which an example cannot know.
        return f"{head}# {name} = {toml_value(_EXAMPLE_NODE_ID)}\n"
    return f"{head}{name} = {toml_value(field.default)}\n"


def _nested(pairs: Iterator[tuple[Key, object]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (section, key), value in pairs:
        (tree.setdefault(section, {}) if section else tree)[key] = value
    return tree


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
