"""Whatever a file or a variable says is taken, or told in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.config_files import entry
from voice_daemon.config import ConfigProblems, Mistake, load_settings
from voice_daemon.config.load import all_keys, variable
from voice_daemon.config.problems import toml_value
from voice_daemon.config.rules import Key


def problems_if_any(file: Path | None, environ: Mapping[str, str]) -> tuple[Mistake, ...]:
    try:
        load_settings(file, environ)
    except ConfigProblems as error:
        return error.problems
    return ()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # TOML has no surrogates
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.lists(TEXT, max_size=3),
)
ANY = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ANY
@given(key=st.sampled_from(all_keys()), value=VALUES)
def test_any_value_of_any_key_is_taken_or_told_in_one_line(
    key: Key, value: object, file: Path
) -> None:
    file.write_text(entry(key, value), encoding="utf-8", newline="\n")
    for problem in problems_if_any(file, {}):
        assert problem.key.endswith(key[1])
        assert problem.remedy
        assert str(problem).isprintable()


@ANY
@given(key=st.sampled_from(all_keys()), text=st.text(max_size=40))
def test_any_text_of_any_variable_is_taken_or_told(key: Key, text: str, tmp_path: Path) -> None:
    environ = {"VOICE_DAEMON_HOME": str(tmp_path), variable(key): text}
    for problem in problems_if_any(None, environ):
        assert problem.key == variable(key)


@ANY
@given(section=TEXT, key=TEXT)
def test_any_unknown_name_is_told_in_one_line(section: str, key: str, file: Path) -> None:
    file.write_text(f"[{toml_value(section)}]\n{toml_value(key)} = 1\n", "utf-8", newline="\n")
    for problem in problems_if_any(file, {}):
        assert problem.remedy
        assert str(problem).isprintable()
