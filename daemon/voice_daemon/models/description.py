"""What kind of model a folder holds, told from its small files alone.

For lists and messages; loading, and judging whether weights are good, is `voice_daemon.asr`'s.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voice_daemon._lib.small_files import read_json, read_small

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_MULTILINGUAL_VOCABULARY: Final = 51_865
_GGML_HEAD: Final = struct.Struct("<4si")
"""whisper.cpp's file begins with a magic number and the vocabulary's size."""


@dataclass(frozen=True, slots=True)
class Description:
    """Layout and languages; `unknown` where the folder does not tell."""

    layout: str
    languages: str


def describe(folder: Path) -> Description:
    """Describe a model folder without reading its weights; never raises for what lies there."""
    try:
        layout, n_vocab = _layout_and_vocabulary(folder)
    except (
        *(OSError, ValueError, TypeError, KeyError),
        *(OverflowError, struct.error),
    ):
        return Description("unknown", "unknown")
    if n_vocab is None:
        return Description(layout, "unknown")
    multilingual = n_vocab >= _FIRST_MULTILINGUAL_VOCABULARY
    return Description(layout, "multilingual" if multilingual else "en")


def _layout_and_vocabulary(folder: Path) -> tuple[str, int | None]:
    """Return (layout, vocabulary size). mlx-community's config names transformers' type too."""
    ggml = next(iter(sorted(folder.glob("ggml*.bin"))), None)
    if ggml is not None:
        with ggml.open("rb") as content:
            _, n_vocab = _GGML_HEAD.unpack(content.read(_GGML_HEAD.size))
        return "ggml", n_vocab
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
        return read_small(text).count(b"\n")
    listed = folder / "vocabulary.json"
    return len(read_json(listed)) if listed.is_file() else None
