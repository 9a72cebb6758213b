"""`daemonctl vocabulary` and `transcribe --vocabulary`, as they are typed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from support.daemon_process import daemonctl_here

HOME = {
    "schema": 1,
    "entities": [{"name": "Bed Light", "domain": "light", "aliases": ["night lamp"]}],
    "areas": ["Kitchen"],
}
TOKEN = "a-long-lived-token"


@pytest.fixture
def home_file(tmp_path: Path) -> Path:
    file = tmp_path / "home.json"
    file.write_text(json.dumps(HOME))
    return file


def test_show_says_what_is_known_and_where_from(voice_home: Path, home_file: Path) -> None:
    nothing = daemonctl_here("vocabulary", "show", home=voice_home)
    assert (nothing.returncode, "no names" in nothing.stdout) == (0, True)
    variables = {"VOICE_DAEMON_VOCABULARY__FILE": str(home_file)}
    shown = daemonctl_here("vocabulary", "show", home=voice_home, **variables).stdout
    assert "from file" in shown
    assert "Bed Light (night lamp)" in shown
    document = json.loads(
        daemonctl_here("vocabulary", "show", "--json", home=voice_home, **variables).stdout
    )
    assert (document["schema"], document["source"], document["names"]) == (1, "file", 2)


def test_check_tells_every_mistake_and_its_exit_code_how_bad_it_is(
    voice_home: Path, home_file: Path, tmp_path: Path
) -> None:
    assert daemonctl_here("vocabulary", "check", home_file, home=voice_home).returncode == 0
    odd = tmp_path / "odd.toml"
    odd.write_text('schema = 1\nareas = ["Kitchen", "..."]\nsentences = ["(a"]\n')
    told = daemonctl_here("vocabulary", "check", odd, home=voice_home)
    assert told.returncode == 1
    assert "areas[1]" in told.stderr
    assert "sentences[0]" in told.stderr
    odd.write_text("schema = 7")
    refused = daemonctl_here("vocabulary", "check", "--json", odd, home=voice_home)
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["ok"] is False


def test_a_misspelt_domain_is_a_warning_of_check_and_of_doctor(
    voice_home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "home.json"
    plug = {"name": "Coffee Maker", "domain": "swich"}
    file.write_text(
        json.dumps({"schema": 1, "entities": ["Bed Light", plug], "areas": ["Kitchen"]})
    )
    told = daemonctl_here("vocabulary", "check", file, home=voice_home)
    assert told.returncode == 0
    assert 'warning: entities[1].domain: "swich"' in told.stderr
    assert 'write "switch"' in told.stderr
    assert "2 names" in told.stdout
    checked = json.loads(
        daemonctl_here("vocabulary", "check", "--json", file, home=voice_home).stdout
    )
    assert (checked["ok"], checked["problems"]) == (True, [])
    assert [warning["where"] for warning in checked["warnings"]] == ["entities[1].domain"]
    variables = {"VOICE_DAEMON_VOCABULARY__FILE": str(file)}
    doctor = daemonctl_here("doctor", "--json", home=voice_home, **variables)
    found = {check["check"]: check for check in json.loads(doctor.stdout)["checks"]}["vocabulary"]
    assert (found["verdict"], "1 with a warning" in found["message"]) == ("warn", True)
    assert "swich" not in doctor.stdout


def test_say_explains_what_is_understood_and_how_far_the_rest_is(
    voice_home: Path, home_file: Path
) -> None:
    def say(text: str) -> tuple[int, dict[str, Any]]:
        done = daemonctl_here(
            "vocabulary", "say", text, "--vocabulary", home_file, "--json", home=voice_home
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, found

    code, understood = say("switch the night lamp on")
    assert (code, understood["in_vocabulary"]) == (0, True)
    assert understood["readings"][0]["slots"]["name"] == "Bed Light"
    code, strange = say("turn on the red light")
    assert (code, strange["understood"]) == (1, "turn on the")
    assert "Bed Light" in strange["sounds_like"]


class HomeAssistant:
    """Answers as Home Assistant's WebSocket API does."""

    ANSWERS: dict[str, Any] = {  # noqa: RUF012 - read alone
        "homeassistant/expose_entity/list": {
            "exposed_entities": {
                "light.bed": {"conversation": True},
                "light.secret": {"conversation": False},
                "climate.eco": {"conversation": True},
            }
        },
        "config/entity_registry/get_entries": {
            "light.bed": {"aliases": [None, "night lamp"]},
            "climate.eco": {"aliases": []},
        },
        "get_states": [
            {"entity_id": "light.bed", "attributes": {"friendly_name": "Bed Light"}},
            {"entity_id": "light.secret", "attributes": {"friendly_name": "Secret"}},
            {"entity_id": "climate.eco", "attributes": {"friendly_name": "EcoBee"}},
        ],
        "config/area_registry/list": [{"name": "Kitchen", "aliases": ["cook room"]}],
        "config/floor_registry/list": [{"name": "Upstairs", "aliases": []}],
        "get_config": {"language": "en"},
    }

    def __init__(self) -> None:
        self._server = serve(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _talk(self, connection: ServerConnection) -> None:
        connection.send(json.dumps({"type": "auth_required"}))
        said = json.loads(connection.recv())
        if said.get("access_token") != TOKEN:
            connection.send(json.dumps({"type": "auth_invalid"}))
            return
        connection.send(json.dumps({"type": "auth_ok"}))
        for message in connection:
            asked = json.loads(message)
            result = self.ANSWERS[asked["type"]]
            answer = {"id": asked["id"], "type": "result", "success": True, "result": result}
            connection.send(json.dumps(answer))


@pytest.fixture
def home_assistant() -> Iterator[HomeAssistant]:
    server = HomeAssistant()
    yield server
    server.stop()


def token_file(folder: Path, token: str = TOKEN, mode: int = 0o600) -> Path:
    file = folder / "token"
    file.write_text(token)
    file.chmod(mode)
    return file


def test_pull_asks_home_assistant_for_what_is_exposed(
    voice_home: Path, home_assistant: HomeAssistant, tmp_path: Path
) -> None:
    out = tmp_path / "pulled.json"
    done = daemonctl_here(
        *("vocabulary", "pull", "--url", home_assistant.url),
        *("--token-file", token_file(tmp_path), "--out", out),
        home=voice_home,
    )
    assert done.returncode == 0, done.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    pulled = json.loads(out.read_text())
    assert pulled["entities"] == [
        {"name": "EcoBee", "domain": "climate"},
        {"name": "Bed Light", "domain": "light", "aliases": ["night lamp"]},
    ]
    assert pulled["areas"] == [{"name": "Kitchen", "aliases": ["cook room"]}]
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("token", "mode", "told"),
    [
        ("wrong", 0o600, (1, "does not know the token")),
        (TOKEN, 0o644, (2, "chmod 600")),
    ],
)
def test_pull_says_what_is_wrong_with_the_token(
    token: str, mode: int, told: tuple[int, str], voice_home: Path, home_assistant: HomeAssistant
) -> None:
    file = token_file(voice_home, token, mode)
    done = daemonctl_here(
        *("vocabulary", "pull", "--url", home_assistant.url, "--token-file", file), home=voice_home
    )
    assert done.returncode == told[0]
    assert told[1] in done.stderr


def test_pull_from_nowhere_has_a_remedy(voice_home: Path, tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9", "ftp://x"):
        done = daemonctl_here(
            *("vocabulary", "pull", "--url", url, "--token-file", token_file(tmp_path)),
            home=voice_home,
        )
        assert done.returncode == 1
        assert "->" in done.stderr


def test_transcribe_uses_a_document_and_says_why(
    voice_home: Path, demo_clip: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.json"
    names.write_text(
        json.dumps({"schema": 1, "sentences": ["[hey jarvis] turn on the kitchen lights"]})
    )
    done = daemonctl_here(
        "transcribe", demo_clip, "--vocabulary", names, "--why", "--json", home=voice_home
    )
    final = json.loads(done.stdout.splitlines()[-1])
    assert final["in_vocabulary"] is True
    assert final["why"]["reason"] == "heard"
    without = daemonctl_here("transcribe", demo_clip, "--no-vocabulary", "--json", home=voice_home)
    assert "in_vocabulary" not in json.loads(without.stdout.splitlines()[-1])
