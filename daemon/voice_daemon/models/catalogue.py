"""Names of recogniser models, the folder of each, and a folder's description."""

import difflib
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from voice_daemon._lib.files import open_to_read, read_bounded, read_json
from voice_daemon.errors import ModelError

FIRST_MULTILINGUAL_VOCABULARY: Final = 51_865
"""Tokens of a multilingual model; large-v3 has one language more."""
ENGLISH_VOCABULARIES: Final = frozenset({50_256, 51_864})
"""Tokens of an English-only model, without and with Whisper's own."""
_GGML_MAGIC: Final = 0x67676D6C.to_bytes(4, "little")
_GGML_HEAD: Final = struct.Struct("<4si")
"""whisper.cpp's file begins with a magic number and the vocabulary's size."""


@dataclass(frozen=True, slots=True)
class Description:
    """Layout and languages; `unknown` where the folder does not tell."""

    layout: str
    languages: str


def describe(model: Path) -> Description:
    """Describe a model's folder, or whisper.cpp's one file, without reading its weights.

    Never raises for what lies there.
    """
    try:
        layout, n_vocab = _layout_and_vocabulary(model)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, struct.error):
        return Description("unknown", "unknown")
    if n_vocab is None:
        return Description(layout, "unknown")
    return Description(layout, "en" if n_vocab in ENGLISH_VOCABULARIES else "multilingual")


def _layout_and_vocabulary(folder: Path) -> tuple[str, int | None]:
    """Return (layout, vocabulary size). mlx-community's config names transformers' type too."""
    files = [folder] if folder.is_file() else sorted(folder.glob("ggml*.bin"))
    for ggml in files:
        with open_to_read(ggml) as content:
            magic, n_vocab = _GGML_HEAD.unpack(content.read(_GGML_HEAD.size))
        return ("ggml", n_vocab) if magic == _GGML_MAGIC else ("unknown", None)
    config: Any = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise TypeError("config.json is not an object")
    if "n_audio_state" in config:
        return "mlx", int(config["n_vocab"])
    if config.get("model_type") == "whisper":
        return "transformers", int(config["vocab_size"])
    if (folder / "model.bin").is_file():
        return "ctranslate2", _count_vocabulary(folder)
    return "unknown", None


def _count_vocabulary(folder: Path) -> int | None:
    """CTranslate2's config has no sizes; its vocabulary has one line or list item a token."""
    text = folder / "vocabulary.txt"
    if text.is_file():
        return read_bounded(text).count(b"\n")
    listed = folder / "vocabulary.json"
    return len(read_json(listed)) if listed.is_file() else None


_REPO_ID: Final = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
_MAX_REPO_ID_LENGTH: Final = 96
"""The hub's own limit."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A short name for a published model."""

    name: str
    repo_id: str
    approx_mb: int
    """Rounded size of the download, in units of 10^6 bytes."""
    languages: str
    advice: str = ""
    """Use that it suits; empty for those that we do not recommend first."""


CATALOGUE: Final = (
    CatalogueEntry(
        "tiny.en", "mlx-community/whisper-tiny.en-mlx", 75, "en", "tests and the demo; bundled"
    ),
    CatalogueEntry("tiny", "mlx-community/whisper-tiny-mlx", 75, "multilingual"),
    CatalogueEntry(
        "base.en", "mlx-community/whisper-base.en-mlx", 145, "en", "English, the least delay"
    ),
    CatalogueEntry("base", "mlx-community/whisper-base-mlx", 145, "multilingual"),
    CatalogueEntry(
        "small.en", "mlx-community/whisper-small.en-mlx", 485, "en", "English, commands at home"
    ),
    CatalogueEntry(
        "small", "mlx-community/whisper-small-mlx", 485, "multilingual", "other languages"
    ),
    CatalogueEntry("medium.en", "mlx-community/whisper-medium.en-mlx", 1530, "en"),
    CatalogueEntry("medium", "mlx-community/whisper-medium-mlx", 1530, "multilingual"),
    CatalogueEntry("large-v3", "mlx-community/whisper-large-v3-mlx", 3090, "multilingual"),
    CatalogueEntry(
        "large-v3-turbo",
        "mlx-community/whisper-large-v3-turbo",
        1620,
        "multilingual",
        "the fewest mistakes; wants 8 GB of memory or more",
    ),
)

_REPO_BY_NAME: Final = {entry.name: entry.repo_id for entry in CATALOGUE}


def repo_of(name: str) -> str:
    """Return the hub repository that `name` stands for: a short name, or an id itself.

    Raises `ModelError` for anything else, in particular for what looks like a path.
    """
    if name in _REPO_BY_NAME:
        return _REPO_BY_NAME[name]
    if is_repo_id(name):
        return name
    close = difflib.get_close_matches(name, _REPO_BY_NAME, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ModelError(
        "models.bad_name",
        f"{name!r} is neither a short name nor a Hugging Face repository id (owner/name)",
        remedy=f"{hint}short names: {', '.join(_REPO_BY_NAME)}",
    )


def is_repo_id(name: str) -> bool:
    """Tell whether `name` is a well-formed `owner/name`, by the hub's own rules."""
    return (
        _REPO_ID.fullmatch(name) is not None
        and len(name) <= _MAX_REPO_ID_LENGTH
        and "--" not in name
        and ".." not in name
        and not name.endswith(".git")
    )


def folder_name(repo_id: str) -> str:
    """`owner/name` -> `owner--name`; the hub forbids `--` in ids, so it can be undone."""
    return repo_id.replace("/", "--")


def repo_of_folder(folder: str) -> str:
    """Undo `folder_name`."""
    return folder.replace("--", "/")
