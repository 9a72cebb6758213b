"""The example file and `config show` say what the code does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from voice_daemon.config import ConfigProblems, Settings, load_effective, load_settings
from voice_daemon.config.load import SECTIONS, all_keys, model_of, variable
from voice_daemon.config.problems import accepted, toml_value, unit
from voice_daemon.config.render import document, example, show, with_tables

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
DOCUMENT = ROOT / "docs" / "configuration.md"


def test_the_example_file_is_what_the_code_writes() -> None:
    assert EXAMPLE.read_text() == example()


def test_the_example_file_is_the_defaults() -> None:
    assert load_settings(EXAMPLE, {}) == Settings()


def test_the_example_file_names_every_key_with_its_unit_and_bounds() -> None:
    text = EXAMPLE.read_text()
    table = tomllib.loads(text.replace("# node_id", "node_id"))
    assert set(table) == set(Settings.model_fields)
    for section, model in SECTIONS.items():
        assert set(table[section]) == set(model.model_fields)
    for section, key in all_keys():
        said = accepted(key, model_of(section).model_fields[key])
        assert f"{said[1:]}.\n" in text
        assert unit(key) in said


def test_no_line_of_the_example_is_too_long_for_a_terminal() -> None:
    assert max(map(len, example().splitlines())) <= 100


def test_every_key_is_described() -> None:
    for section, key in all_keys():
        description = model_of(section).model_fields[key].description
        assert description
        assert description.endswith(".")


@pytest.mark.parametrize("key", all_keys(), ids=".".join)
def test_the_documentation_gives_every_key_its_default_and_its_bounds(key: tuple[str, str]) -> None:
    section, name = key
    field = model_of(section).model_fields[name]
    pages = DOCUMENT.read_text().split("\n## ")
    page = next(page for page in pages if page.startswith(f"[{section}]" if section else "Top"))
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == ("the host name" if not section else f"`{toml_value(field.default)}`")
    assert cells[2:] == [accepted(name, field), field.description]


def test_the_documentations_tables_are_what_the_code_writes() -> None:
    """`scripts/make-config-docs` writes them anew."""
    page = DOCUMENT.read_text()
    assert with_tables(page) == page


def test_a_new_setting_touches_the_schema_and_the_part_that_uses_it(tmp_path: Path) -> None:
    """The checks, the variable, the example and the page follow from the schema."""
    package = shutil.copytree(
        ROOT / "daemon" / "voice_daemon",
        tmp_path / "voice_daemon",
        ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.tflite", "*.flac", "*.wav"),
    )
    before = {file: file.read_bytes() for file in package.rglob("*.py")}
    schema = package / "config" / "schema.py"
    key = 'grace_ms: int = Field(default=40, ge=0, le=100, description="Time to think.")'
    place = "    silence_ms: int = Field("
    schema.write_text(schema.read_text().replace(place, f"    {key}\n{place}", 1))
    options = package / "session" / "options.py"
    place = "    silence_ms: float"
    options.write_text(options.read_text().replace(place, f"    grace_ms: int = 40\n{place}", 1))
    changed = [file for file, content in before.items() if file.read_bytes() != content]
    assert sorted(changed) == [schema, options]
    script = """
import os
from voice_daemon.config import ConfigProblems, load_settings, render
from voice_daemon.runtime.build import pipeline_options
print(pipeline_options(load_settings(None, os.environ)).grace_ms)
print("grace_ms = 40" in render.example(), "| `grace_ms` | `40` |" in render.with_tables(""))
try:
    load_settings(None, {**os.environ, "VOICE_DAEMON_SESSION__GRACE_MS": "101"})
except ConfigProblems as error:
    print(error.message.split(": ", 1)[1])
"""
    environ = {"PYTHONPATH": str(tmp_path), "VOICE_DAEMON_HOME": str(tmp_path)}
    environ |= {"VOICE_DAEMON_SESSION__GRACE_MS": "77", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    refusal = (
        'VOICE_DAEMON_SESSION__GRACE_MS = "101": is more than 100; give a whole number from 0 to '
        "100 (milliseconds)"
    )
    assert done.stdout.splitlines() == ["77", "True True", refusal]


def test_show_is_toml_of_the_values_in_force(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    prompt = '[asr]\nprompt = "a \\"b\\" \\\\ ü"\n'
    file.write_text(f'node_id = "attic"\n{prompt}[wake]\nthreshold = 0.123\n')
    environ = {"VOICE_DAEMON_WAKE__MODELS": "alexa,hey_jarvis"}
    effective = load_effective(file, environ)
    shown = tmp_path / "shown.toml"
    shown.write_text(show(effective))
    assert load_settings(shown, {}) == effective.settings


def test_show_tells_where_each_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[wake]\nthreshold = 0.7\n")
    lines = show(load_effective(file, {"VOICE_DAEMON_MQTT__PORT": "8883"})).splitlines()
    assert lines[0] == f"# {file}"
    assert f"threshold = 0.7          # {file}" in lines
    origins = {line.split(" = ")[0]: line.split("# ")[-1] for line in lines}
    assert origins["offline_max"] == origins["max_mb"] == "default"
    assert variable(("mqtt", "port")) in {line.split("# ")[-1] for line in lines}


def test_show_names_the_user_and_hides_the_password(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    file = tmp_path / "config.toml"
    file.write_text('[mqtt]\nusername = "me"\npassword_file = "password"\n')
    effective = load_effective(file, {})
    assert 'username = "me"' in show(effective)
    assert "hunter2" not in show(effective)
    assert "hunter2" not in str(document(effective))


def test_the_document_nests_values_and_origins_alike(tmp_path: Path) -> None:
    found = document(load_effective(None, {"VOICE_DAEMON_HOME": str(tmp_path)}))
    values, origins = found["settings"], found["origins"]
    assert isinstance(values, dict)
    assert isinstance(origins, dict)
    assert found["file"] is None
    assert values["wake"]["models"] == ["hey_jarvis"]
    assert origins["wake"]["models"] == "default"
    assert set(values) == set(origins) == set(Settings.model_fields)


def test_thresholds_are_a_table_in_the_file_and_pairs_in_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[wake.thresholds]\nalexa = 0.7\n'okay house' = 0.93\n")
    read = load_effective(file, {})
    assert read.settings.wake.thresholds == {"alexa": 0.7, "okay house": 0.93}
    assert 'thresholds = { alexa = 0.7, "okay house" = 0.93 }' in show(read)
    environ = {"VOICE_DAEMON_WAKE__THRESHOLDS": "alexa=0.6, okay house=0.9"}
    assert load_settings(file, environ).wake.thresholds == {"alexa": 0.6, "okay house": 0.9}
    for wrong in ("alexa=7", "alexa", "alexa=high"):
        with pytest.raises(ConfigProblems, match="a score from"):
            load_settings(file, {"VOICE_DAEMON_WAKE__THRESHOLDS": wrong})
