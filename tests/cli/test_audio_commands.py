"""`daemonctl test-mic` and `test-wake`: on files, and live on a virtual microphone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rigs.virtual_microphone import DEVICE, VirtualMicrophone, why_not
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.cli.main import main
from voice_daemon.cli.mic_test import meter as level_meter
from voice_daemon.cli.wake_test import ScoreSample
from voice_daemon.cli.wake_test import meter as score_meter

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    file = tmp_path / "silence.wav"
    soundfile.write(file, np.zeros(32_000, np.int16), 16_000)
    return file


def test_a_file_is_measured_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-mic", "--input", str(DEMO_CLIP)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "file demo.wav: good"
    assert [line.split()[0] for line in lines[1:]] == [
        "heard",
        "level",
        "noise",
        "speech",
        "s/n",
        "clipped",
    ]


def test_a_fault_gives_1_with_its_remedy(silence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-mic", "--json", "--seconds", "1.5", "--input", str(silence)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["good"], document["seconds"]) == (1, False, 1.5)
    assert [finding["code"] for finding in document["findings"]] == ["mic.silent"]
    assert main(["test-mic", "--input", str(silence)]) == 1
    assert "  ! 2.0 s of digital silence\n    -> macOS: System" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["test-mic", "--seconds", "0"],
        ["test-mic", "--seconds", "nan"],
        ["test-mic", "--input", "/nowhere.wav"],
        ["test-wake", "--seconds", "1e9"],
        ["test-wake", "--picture", "x.png"],
        ["test-wake", str(DEMO_CLIP), "--picture", "x.txt"],
        ["test-wake", str(DEMO_CLIP), "--picture", "/nowhere/x.png"],
    ],
)
def test_a_wrong_command_line_gives_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "  -> " in capsys.readouterr().err


def test_recordings_are_scored_and_a_threshold_is_found(
    silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test-wake", str(DEMO_CLIP), "--not", str(silence)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[1:] == ["0.99", "hey_jarvis", "heard"]
    assert lines[1].split()[1:] == ["0.00", "hey_jarvis", "-"]
    assert any(line.split()[:2] == ["0.50", "0"] and "in force" in line for line in lines)
    assert "0.5 suits these recordings" in lines


def test_folders_are_searched_and_the_json_has_every_threshold(
    silence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = tmp_path / "said" / "by me"
    said.mkdir(parents=True)
    (said / "one.wav").write_bytes(DEMO_CLIP.read_bytes())
    (said / "notes.txt").write_text("not audio")
    arguments = ["test-wake", "--json", str(tmp_path / "said"), "--not", str(silence)]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["said"], document["wake_words"]) == (1, ["hey_jarvis"])
    assert [row["other"] for row in document["recordings"]] == [False, True]
    assert document["suggested"] == document["threshold"] == 0.5
    assert [p["misses"] for p in document["thresholds"] if p["threshold"] == 0.5] == [0]


def test_another_wake_word_can_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-wake", "--json", "--wake-word", "alexa", str(DEMO_CLIP)]) == 0
    (row,) = json.loads(capsys.readouterr().out)["recordings"]
    assert row["wake_word"] == "alexa"
    assert row["score"] < 0.5
    assert main(["test-wake", "--wake-word", "hey_you", str(DEMO_CLIP)]) == 1
    assert "there is no wake word 'hey_you'" in capsys.readouterr().err


def test_a_recording_that_cannot_be_read_is_told_and_the_others_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test-wake", str(tmp_path / "gone.wav"), str(DEMO_CLIP)]) == 1
    shown = capsys.readouterr()
    assert "gone.wav" in shown.err
    assert "hey_jarvis  heard" in shown.out


def test_a_folder_without_recordings_is_a_mistake(tmp_path: Path) -> None:
    assert main(["test-wake", str(tmp_path)]) == 2


def test_a_picture_is_drawn_where_it_can_be(
    silence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "wake.png"
    arguments = ["test-wake", str(DEMO_CLIP), "--not", str(silence), "--picture", str(picture)]
    assert main(arguments) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err == ""


def test_without_matplotlib_the_picture_is_refused_before_anything_is_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["test-wake", str(DEMO_CLIP), "--picture", "x.png"]) == 2
    assert "pip install 'voice-daemon[pictures]'" in capsys.readouterr().err


def test_the_meters_show_where_it_counts() -> None:
    assert level_meter(-120).count("█") == 0
    assert level_meter(0).count("█") == 30
    low = score_meter(ScoreSample(1.0, {"alexa": 0.2}, None), {"alexa": 0.5})
    assert low.count("█") == 6
    assert "|" in low
    assert "|" not in score_meter(ScoreSample(1.0, {"alexa": 0.8}, None), {"alexa": 0.5})


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    microphone = VirtualMicrophone().start()
    yield microphone
    microphone.stop()


def live(
    *arguments: str, microphone: VirtualMicrophone, home: Path, played: int = 1
) -> subprocess.CompletedProcess[str]:
    """Run a command while the bundled clip is played into the microphone it hears."""
    environ = {
        **microphone.environ,
        "PATH": os.environ["PATH"],
        "VOICE_DAEMON_HOME": str(home),
        "VOICE_DAEMON_AUDIO__DEVICE": DEVICE,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "voice_daemon", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    prompt = process.stderr.readline()
    assert "say" in prompt, prompt

    def speak() -> None:
        for _ in range(played):
            microphone.play(DEMO_CLIP)

    speaker = threading.Thread(target=speak)
    speaker.start()
    out, err = process.communicate(timeout=PATIENCE_S)
    speaker.join()
    return subprocess.CompletedProcess(arguments, process.returncode, out, prompt + err)


def test_a_live_microphone_is_measured(microphone: VirtualMicrophone, home: Path) -> None:
    arguments = ("test-mic", "--json", "--seconds", "4")
    done = live(*arguments, microphone=microphone, home=home)
    document = json.loads(done.stdout)
    assert document["speech_dbfs"] > -40
    assert document["zero_share"] < 1
    assert DEVICE in document["input"]


def test_live_scores_are_told_and_the_wake_with_them(
    microphone: VirtualMicrophone, home: Path
) -> None:
    arguments = ("test-wake", "--json", "--seconds", "5")
    done = live(*arguments, microphone=microphone, home=home)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["wake"] for line in lines if line["wake"]] == ["hey_jarvis"]
    assert max(line["scores"]["hey_jarvis"] for line in lines) > 0.9
    in_a_pipe = live("test-wake", "--seconds", "5", microphone=microphone, home=home)
    assert in_a_pipe.stdout.count("heard hey_jarvis") == 1
