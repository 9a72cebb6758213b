from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from voice_daemon.cli.main import main
from voice_daemon.cli.parser import COMMANDS
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import ControlError

VERBS = ("listen", "cancel", "mute", "unmute")


@pytest.fixture
def asked(home: Path) -> Iterator[list[str]]:
    """The verbs that a daemon was asked for; it refuses `cancel`, and explains `mute`."""
    heard: list[str] = []

    def handler(verb: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        heard.append(verb)
        return answer

    def refuse(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ControlError("control.no_session", "no session is open", remedy="nothing to do")

    server = ControlServer(
        home / "voice-daemon.sock",
        {
            "listen": lambda _: handler("listen", {"state": "listening"}),
            "cancel": refuse,
            "mute": lambda _: handler("mute", {"message": "muted already"}),
            "unmute": lambda _: handler("unmute", {}),
        },
    )
    server.start()
    yield heard
    server.stop()


def test_the_four_commands_are_the_four_verbs() -> None:
    served = tuple(c.name for c in COMMANDS.values() if c.module == "verbs")
    assert served == ("reload", *VERBS)


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("listen", "listening: speak now"),
        ("mute", "muted already"),
        ("unmute", "listening for the wake word again"),
    ],
)
def test_a_verb_is_sent_once_and_its_answer_told(
    asked: list[str], capsys: pytest.CaptureFixture[str], verb: str, said: str
) -> None:
    assert main([verb]) == 0
    assert capsys.readouterr().out == f"{said}\n"
    assert asked == [verb]


@pytest.mark.usefixtures("asked")
def test_the_answer_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema": 1, "verb": "listen", "state": "listening"}


@pytest.mark.usefixtures("asked")
def test_a_refusal_is_told_with_its_remedy_and_gives_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cancel"]) == 1
    assert capsys.readouterr().err == "daemonctl: no session is open\n  -> nothing to do\n"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("verb", VERBS)
def test_without_a_daemon_every_verb_gives_3(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main([verb]) == 3
    assert "daemonctl run" in capsys.readouterr().err
