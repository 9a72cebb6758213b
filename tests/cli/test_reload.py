"""`daemonctl reload`, against a control socket that answers as a daemon would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from voice_daemon.cli.main import main
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import ConfigError

ANSWER = {"applied": ["wake.threshold"], "restart": ["mqtt.host"]}


class Daemon:
    """Answers on the control socket."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = dict(ANSWER)
        self.refusal: ConfigError | None = None

    def reload(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        return self.answer


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    daemon = Daemon()
    server = ControlServer(home / "voice-daemon.sock", {"reload": daemon.reload})
    server.start()
    yield daemon
    server.stop()


@pytest.mark.usefixtures("daemon")
def test_it_says_what_is_in_force_and_what_needs_a_restart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reload"]) == 0
    assert capsys.readouterr().out == (
        "in force: wake.threshold\nafter a restart: mqtt.host\n  -> daemonctl restart\n"
    )
    assert main(["reload", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restart"] == ["mqtt.host"]


def test_no_change_is_said(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer = {"applied": [], "restart": []}
    assert main(["reload"]) == 0
    assert capsys.readouterr().out == "nothing has changed\n"


def test_a_wrong_configuration_gives_2_with_every_mistake(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.refusal = ConfigError("config.invalid", "threshold = 7\nx = 1", remedy="")
    assert main(["reload"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["daemonctl: threshold = 7", "daemonctl: x = 1"]


def test_without_a_daemon_it_gives_3(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(short_folder))
    assert main(["reload"]) == 3
