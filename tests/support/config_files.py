"""Configuration files that tests write, and what is said of those that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from voice_daemon.config import ConfigProblems, load_settings
from voice_daemon.config.problems import toml_value
from voice_daemon.config.rules import Key


def mistakes(file: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    file.write_text(text)
    return problems_of(file, environ or {})


def problems_of(file: Path | None, environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        load_settings(file, environ)
    lines = caught.value.message.splitlines()
    assert lines == [str(problem) for problem in caught.value.problems]
    return lines


def entry(key: Key, value: object) -> str:
    section, name = key
    line = f"{name} = {toml_value(value)}\n"
    return f"[{section}]\n{line}" if section else line
