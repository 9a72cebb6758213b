"""The bundled weights, and small ones, through every layout: the same arrays come back."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import safetensors.numpy

from support.whisper_files import (
    SMALL,
    Tensors,
    as_numpy,
    equal,
    load_fault,
    small_tensors,
    tiny_en,
    tiny_en_folder,
    to_transformers,
    transformers_config,
    write_ctranslate2,
    write_ggml,
    write_mlx,
    write_transformers,
    write_vocabulary,
)
from voice_daemon.asr.checkpoints.load import ModelDimensions, load_weights

TINY_EN_HEADS = ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4))


def test_bundled_model_is_whole() -> None:
    data = tiny_en()
    assert data.layout == "ctranslate2"
    assert data.dims == ModelDimensions(80, 1500, 384, 6, 4, 51_864, 448, 384, 6, 4)
    assert len(data.arrays) == 166
    assert data.arrays["encoder.conv1.weight"].shape == (384, 3, 80)
    assert {array.dtype for array in data.arrays.values()} == {mx.float16}
    assert data.alignment_heads == TINY_EN_HEADS
    assert data.alignment_heads_from == "model"
    assert data.quantization is None


@pytest.mark.parametrize("weights", ["weights.safetensors", "model.safetensors", "weights.npz"])
def test_real_weights_in_mlxs_layout_are_equal(tmp_path: Path, weights: str) -> None:
    tensors = as_numpy(tiny_en().arrays)
    write_mlx(tmp_path, tensors, tiny_en().dims, weights=weights)
    data = load_weights(tmp_path)
    assert data.layout == "mlx"
    assert data.dims == tiny_en().dims
    assert equal(data.arrays, tensors)
    assert (data.alignment_heads, data.alignment_heads_from) == (TINY_EN_HEADS, "published")
    assert data.suppress_tokens is None


def test_real_weights_in_transformers_layout_are_equal(tmp_path: Path) -> None:
    tensors = as_numpy(tiny_en().arrays)
    write_transformers(tmp_path, tensors, tiny_en().dims)
    shutil.copy(tiny_en_folder() / "tokenizer.json", tmp_path)
    data = load_weights(tmp_path)
    assert data.layout == "transformers"
    assert data.dims == tiny_en().dims
    assert equal(data.arrays, tensors)
    assert data.vocabulary.tokens == tiny_en().vocabulary.tokens


def test_real_weights_in_ggmls_layout_are_equal(tmp_path: Path) -> None:
    tensors = as_numpy(tiny_en().arrays)
    tokens = tiny_en().vocabulary.tokens[:50_257]
    data = load_weights(write_ggml(tmp_path / "ggml-tiny.en.bin", tensors, tiny_en().dims, tokens))
    assert data.layout == "ggml"
    assert data.dims == tiny_en().dims
    assert equal(data.arrays, tensors)
    assert data.vocabulary.tokens == tokens
    assert data.alignment_heads == TINY_EN_HEADS


def test_ctranslate2_writes_what_we_read(tmp_path: Path) -> None:
    tensors = small_tensors()
    write_ctranslate2(tmp_path, tensors, SMALL)
    data = load_weights(tmp_path)
    assert data.dims == SMALL
    assert equal(data.arrays, tensors)


def test_equal_tensors_that_ctranslate2_stores_once_are_all_there(tmp_path: Path) -> None:
    tensors = small_tensors()
    for name in tensors:
        if name.endswith("_ln.weight"):
            tensors[name] = np.ones_like(tensors[name])
    write_ctranslate2(tmp_path, tensors, SMALL)
    assert equal(load_weights(tmp_path).arrays, tensors)


@pytest.mark.parametrize(
    ("quantization", "steps"), [("int8", 127), ("int8_float16", 127), ("int16", 1024)]
)
def test_integers_of_ctranslate2_are_within_half_a_step(
    tmp_path: Path, quantization: str, steps: int
) -> None:
    tensors = small_tensors()
    write_ctranslate2(tmp_path, tensors, SMALL, quantization=quantization)
    arrays = as_numpy(load_weights(tmp_path).arrays)
    assert arrays.keys() == tensors.keys()
    for name, tensor in tensors.items():
        exact, found = tensor.astype(np.float64), arrays[name].astype(np.float64)
        half_step = np.abs(exact).max() / steps / 2
        rounding = np.abs(exact).max() * 2**-10  # of the float16 that both are stored in
        assert np.abs(exact - found).max() <= half_step + rounding, name


def test_old_openai_names_are_understood(tmp_path: Path) -> None:
    tensors = small_tensors()
    theirs = {
        name.replace(".mlp1.", ".mlp.0.").replace(".mlp2.", ".mlp.2."): tensor
        for name, tensor in tensors.items()
    }
    theirs["encoder.positional_embedding"] = np.zeros((20, 128), np.float16)
    write_mlx(tmp_path, theirs, SMALL, weights="weights.npz")
    assert equal(load_weights(tmp_path).arrays, tensors)


def test_mlx_names_with_a_transformers_configuration_load(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL, weights="model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(transformers_config(SMALL)))
    data = load_weights(tmp_path)
    assert data.layout == "mlx"
    assert equal(data.arrays, small_tensors())


def test_bfloat16_and_float32_keep_their_precision(tmp_path: Path) -> None:
    wide = {name: tensor.astype(np.float32) for name, tensor in small_tensors().items()}
    write_mlx(tmp_path, wide, SMALL)
    assert equal(load_weights(tmp_path).arrays, wide)
    brain = {name: mx.array(tensor).astype(mx.bfloat16) for name, tensor in wide.items()}
    mx.save_safetensors(str(tmp_path / "weights.safetensors"), brain)
    loaded = load_weights(tmp_path).arrays
    assert {array.dtype for array in loaded.values()} == {mx.bfloat16}
    assert all(mx.array_equal(loaded[name], brain[name]).item() for name in brain)


def shard(folder: Path, tensors: Tensors) -> dict[str, str]:
    """Two files of transformers' tensors -> the index's map."""
    theirs = to_transformers(tensors)
    names = sorted(theirs)
    where = {name: f"model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(names)}
    for file in set(where.values()):
        part = {name: theirs[name] for name in names if where[name] == file}
        safetensors.numpy.save_file(part, folder / file)
    (folder / "config.json").write_text(json.dumps(transformers_config(SMALL)))
    write_vocabulary(folder)
    return where


def test_shards_are_joined(tmp_path: Path) -> None:
    where = shard(tmp_path, small_tensors())
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert equal(load_weights(tmp_path).arrays, small_tensors())


@pytest.mark.parametrize("outside", ["../secret.safetensors", "absent.safetensors", ""])
def test_index_cannot_name_files_elsewhere(tmp_path: Path, outside: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.safetensors").touch()
    where = shard(folder, small_tensors()) | {"model.encoder.conv1.bias": outside}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert "not in the folder" in load_fault(folder).message


def quantised(tensors: Tensors) -> dict[str, mx.array]:
    """As `mlx.nn.quantize` leaves a model: every linear layer and the token embedding."""
    arrays: dict[str, mx.array] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and name.endswith(".weight"):
            stem = name.removesuffix(".weight")
            packed, scales, biases = mx.quantize(mx.array(tensor), group_size=64, bits=4)
            arrays |= {name: packed, f"{stem}.scales": scales, f"{stem}.biases": biases}
        else:
            arrays[name] = mx.array(tensor)
    return arrays


def write_quantised(folder: Path, arrays: dict[str, mx.array], **quantization: object) -> None:
    settings = {"group_size": 64, "bits": 4, **quantization}
    config = {**asdict(SMALL), "quantization": settings}
    mx.save_safetensors(str(folder / "weights.safetensors"), arrays)
    (folder / "config.json").write_text(json.dumps(config))
    write_vocabulary(folder)


def test_quantised_weights_keep_their_scales_and_biases(tmp_path: Path) -> None:
    arrays = quantised(small_tensors())
    write_quantised(tmp_path, arrays)
    data = load_weights(tmp_path)
    assert data.quantization == {"group_size": 64, "bits": 4}
    assert equal(data.arrays, as_numpy(arrays))


def test_quantised_weight_without_its_biases_is_refused(tmp_path: Path) -> None:
    arrays = quantised(small_tensors())
    del arrays["decoder.token_embedding.biases"]
    write_quantised(tmp_path, arrays)
    assert "tensor decoder.token_embedding.biases is missing" in load_fault(tmp_path).message


def test_quantised_weight_of_other_bits_is_refused(tmp_path: Path) -> None:
    write_quantised(tmp_path, quantised(small_tensors()), bits=8)
    assert "has shape" in load_fault(tmp_path).message


@pytest.mark.parametrize("wrong", [{"bits": 7}, {"group_size": "64"}, {"mode": "mxfp4"}])
def test_unknown_quantisation_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    write_quantised(tmp_path, quantised(small_tensors()), **wrong)
    assert load_fault(tmp_path).code == "model.bad_config"
