"""Where the daemon keeps its files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voice_daemon.errors import ConfigError
from voice_daemon.paths import MAX_SOCKET_PATH_BYTES, default_paths, expand


def test_one_variable_moves_everything() -> None:
    paths = default_paths({"VOICE_DAEMON_HOME": "/x"})
    assert paths.config_file == Path("/x/config.toml")
    assert paths.socket_path == Path("/x/voice-daemon.sock")
    assert paths.log_file == Path("/x/logs/voice-daemon.jsonl")
    assert paths.models_dir == Path("/x/models")


def test_the_places_of_macos_are_the_same_for_a_terminal_and_for_launchd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, "/elsewhere")
    paths = default_paths({}, platform="darwin")
    support = Path.home() / "Library/Application Support/voice-daemon"
    assert paths.config_file == support / "config.toml"
    assert paths.socket_path == support / "voice-daemon.sock"
    assert paths.models_dir == support / "models"
    assert paths.log_file == Path.home() / "Library/Logs/voice-daemon/voice-daemon.jsonl"


@pytest.mark.skipif(sys.platform != "linux", reason="the places of XDG")
def test_the_places_of_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    paths = default_paths({"VOICE_DAEMON_HOME": ""})
    assert paths.config_file == Path("/c/voice-daemon/config.toml")
    assert paths.socket_path == Path("/s/voice-daemon/voice-daemon.sock")
    assert paths.log_file == Path("/s/voice-daemon/log/voice-daemon.jsonl")
    assert paths.models_dir == Path("/d/voice-daemon/models")


def test_a_relative_home_is_refused() -> None:
    with pytest.raises(ConfigError, match="VOICE_DAEMON_HOME = x: is not an absolute path"):
        default_paths({"VOICE_DAEMON_HOME": "x"})


def test_a_home_below_the_users_is_found() -> None:
    assert default_paths({"VOICE_DAEMON_HOME": "~/x"}).state_dir == Path.home() / "x"


def test_an_unknown_users_home_stays_as_it_is() -> None:
    assert expand("~no-such-user-here/x") == Path("~no-such-user-here/x")


def test_a_socket_path_that_no_system_takes_is_refused_when_it_is_needed() -> None:
    fits = "/" + "x" * (MAX_SOCKET_PATH_BYTES - len("//voice-daemon.sock"))
    assert len(str(default_paths({"VOICE_DAEMON_HOME": fits}).socket_path)) == 100
    paths = default_paths({"VOICE_DAEMON_HOME": fits + "ü"})
    assert paths.log_file.is_absolute()
    with pytest.raises(ConfigError, match=r"has 102 bytes, and a Unix socket may have 100: /x+ü"):
        _ = paths.socket_path
