"""`daemonctl config check|show|example`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from voice_daemon.cli.context import Context
from voice_daemon.cli.main import main
from voice_daemon.config import Settings, load_settings
from voice_daemon.config.persisted import Change, SettingsStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    monkeypatch.delenv("VOICE_DAEMON_CONFIG", raising=False)


def document(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert found["schema"] == 1
    return found


def test_a_good_file_is_said_to_be_good(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr() == (f"{file}: no mistakes\n", "")


def test_no_file_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == "no configuration file, all defaults: no mistakes\n"


def test_mistakes_give_2_and_a_line_each(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[wake]\nthreshold = 7\ntresh = 1\n")
    assert main(["config", "check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"daemonctl: {file}: [wake] tresh = 1: there is no such key; did you mean threshold?\n"
        f"daemonctl: {file}: [wake] threshold = 7: is more than 0.99; "
        "give a number from 0.01 to 0.99\n"
    )


def test_mistakes_are_a_document_for_scripts(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[wake]\nthreshold = 7\n")
    assert main(["config", "check", "--json"]) == 2
    captured = capsys.readouterr()
    found = document(captured.out)
    assert captured.err == ""
    assert found["ok"] is False
    assert found["problems"] == [
        {
            "file": str(file),
            "key": "[wake] threshold",
            "value": "7",
            "message": "is more than 0.99",
            "remedy": "give a number from 0.01 to 0.99",
        }
    ]


def test_what_should_have_been_meant_is_a_warning(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[privacy]\nsave_audio = true\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == (
        f"daemonctl: warning: {file}: [privacy] save_audio = true: "
        "the sound of every session is kept on disk; set it to false unless you need it\n"
    )
    assert main(["config", "check", "--json"]) == 0
    found = document(capsys.readouterr().out)
    assert found["ok"] is True
    assert [warning["key"] for warning in found["warnings"]] == ["[privacy] save_audio"]


def test_show_prints_what_is_in_force(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    monkeypatch.setenv("VOICE_DAEMON_MQTT__USERNAME", "me")
    assert main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert f"threshold = 0.7          # {file}\n" in shown
    assert 'username = "me"' in shown
    assert main(["config", "show", "--json"]) == 0
    found = document(capsys.readouterr().out)
    assert found["file"] == str(file)
    assert found["settings"]["wake"]["threshold"] == 0.7
    assert found["origins"]["mqtt"]["username"] == "VOICE_DAEMON_MQTT__USERNAME"


def test_show_of_a_wrong_configuration_tells_the_mistakes(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[wake]\nthreshold = 7\n")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"daemonctl: {file}: [wake] threshold = 7: ")


def test_the_example_is_a_good_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    file.write_text(capsys.readouterr().out)
    assert main(["config", "check"]) == 0
    assert load_settings(file, {}) == Settings()


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A daemon that ran here was told other settings than the defaults, and was muted."""
    store = SettingsStore(tmp_path / "state.json")
    store.change("wake_threshold", Change(0.65, 0.5))
    store.change("wake_word", Change("alexa", "hey_jarvis"))
    store.change("mute", Change(value=True, configured=False))
    store.save()
    return tmp_path / "state.json"


@pytest.mark.usefixtures("changed")
def test_show_tells_what_was_changed_at_run_time_and_how_to_go_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "show"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[0] == "# changed at run time: mute, wake_threshold, wake_word"
    assert "daemonctl config reset" in shown[1]
    assert 'models = ["alexa"] # changed at run time from ["hey_jarvis"] (default)' in shown
    assert "thresholds = { alexa = 0.65 } # changed at run time from {} (default)" in shown
    assert main(["config", "show", "--json"]) == 0
    found = document(capsys.readouterr().out)
    assert found["settings"]["wake"]["thresholds"] == {"alexa": 0.65}
    assert found["changed"]["mute"] == {"value": True, "configured": False}


@pytest.mark.usefixtures("changed")
def test_a_key_that_was_configured_anew_since_is_shown_as_configured(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    assert main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert f"threshold = 0.7     # {file}\n" in shown
    assert shown.startswith("# changed at run time: mute, wake_word\n")


def test_a_damaged_file_of_changes_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.json").write_text("{")
    assert main(["config", "show"]) == 0
    assert "state.json cannot be read" in capsys.readouterr().err
    assert (tmp_path / "state.json").read_text() == "{"


def test_reset_forgets_what_was_changed(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "reset"]) == 0
    told = "back to the configured value: mute, wake_threshold, wake_word\n"
    assert capsys.readouterr().out == told
    assert SettingsStore(changed).state.changes == {}
    assert main(["config", "reset"]) == 0
    assert capsys.readouterr().out == "nothing was changed at run time\n"
    assert main(["config", "reset", "--json"]) == 0
    assert document(capsys.readouterr().out)["settings"] == []


def test_a_context_reads_the_file_that_it_was_given(file: Path) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    context = Context(file, {}, out=io.StringIO(), err=io.StringIO())
    assert context.settings().wake.threshold == 0.7
    assert context.effective().file == file
