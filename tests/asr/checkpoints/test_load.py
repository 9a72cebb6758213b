"""Every fault of a model folder has a name: in its tensors, configuration or files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from support.whisper_files import (
    SMALL,
    Tensors,
    equal,
    load_fault,
    small_tensors,
    to_transformers,
    transformers_config,
    write_ctranslate2,
    write_ggml,
    write_mlx,
    write_transformers,
)
from voice_daemon.asr.checkpoints.load import load_weights
from voice_daemon.errors import ModelError


@pytest.fixture(params=["mlx", "transformers", "ctranslate2", "ggml"])
def write(request: pytest.FixtureRequest) -> Callable[[Path, Tensors], Path]:
    """A writer of one layout -> what to load, the file for ggml, else the folder."""
    layout: str = request.param

    def write_layout(folder: Path, tensors: Tensors) -> Path:
        if layout == "ggml":
            return write_ggml(folder / "ggml-small.bin", tensors, SMALL)
        writers = {
            "mlx": write_mlx,
            "transformers": write_transformers,
            "ctranslate2": write_ctranslate2,
        }
        writers[layout](folder, tensors, SMALL)
        return folder

    return write_layout


def test_tensor_with_nan_is_named(tmp_path: Path, write: Callable[[Path, Tensors], Path]) -> None:
    tensors = small_tensors()
    tensors["decoder.blocks.1.mlp2.bias"][3] = np.nan
    assert (
        "tensor decoder.blocks.1.mlp2.bias holds values"
        in load_fault(write(tmp_path, tensors)).message
    )


def test_tensor_with_infinity_is_named(
    tmp_path: Path, write: Callable[[Path, Tensors], Path]
) -> None:
    tensors = small_tensors()
    tensors["encoder.conv2.weight"][1, 2, 3] = -np.inf
    assert (
        "tensor encoder.conv2.weight holds values" in load_fault(write(tmp_path, tensors)).message
    )


def test_missing_tensor_is_named_with_its_file(tmp_path: Path) -> None:
    tensors = small_tensors()
    del tensors["decoder.blocks.0.cross_attn.key.weight"]
    path = write_mlx(tmp_path, tensors, SMALL)
    message = load_fault(tmp_path).message
    assert message == f"{path}: tensor decoder.blocks.0.cross_attn.key.weight is missing"


def test_misshapen_tensor_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = small_tensors()
    tensors["encoder.ln_post.weight"] = np.ones(64, np.float16)
    write_mlx(tmp_path, tensors, SMALL)
    assert (
        "encoder.ln_post.weight has shape (64,), the model needs (128,)"
        in load_fault(tmp_path).message
    )


def test_integer_tensor_is_refused(tmp_path: Path) -> None:
    tensors = small_tensors()
    tensors["encoder.ln_post.weight"] = np.ones(128, np.int32)
    write_mlx(tmp_path, tensors, SMALL)
    assert "encoder.ln_post.weight holds" in load_fault(tmp_path).message


def test_more_layers_than_configured_is_another_models_configuration(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), replace(SMALL, n_text_layer=1))
    assert "is not part of a model of the configured size" in load_fault(tmp_path).message


def test_transposed_convolution_is_not_guessed_when_it_fits_neither(tmp_path: Path) -> None:
    tensors = small_tensors()
    tensors["encoder.conv1.weight"] = np.ones((3, 80, 128), np.float16)
    write_mlx(tmp_path, tensors, SMALL)
    assert "encoder.conv1.weight has shape" in load_fault(tmp_path).message


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"n_audio_state": 0}, "n_audio_state is 0"),
        ({"n_text_layer": -1}, "n_text_layer is -1"),
        ({"n_vocab": 10**12}, "n_vocab is 1000000000000"),
        ({"n_mels": "80"}, "n_mels is '80'"),
        ({"n_mels": True}, "n_mels is True"),
        ({"n_text_state": 64}, "is not n_text_state 64"),
        ({"n_audio_head": 3}, "128 states, 3 heads"),
    ],
)
def test_impossible_dimensions_are_named(
    tmp_path: Path, config: dict[str, object], says: str
) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL, config=config)
    assert says in load_fault(tmp_path).message


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00", "[" * 100_000, '{"n_audio_state": 4}'])
def test_broken_configuration_is_named(tmp_path: Path, content: str) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    (tmp_path / "config.json").write_text(content)
    error = load_fault(tmp_path)
    assert error.code == "model.bad_config"
    assert "config.json" in error.message


def test_weights_without_configuration_are_refused(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    (tmp_path / "config.json").unlink()
    assert "config.json" in load_fault(tmp_path).message


def test_separate_output_layer_is_refused(tmp_path: Path) -> None:
    write_transformers(tmp_path, small_tensors(), SMALL)
    theirs = to_transformers(small_tensors())
    theirs["proj_out.weight"] = theirs["model.decoder.embed_tokens.weight"]
    safetensors.numpy.save_file(theirs, tmp_path / "model.safetensors")
    assert load_weights(tmp_path).layout == "transformers"
    config = {**transformers_config(SMALL), "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "output layer" in load_fault(tmp_path).message


def test_absent_folder_says_so(tmp_path: Path) -> None:
    assert "there is no model at" in load_fault(tmp_path / "nowhere").message


def test_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    assert "model.safetensors" in load_fault(tmp_path).message


@pytest.mark.parametrize("name", ["tiny.en.pt", "pytorch_model.bin"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 a torch file")
    assert "pickle" in load_fault(tmp_path).message


def test_several_ggml_files_must_be_told_apart(tmp_path: Path) -> None:
    for name in ("ggml-a.bin", "ggml-b.bin"):
        write_ggml(tmp_path / name, small_tensors(), SMALL)
    assert "ggml-a.bin, ggml-b.bin" in load_fault(tmp_path).message
    assert load_weights(tmp_path / "ggml-b.bin").source.name == "ggml-b.bin"


def test_single_ggml_file_in_a_folder_is_found_beside_its_vad_model(tmp_path: Path) -> None:
    write_ggml(tmp_path / "ggml-small.bin", small_tensors(), SMALL)
    (tmp_path / "other.bin").write_bytes(b"something else")
    assert equal(load_weights(tmp_path).arrays, small_tensors())


def test_text_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("turn on the lights")
    assert "not a whisper.cpp" in load_fault(path).message


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ggml-loop.bin"
    path.symlink_to(path)
    assert "there is no model" in load_fault(path).message
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.bin").mkdir()
    assert load_fault(folder).code == "model.unreadable"


def test_folder_without_vocabulary_is_refused(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    (tmp_path / "vocabulary.txt").unlink()
    assert load_fault(tmp_path).code == "model.no_vocabulary"


@pytest.mark.parametrize("name", ["config.json", "vocabulary.txt", "generation_config.json"])
def test_a_small_file_that_is_huge_is_refused_and_not_read(tmp_path: Path, name: str) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**35)  # a file with a hole takes no room
    error = load_fault(tmp_path)
    assert name in error.message
    assert "longer than 64 MiB" in error.message


POINTER = """version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 72538600
"""


@pytest.mark.parametrize("name", ["model.safetensors", "weights.npz", "model.bin", "ggml-base.bin"])
def test_a_git_lfs_pointer_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_text(POINTER)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ModelError, match="git-lfs pointer") as caught:
            load_weights(path)
        assert caught.value.code == "model.lfs_pointer"
        assert "git lfs pull" in caught.value.remedy
