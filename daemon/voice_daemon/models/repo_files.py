"""Selection of the files of a repository that make a model, and of a missing vocabulary's source.

Pickled weights are never chosen: opening one runs whatever its author put in.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from voice_daemon.errors import ModelError
from voice_daemon.models.catalogue import FIRST_MULTILINGUAL_VOCABULARY

CONFIG: Final = "config.json"

_VOCABULARIES: Final = ("tokenizer.json", "vocab.json", "vocabulary.txt", "vocabulary.json")
_SIDE_FILES: Final = (
    CONFIG,
    "generation_config.json",
    "preprocessor_config.json",
    "added_tokens.json",
    *_VOCABULARIES,
)
_WHOLE_WEIGHTS: Final = ("model.safetensors", "weights.safetensors", "weights.npz")
_SHARD: Final = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)
_SHARD_INDEX: Final = "model.safetensors.index.json"
_CTRANSLATE2_WEIGHTS: Final = "model.bin"
_PICKLED: Final = re.compile(r".*\.(bin|pt|pth|ckpt|pkl)")

_CTRANSLATE2_KEYS: Final = frozenset({"alignment_heads", "lang_ids", "suppress_ids"})
_SIZE_BY_LAYERS: Final = {
    (4, 4): "tiny",
    (6, 6): "base",
    (12, 12): "small",
    (24, 24): "medium",
    (32, 32): "large",
    (32, 4): "large-v3-turbo",
}
"""(encoder layers, decoder layers) of OpenAI's published models."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub, as the hub describes it."""

    name: str
    size_bytes: int
    digest: str
    """64 hex digits: the SHA-256 of a large file. 40: the git blob SHA-1 of a small one."""
    repo_id: str
    revision: str
    """The commit, so that every file of a pull is of one moment."""


@dataclass(frozen=True, slots=True)
class VocabularySource:
    """OpenAI's own repository for a model that came without its vocabulary."""

    repo_id: str
    same_model: bool
    """True when it is the very model, so that its alignment heads are right too."""


def select_files(repo_id: str, names: Iterable[str]) -> tuple[str, ...]:
    """Choose the files to fetch from a repository that holds `names`.

    Only plain names are considered, never a path. Raises `ModelError` where there is no
    `config.json` or no weights that can be read without running code.
    """
    present = {name for name in names if "/" not in name and "\\" not in name}
    if CONFIG not in present:
        whisper_cpp = any(name.startswith("ggml") for name in present)
        raise ModelError(
            "models.not_a_model",
            f"{repo_id} has no {CONFIG}, so it is not a model that can be used",
            remedy=(
                "download one ggml file yourself and set asr.model to its folder"
                if whisper_cpp
                else "choose another repository; `daemonctl models list` recommends some"
            ),
        )
    weights = _select_weights(repo_id, present)
    return tuple(name for name in _SIDE_FILES if name in present) + weights


def _select_weights(repo_id: str, present: set[str]) -> tuple[str, ...]:
    """One whole file, else all shards, else CTranslate2's: told from a pickle by its vocabulary."""
    for name in _WHOLE_WEIGHTS:
        if name in present:
            return (name,)
    shards = sorted(name for name in present if _SHARD.fullmatch(name))
    if shards and _SHARD_INDEX in present:
        return (_SHARD_INDEX, *shards)
    if _CTRANSLATE2_WEIGHTS in present and {"vocabulary.txt", "vocabulary.json"} & present:
        return (_CTRANSLATE2_WEIGHTS,)
    pickled = sorted(name for name in present if _PICKLED.fullmatch(name))
    if pickled:
        raise ModelError(
            "models.pickled",
            f"{repo_id} has only pickled weights ({', '.join(pickled)}), which can run any code",
            remedy="choose a repository with safetensors, MLX or CTranslate2 weights",
        )
    raise ModelError(
        "models.not_a_model",
        f"{repo_id} has no weights that can be read",
        remedy="choose a repository with safetensors, MLX or CTranslate2 weights",
    )


def check_config(repo_id: str, config: Mapping[str, Any], chosen: Iterable[str]) -> None:
    """Raise `ModelError` unless `config.json` describes a Whisper model in the chosen layout."""
    if _CTRANSLATE2_WEIGHTS in chosen:
        good = bool(_CTRANSLATE2_KEYS & config.keys())
    else:
        good = "n_audio_state" in config or config.get("model_type") == "whisper"
    if not good:
        kind = config.get("model_type", "unknown")
        raise ModelError(
            "models.not_whisper",
            f"{repo_id} is not a Whisper model that can be read (its config.json says {kind!r})",
            remedy="choose another repository; `daemonctl models list` recommends some",
        )


def vocabulary_source_of(
    repo_id: str, config: Mapping[str, Any], chosen: Iterable[str]
) -> VocabularySource | None:
    """Name the repository that has the vocabulary; None when the model brings its own.

    Goes by the model's dimensions, not its name: fine-tunes are called anything. OpenAI's
    models share three vocabularies, told apart by their size: English, multilingual, and
    large-v3's with one language more.
    """
    if set(_VOCABULARIES) & set(chosen):
        return None
    layers = (
        _number(config, "n_audio_layer", "encoder_layers"),
        _number(config, "n_text_layer", "decoder_layers"),
    )
    size = _SIZE_BY_LAYERS.get(layers)
    n_vocab = _number(config, "n_vocab", "vocab_size")
    if n_vocab < FIRST_MULTILINGUAL_VOCABULARY:
        family, model = "tiny.en", f"{size}.en"
    elif n_vocab == FIRST_MULTILINGUAL_VOCABULARY:
        # large-v1 has large-v2's dimensions but other alignment heads; only its name tells.
        first = "large" if re.search(r"large-(v1|mlx)", repo_id) else "large-v2"
        family, model = "tiny", first if size == "large" else f"{size}"
    else:
        family, model = "large-v3", "large-v3" if size == "large" else f"{size}"
    if size is None:
        return VocabularySource(f"openai/whisper-{family}", same_model=False)
    return VocabularySource(f"openai/whisper-{model}", same_model=True)


def _number(config: Mapping[str, Any], *keys: str) -> int:
    """Read the first of `keys` that is there: MLX and transformers name them differently."""
    value = next((config[key] for key in keys if key in config), 0)
    return value if isinstance(value, int) else 0


def select_vocabulary_files(source: VocabularySource, names: Iterable[str]) -> tuple[str, ...]:
    """Choose the vocabulary, and the alignment heads where they are this model's.

    Raises `ModelError` when the source has no vocabulary after all.
    """
    present = set(names)
    vocabularies = [name for name in ("tokenizer.json", "vocab.json") if name in present]
    if not vocabularies:
        raise ModelError(
            "models.no_vocabulary",
            f"{source.repo_id} has no vocabulary to complete the model with",
            remedy="choose a repository that brings tokenizer.json or vocab.json",
        )
    wanted = [*vocabularies, "added_tokens.json"]
    if source.same_model:
        wanted.append("generation_config.json")
    return tuple(name for name in wanted if name in present)
