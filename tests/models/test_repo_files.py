from __future__ import annotations

import pytest

from voice_daemon.errors import ModelError
from voice_daemon.models.repo_files import (
    VocabularySource,
    check_config,
    select_files,
    select_vocabulary_files,
    vocabulary_source_of,
)

MLX = {"n_mels": 80, "n_audio_state": 384, "n_audio_layer": 4, "n_text_layer": 4}


def test_an_mlx_repository_gives_config_and_one_weights_file() -> None:
    names = ["README.md", ".gitattributes", "config.json", "weights.npz", "weights.safetensors"]
    assert select_files("o/n", names) == ("config.json", "weights.safetensors")


def test_a_transformers_repository_gives_no_pickles_no_copies_and_no_folders() -> None:
    names = [
        "config.json",
        "flax_model.msgpack",
        "generation_config.json",
        "model.safetensors",
        "model.fp32-00001-of-00002.safetensors",
        "model.fp32-00002-of-00002.safetensors",
        "onnx/model.onnx",
        "preprocessor_config.json",
        "pytorch_model.bin",
        "tokenizer.json",
        "vocab.json",
        "../evil/vocabulary.txt",
        "sub/config.json",
    ]
    assert select_files("o/n", names) == (
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocab.json",
        "model.safetensors",
    )


def test_sharded_weights_come_with_all_shards_and_their_index() -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (2, 1)]
    names = ["config.json", "vocab.json", "model.safetensors.index.json", *shards]
    assert select_files("o/n", names)[2:] == (
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    )


def test_model_bin_with_a_vocabulary_is_ctranslate2() -> None:
    names = ["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"]
    assert "model.bin" in select_files("o/n", names)


@pytest.mark.parametrize(
    "pickle", ["model.bin", "pytorch_model.bin", "model.pt", "last.ckpt", "m.pth"]
)
def test_pickled_weights_are_never_chosen(pickle: str) -> None:
    with pytest.raises(ModelError) as raised:
        select_files("o/n", ["config.json", "tokenizer.json", pickle])
    assert raised.value.code == "models.pickled"
    assert pickle in raised.value.message


@pytest.mark.parametrize("names", [[], ["README.md"], ["config.json"], ["config.json/x"]])
def test_a_repository_without_a_model_is_refused(names: list[str]) -> None:
    with pytest.raises(ModelError) as raised:
        select_files("o/n", names)
    assert raised.value.code == "models.not_a_model"


def test_whisper_cpps_repository_is_told_what_to_do_instead() -> None:
    with pytest.raises(ModelError, match="ggml"):
        select_files("ggerganov/whisper.cpp", ["ggml-base.en.bin", "README.md"])


@pytest.mark.parametrize(
    ("config", "chosen"),
    [
        (MLX, ["weights.npz"]),
        ({"model_type": "whisper"}, ["model.safetensors"]),
        ({"lang_ids": []}, ["model.bin"]),
    ],
)
def test_whisper_configs_are_recognised(config: dict[str, object], chosen: list[str]) -> None:
    check_config("o/n", config, chosen)


@pytest.mark.parametrize(
    ("config", "chosen"),
    [
        ({"model_type": "llama"}, ["model.safetensors"]),
        ({}, ["weights.npz"]),
        ({"model_type": "whisper"}, ["model.bin"]),
    ],
)
def test_other_models_are_refused(config: dict[str, object], chosen: list[str]) -> None:
    with pytest.raises(ModelError) as raised:
        check_config("o/n", config, chosen)
    assert raised.value.code == "models.not_whisper"


@pytest.mark.parametrize(
    ("repo_id", "layers", "n_vocab", "expected"),
    [
        ("m/whisper-tiny.en-mlx", (4, 4), 51_864, "openai/whisper-tiny.en"),
        ("m/whisper-tiny-mlx", (4, 4), 51_865, "openai/whisper-tiny"),
        ("m/my-own-fine-tune", (6, 6), 51_865, "openai/whisper-base"),
        ("m/whisper-small.en-mlx-q4", (12, 12), 51_864, "openai/whisper-small.en"),
        ("m/whisper-medium-mlx", (24, 24), 51_865, "openai/whisper-medium"),
        ("m/whisper-large-v1-mlx", (32, 32), 51_865, "openai/whisper-large"),
        ("m/whisper-large-v2-mlx", (32, 32), 51_865, "openai/whisper-large-v2"),
        ("m/whisper-large-v3-mlx", (32, 32), 51_866, "openai/whisper-large-v3"),
        ("m/whisper-large-v3-turbo", (32, 4), 51_866, "openai/whisper-large-v3-turbo"),
    ],
)
def test_the_vocabulary_comes_from_the_very_model_by_its_dimensions(
    repo_id: str, layers: tuple[int, int], n_vocab: int, expected: str
) -> None:
    config = {"n_audio_layer": layers[0], "n_text_layer": layers[1], "n_vocab": n_vocab}
    assert vocabulary_source_of(
        repo_id, config, ["config.json", "weights.npz"]
    ) == VocabularySource(expected, same_model=True)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"n_audio_layer": 32, "n_text_layer": 2, "n_vocab": 51_866}, "openai/whisper-large-v3"),
        ({"n_audio_layer": 12, "n_text_layer": 4, "n_vocab": 51_864}, "openai/whisper-tiny.en"),
        ({"encoder_layers": 9, "decoder_layers": 9, "vocab_size": 51_865}, "openai/whisper-tiny"),
        ({"n_audio_layer": [], "n_text_layer": "x"}, "openai/whisper-tiny.en"),
    ],
)
def test_an_unpublished_shape_borrows_a_vocabulary_but_no_alignment_heads(
    config: dict[str, object], expected: str
) -> None:
    source = vocabulary_source_of("o/distilled", config, ["weights.npz"])
    assert source == VocabularySource(expected, same_model=False)
    assert source is not None
    names = ["tokenizer.json", "vocab.json", "generation_config.json", "model.safetensors"]
    assert select_vocabulary_files(source, names) == ("tokenizer.json", "vocab.json")


def test_a_model_with_its_own_vocabulary_needs_no_other_source() -> None:
    assert (
        vocabulary_source_of("o/n", MLX, ["config.json", "vocab.json", "model.safetensors"]) is None
    )


def test_the_same_model_lends_its_alignment_heads_too() -> None:
    source = VocabularySource("openai/whisper-tiny", same_model=True)
    names = ["generation_config.json", "added_tokens.json", "vocab.json", "merges.txt"]
    assert select_vocabulary_files(source, names) == (
        "vocab.json",
        "added_tokens.json",
        "generation_config.json",
    )


def test_a_source_without_vocabulary_is_an_error() -> None:
    with pytest.raises(ModelError, match="no vocabulary"):
        select_vocabulary_files(
            VocabularySource("o/n", same_model=True), ["generation_config.json"]
        )
