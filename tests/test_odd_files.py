"""A pipe, a device, a folder or nothing in a file's place: an error in plain words, never a hang.

The log, the lock, the journal and sound files have tests of their own: those may be such things,
or must be written.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.whisper_files import SMALL, small_tensors, write_ctranslate2, write_mlx
from voice_daemon.asr.checkpoints.load import load_weights
from voice_daemon.cli.vocabulary import _token
from voice_daemon.config import load_settings
from voice_daemon.config.persisted import SettingsStore
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.logs.crashes import read_crashes
from voice_daemon.logs.reader import LogFiles
from voice_daemon.models.catalogue import describe
from voice_daemon.models.measurements import FILE, read_measurements
from voice_daemon.models.store import MANIFEST, read_manifest
from voice_daemon.mqtt.tls import read_password, tls_context
from voice_daemon.vocabulary.store import read_file, read_stored
from voice_daemon.wake.models import find_wake_model

PATIENCE_S = 20


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def door(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


@pytest.fixture(params=[pipe, device, folder, door, dangling], ids=lambda put: put.__name__)
def put(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Path]]:
    """Put the odd thing in a file's place; whoever waits for it is woken by an error."""

    def woken(*_: object) -> None:
        raise TimeoutError("it hangs")

    def replace(path: Path) -> Path:
        if path.exists():
            path.unlink()
        request.param(path)
        return path

    before = signal.signal(signal.SIGALRM, woken)
    signal.alarm(PATIENCE_S)
    yield replace
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


REFUSING: dict[str, Callable[[Path], object]] = {
    "configuration": lambda path: load_settings(path, {}),
    **{
        f"mqtt.{key}": lambda path, key=key: load_settings(  # type: ignore[misc]
            None, {f"VOICE_DAEMON_MQTT__{key.upper()}": str(path)}
        )
        for key in ("password_file", "ca_file", "cert_file", "key_file")
    },
    "password": read_password,
    "authorities": lambda path: tls_context(ca_file=path, cert_file=None, key_file=None),
    "certificate": lambda path: tls_context(ca_file=None, cert_file=path, key_file=None),
    "token": _token,
    "names": read_file,
    "wake word": lambda path: find_wake_model(str(path), backend="onnx"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_a_file_that_is_none_is_refused_in_words(
    name: str,
    put: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = put(Path("word.onnx"))
    with pytest.raises(VoiceDaemonError) as refused:
        REFUSING[name](path.absolute())
    assert "word.onnx" in str(refused.value)


PASSED_OVER: dict[str, tuple[str, Callable[[Path], object]]] = {
    "names of the last run": ("a", read_stored),
    "settings": ("a", lambda path: SettingsStore(path).state.changes),
    "log": ("a", lambda path: list(LogFiles(path).history())),
    "crashes": ("a", read_crashes),
    "measurements": (FILE, lambda path: read_measurements(path.parent)),
    "languages": ("config.json", lambda path: describe(path.parent).languages == "en"),
    "vocabulary": ("vocabulary.txt", lambda path: describe(path.parent).languages == "en"),
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_can_be_done_without_is_done_without(
    name: str, put: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    file_name, read = PASSED_OVER[name]
    assert not read(put(Path(file_name)).absolute())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def made(layout: str) -> Path:
        folder = tmp_path_factory.mktemp(layout)
        write = write_mlx if layout == "mlx" else write_ctranslate2
        write(folder, small_tensors(), SMALL)
        return folder

    return made


@pytest.mark.parametrize(
    ("layout", "file_name"),
    [
        ("mlx", "config.json"),
        ("mlx", "weights.safetensors"),
        ("mlx", "tokenizer.json"),
        ("ctranslate2", "model.bin"),
    ],
)
def test_a_model_with_something_odd_among_its_files_is_refused(
    layout: str,
    file_name: str,
    put: Callable[[Path], Path],
    whole: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = whole(layout)
    monkeypatch.chdir(model)
    for other in model.glob("vocab*" if file_name == "tokenizer.json" else "none"):
        other.unlink()
    put(Path(file_name))
    describe(model)
    with pytest.raises(VoiceDaemonError):
        load_weights(model)


def test_a_manifest_that_is_none_is_no_proof(
    put: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = put(Path(MANIFEST))
    if path.is_symlink() and not path.exists():
        assert read_manifest(tmp_path) is None
        return
    with pytest.raises(VoiceDaemonError, match=MANIFEST):
        read_manifest(tmp_path)
