from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from rigs import fake_hub
from voice_daemon.cli.main import main
from voice_daemon.cli.models import size_text
from voice_daemon.models.measurements import read_measurements, recommended
from voice_daemon.models.progress import BarProgress, LineProgress, progress_to

PATIENCE_S = 30.0
REPO = "mlx-community/whisper-tiny-mlx"
CONFIG = {"n_audio_state": 384, "n_audio_layer": 4, "n_text_layer": 4, "n_vocab": 51_865}
REPOS = {
    REPO: {"config.json": json.dumps(CONFIG).encode(), "weights.npz": bytes(200_000)},
    "openai/whisper-tiny": {"vocab.json": b"{}"},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    return tmp_path


def environment(home: Path, hub: fake_hub.FakeHub) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "COLUMNS": "100",
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home / "hf"),
        "NO_PROXY": "127.0.0.1",
        "VOICE_DAEMON_HOME": str(home),
    }


PULL = [sys.executable, "-m", "voice_daemon", "models", "pull", "tiny"]


@pytest.mark.usefixtures("home")
def test_the_list_marks_the_configured_model_and_recommends_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = lines[1].split()
    assert cells == ["*", "tiny.en", "78.1", "MB", "ctranslate2", "en", "-", "-", "bundled"]
    assert any(line.split()[:3] == ["small.en", "485", "MB"] for line in lines)


def test_the_list_as_json(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = home / "models" / "owner--model"
    pulled.mkdir(parents=True)
    (pulled / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setenv("VOICE_DAEMON_ASR__MODEL", "owner/model")
    assert main(["models", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["configured"] == "owner/model"
    assert [(model["name"], model["configured"]) for model in document["models"]] == [
        ("tiny.en", False),
        ("owner/model", True),
    ]
    assert {"name", "repo_id", "approx_mb", "languages", "advice"} <= set(
        document["recommended"][0]
    )


def test_a_configured_model_that_is_missing_or_elsewhere_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_DAEMON_ASR__MODEL", "small.en")
    assert main(["models", "list"]) == 0
    assert 'asr.model = "small.en" is not on this disk' in capsys.readouterr().out
    monkeypatch.setenv("VOICE_DAEMON_ASR__MODEL", str(home))
    assert main(["models", "list"]) == 0
    assert f"asr.model is the folder {home}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after `daemonctl models measure --json tiny.en`, with what that said."""
    folder = tmp_path_factory.mktemp("measured")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setenv("VOICE_DAEMON_HOME", str(folder))
        assert main(["models", "measure", "--json", "tiny.en"]) == 0
    (folder / "said.json").write_text(said.getvalue())
    return folder


@pytest.fixture
def home_with_a_measurement(home: Path, measured: Path) -> Path:
    return shutil.copytree(measured, home, dirs_exist_ok=True)


@pytest.mark.slow  # a measurement computes for a while
def test_a_model_is_measured_once_and_the_list_remembers_it(
    home_with_a_measurement: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = json.loads((home_with_a_measurement / "said.json").read_text())
    assert measured["rtf"] > 0
    assert measured["memory_mb"] > 78
    assert main(["models", "list", "--json", "--measure"]) == 0
    shown = capsys.readouterr()
    assert "measuring" not in shown.err
    document = json.loads(shown.out)
    assert document["models"][0]["measured"]["rtf"] == measured["rtf"]
    assert document["suits_this_machine"] in {"tiny.en", "base.en", "small.en", "large-v3-turbo"}
    assert main(["models", "list"]) == 0
    assert f"{measured['rtf']:.3f}" in capsys.readouterr().out


@pytest.mark.slow  # a measurement computes for a while
def test_a_model_that_cannot_be_measured_does_not_hide_the_others(
    home_with_a_measurement: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = home_with_a_measurement / "models" / "owner--model"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text(json.dumps(CONFIG))
    assert main(["models", "list", "--measure", "--json"]) == 0
    shown = capsys.readouterr()
    assert [m["measured"] is None for m in json.loads(shown.out)["models"]] == [False, True]
    assert "owner--model holds no weights" in shown.err


def test_measurements_that_cannot_be_read_are_nothing_known(home: Path) -> None:
    for text in ("", "[]", '{"schema": 1, "models": {"x": {}}}', '{"schema": 2}'):
        (home / "measured.json").write_text(text)
        assert read_measurements(home) == {}


@pytest.mark.parametrize(
    ("memory_gb", "english", "others"),
    [
        (4, "small.en", "small"),
        (8, "small.en", "small"),
        (16, "large-v3-turbo", "large-v3-turbo"),
        (1, "tiny.en", "small"),
    ],
)
def test_the_largest_model_that_memory_is_enough_for_is_recommended(
    memory_gb: float, english: str, others: str
) -> None:
    for multilingual, name in ((False, english), (True, others)):
        entry = recommended(memory_gb * 1000, multilingual=multilingual)
        assert entry is not None
        assert entry.name == name


@pytest.mark.usefixtures("home")
def test_verify_tells_an_intact_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "tiny.en"]) == 0
    assert capsys.readouterr().out == "tiny.en: intact, 4 files\n"
    assert main(["models", "verify", "--json", "tiny.en"]) == 0
    assert json.loads(capsys.readouterr().out)["intact"] is True


@pytest.mark.usefixtures("home")
def test_verify_of_what_is_not_there_gives_1_and_the_command_to_get_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "verify", "small.en"]) == 1
    assert "  -> run `daemonctl models pull small.en`\n" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("arguments", [[], ["pull"], ["list", "x"], ["fetch", "x"]])
def test_a_wrong_command_line_gives_2(arguments: list[str]) -> None:
    assert main(["models", *arguments]) == 2


def test_a_changed_file_makes_verify_fail(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_hub.FakeHub(REPOS) as hub:
        subprocess.run(
            PULL, env=environment(home, hub), check=True, capture_output=True, timeout=PATIENCE_S
        )
    (home / "models" / "mlx-community--whisper-tiny-mlx" / "vocab.json").write_text("{ }")
    assert main(["models", "verify", "tiny"]) == 1
    shown = capsys.readouterr()
    assert "vocab.json has SHA-256" in shown.out
    assert "daemonctl models pull --force tiny" in shown.err
    assert main(["models", "verify", "tiny", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_a_terminal_gets_a_bar(home: Path) -> None:
    ours, theirs = pty.openpty()
    with fake_hub.FakeHub(REPOS) as hub:
        done = subprocess.run(
            PULL,
            env=environment(home, hub),
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=False,
            timeout=PATIENCE_S,
        )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux's way to say that nobody writes any more
        pass
    os.close(ours)
    assert done.returncode == 0
    assert "━".encode() in shown
    assert re.search(rb"(200\.\d)/\1 kB", shown)


def test_ctrl_c_keeps_what_arrived_and_gives_130(home: Path) -> None:
    with fake_hub.FakeHub(REPOS) as hub:
        hub.faults.stall_after_bytes = {"weights.npz": 100_000}
        with subprocess.Popen(
            PULL, env=environment(home, hub), stderr=subprocess.PIPE, text=True
        ) as process:
            assert hub.stalled.wait(PATIENCE_S)
            process.send_signal(signal.SIGINT)
            _, shown = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in shown
    assert list((home / "models" / ".partial").glob("*/weights.npz.*.part"))


def test_the_display_suits_the_stream() -> None:
    assert isinstance(progress_to(io.StringIO()), LineProgress)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        assert isinstance(progress_to(terminal), BarProgress)
    os.close(ours)


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0.0 MB"), (78_090_594, "78.1 MB"), (1_613_977_612, "1.61 GB")]
)
def test_sizes_are_decimal(n_bytes: int, text: str) -> None:
    assert size_text(n_bytes) == text
