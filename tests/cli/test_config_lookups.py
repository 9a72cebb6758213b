"""A configuration check looks for what is named: models, wake words, and what a model can do."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from support.whisper_files import tiny_en_folder
from voice_daemon.cli.config import (
    absent_paths,
    missing_models,
    unusable_files,
    unwritable_folders,
)
from voice_daemon.config import load_effective
from voice_daemon.models.catalogue import describe
from voice_daemon.paths import default_paths
from voice_daemon.wake.models import own_file, own_wake_words


def found(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    file.chmod(0o600)
    effective = load_effective(file, {"VOICE_DAEMON_HOME": str(tmp_path)})
    missing = missing_models(effective, models_dir=tmp_path / "models")
    return [str(mistake) for mistake in (*missing, *unusable_files(effective, {}))]


def test_the_defaults_are_all_there(tmp_path: Path) -> None:
    assert found(tmp_path, "") == []


@pytest.mark.parametrize(
    ("text", "blamed"),
    [
        ('[wake]\nmodels = ["hey_jarvs"]', "there is no wake word 'hey_jarvs'"),
        ('[wake]\nmodels = ["alexa", "./nope.onnx"]', "nope.onnx does not exist"),
        ('[wake]\nmodels = ["/dev/null"]', "the wake word model /dev/null is not a file"),
        ('[asr]\nmodel = "openai/whisper-none"', "[asr] model = "),
        ('[asr]\nmodel = "small"', "daemonctl models pull small"),
    ],
)
def test_a_model_that_is_not_there_is_a_mistake(tmp_path: Path, text: str, blamed: str) -> None:
    (line,) = found(tmp_path, text)
    assert blamed in line


def test_a_wake_word_of_ones_own_is_read_and_only_files_are_wake_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    own = own_file("okay_house")
    own.parent.mkdir()
    own.write_bytes(b"no head")
    own.with_stem("folder").mkdir()
    (line,) = found(tmp_path, '[wake]\nmodels = ["okay house"]')
    assert "okay_house.npz cannot be read" in line
    assert own_wake_words() == ("okay_house",)


def test_a_folder_that_is_not_there_may_be_a_drive_that_is_mounted_later(tmp_path: Path) -> None:
    text = '[asr]\nmodel = "./drive/model"'
    assert found(tmp_path, text) == []
    effective = load_effective(tmp_path / "config.toml", {"VOICE_DAEMON_HOME": str(tmp_path)})
    (warning,) = absent_paths(effective)
    assert "no such folder now" in warning.message


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (line,) = found(tmp_path, '[asr]\nmodel = "./empty"')
    assert "there are no weights in that folder" in line


@pytest.mark.parametrize(
    ("text", "content", "blamed"),
    [
        ("tls = true\nca_file", "no certificate", "[mqtt] ca_file = "),
        ("tls = true\ncert_file", "no certificate", "[mqtt] cert_file = "),
        ('username = "me"\npassword_file', "two\nlines\n", "[mqtt] password_file = "),
        ("[vocabulary]\nfile", "{", "[vocabulary] file = "),
    ],
)
def test_a_file_that_does_not_hold_what_it_should_is_a_mistake(
    tmp_path: Path, text: str, content: str, blamed: str
) -> None:
    named = tmp_path / "named"
    named.write_text(content)
    named.chmod(0o600)
    (line,) = found(tmp_path, f'[mqtt]\n{text} = "./named"')
    assert blamed in line


def test_names_that_are_nowhere_now_are_warnings(tmp_path: Path) -> None:
    assert found(tmp_path, '[vocabulary]\nfile = "./gone"\n[wake.thresholds]\nalexi = 0.7') == []
    effective = load_effective(tmp_path / "config.toml", {"VOICE_DAEMON_HOME": str(tmp_path)})
    names, threshold = absent_paths(effective)
    assert "no such file" in names.message
    assert "alexa" in threshold.remedy


def test_languages_are_told_by_the_models_files_and_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "german.en").mkdir()
    (tmp_path / "german.en" / "config.json").write_text(json.dumps({"vocab_size": 51865}))
    (tmp_path / "german.en" / "model.safetensors").touch()
    (tmp_path / "all").symlink_to(tiny_en_folder())
    language = 'language = "de"\n'
    assert found(tmp_path, f'[asr]\nmodel = "./german.en"\n{language}') == []
    (line,) = found(tmp_path, f'[asr]\nmodel = "./all"\n{language}')
    assert "knows English only" in line
    (line,) = found(tmp_path, '[asr]\nmodel = "./all"\ntask = "translate"\n')
    assert "cannot translate" in line


@pytest.mark.parametrize(("n_tokens", "expected"), [(51_864, True), (51_865, False)])
def test_a_whisper_cpp_file_says_its_vocabulary(
    tmp_path: Path, n_tokens: int, *, expected: bool
) -> None:
    file = tmp_path / "ggml.bin"
    file.write_bytes(struct.pack("<II", 0x67676D6C, n_tokens) + bytes(32))
    assert (describe(file).languages == "en") is expected


def test_a_model_may_be_one_file_of_whisper_cpp_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "ggml.bin"
    file.write_bytes(struct.pack("<II", 0x67676D6C, 51_864) + bytes(32))
    assert found(tmp_path, '[asr]\nmodel = "./ggml.bin"') == []
    file.write_bytes(bytes(100))
    (line,) = found(tmp_path, '[asr]\nmodel = "./ggml.bin"')
    assert "is not a whisper.cpp (ggml) file; name a model folder" in line


@pytest.mark.parametrize("place", ["a file", "a file/below"])
def test_a_place_that_is_no_folder_can_hold_no_files_of_the_daemon(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "a file").touch()
    paths = default_paths({"VOICE_DAEMON_HOME": str(tmp_path / place)})
    (mistake,) = unwritable_folders(paths)
    assert str(mistake).startswith(f"{tmp_path}/a file: is not a folder; make it a folder")
    new = default_paths({"VOICE_DAEMON_HOME": str(tmp_path / "not" / "yet")})
    assert list(unwritable_folders(new)) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff" * 9, b'{"n_vocab": "x"}'])
def test_a_damaged_model_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "ggml.bin").write_bytes(content)
    assert describe(tmp_path).languages != "en"
    assert describe(tmp_path / "ggml.bin").languages != "en"
