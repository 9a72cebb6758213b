"""What a user can get wrong: each gives one line, a remedy and the right exit code."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.daemon_process import DaemonProcess, daemonctl_here, run_daemonctl
from support.subscriber import Subscriber
from voice_daemon.control.socket import InstanceLock, lock_path
from voice_daemon.models import resolve
from voice_daemon.paths import default_paths

USAGE, CONFIGURATION = 2, 78


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """Assert one line of error, one of remedy, no traceback, and the exit code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) <= 2, done.stderr
    assert lines[0].startswith("daemonctl: ")
    for words in said:
        assert words in done.stderr


def test_a_configuration_file_that_is_not_there(voice_home: Path, tmp_path: Path) -> None:
    done = daemonctl_here("--config", tmp_path / "none.toml", "run", home=voice_home)
    assert_one_line(done, CONFIGURATION, "none.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mqtt\nport = 1883\n", "broken.toml"),
        ("[mqtt]\nprot = 1883\n", "port"),
        ('[mqtt]\nport = "high"\n', "port"),
    ],
)
def test_a_broken_configuration_file(
    text: str, said: str, voice_home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    done = daemonctl_here("run", "--config", path, home=voice_home)
    assert_one_line(done, CONFIGURATION, said)


def test_a_configuration_that_everybody_may_write(voice_home: Path) -> None:
    path = voice_home / "config.toml"
    path.touch()
    path.chmod(0o666)
    done = daemonctl_here("run", home=voice_home)
    assert_one_line(done, CONFIGURATION, f"chmod o-w '{path}'")


def test_a_model_folder_that_is_not_there_in_a_configuration_that_a_group_may_write(
    voice_home: Path, demo_clip: Path, mosquitto_port: int
) -> None:
    """The first ends it, the second is told in the log."""
    path = voice_home / "config.toml"
    path.write_text(f'[mqtt]\nport = {mosquitto_port}\n[asr]\nmodel = "/no/such/model"\n')
    path.chmod(0o664)
    done = run_daemonctl("run", "--input", demo_clip, home=voice_home)
    assert_one_line(done, CONFIGURATION, "/no/such/model", "daemonctl models")
    log = default_paths({"VOICE_DAEMON_HOME": str(voice_home)}).log_file.read_text()
    (line,) = [json.loads(line) for line in log.splitlines() if "config.warning" in line]
    assert (line["level"], line["remedy"]) == ("warning", f"run: chmod g-w '{path}'")


def test_truncated_weights(
    voice_home: Path, demo_clip: Path, mosquitto_port: int, tmp_path: Path
) -> None:
    bundled = resolve("tiny.en", models_dir=tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(bundled, broken)
    weights = (bundled / "model.bin").read_bytes()
    (broken / "model.bin").write_bytes(weights[: len(weights) // 2])
    done = run_daemonctl(
        "run",
        "--input",
        demo_clip,
        home=voice_home,
        VOICE_DAEMON_ASR__MODEL=str(broken),
        VOICE_DAEMON_MQTT__PORT=str(mosquitto_port),
    )
    assert_one_line(done, CONFIGURATION, "model.bin")


def test_a_text_file_as_audio(voice_home: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("this is no audio\n")
    done = run_daemonctl("run", "--input", text, home=voice_home)
    assert_one_line(done, USAGE, "notes.wav")


def test_an_audio_file_that_is_not_there(voice_home: Path, tmp_path: Path) -> None:
    done = run_daemonctl("run", "--input", tmp_path / "none.wav", home=voice_home)
    assert_one_line(done, USAGE, "none.wav")


def test_an_empty_wav(voice_home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0, np.int16), 16_000)
    done = run_daemonctl("run", "--input", empty, home=voice_home)
    assert_one_line(done, USAGE, "empty.wav")


def test_fast_without_a_file(voice_home: Path) -> None:
    assert_one_line(daemonctl_here("run", "--fast", home=voice_home), USAGE, "--input")


@pytest.mark.slow  # tests/launchd/test_under_launchd.py has it with a microphone to plug in
def test_an_audio_device_that_is_not_there(
    voice_home: Path, mosquitto_port: int, subscriber: Subscriber
) -> None:
    """It may be plugged in: the daemon is up and says what is missing, until it is told to go."""
    environ = {
        "VOICE_DAEMON_NODE_ID": "deaf",
        "VOICE_DAEMON_AUDIO__DEVICE": "No Such Microphone 3000",
        "VOICE_DAEMON_MQTT__PORT": str(mosquitto_port),
    }
    with DaemonProcess((), voice_home, environ) as daemon:
        subscriber.wait_for(lambda m: (m.topic, m.payload) == ("voice/deaf/state", b"degraded"))
        done = daemonctl_here("status", home=voice_home)
        assert done.returncode == 1
        assert "degraded" in done.stdout
        assert "audio input" in done.stdout
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_a_second_daemon_exits_0_and_names_the_first(voice_home: Path) -> None:
    socket_path = default_paths({"VOICE_DAEMON_HOME": str(voice_home)}).socket_path
    lock = InstanceLock(lock_path(socket_path))
    lock.acquire()
    try:
        done = run_daemonctl("run", home=voice_home)
    finally:
        pid = lock_path(socket_path).read_text().strip()
        lock.release()
    assert_one_line(done, 0, f"pid {pid}")
