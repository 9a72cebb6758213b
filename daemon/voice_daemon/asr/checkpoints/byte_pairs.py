"""Reads the byte-pair vocabulary of a model folder, in any of the forms that layouts use.

Owns the file formats and GPT-2's printable byte alphabet; `tokenizer` knows what the special
tokens mean.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from voice_daemon.asr.checkpoints.binary import read_text
from voice_daemon.errors import ModelError


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a model, and the special ones that its own files name."""

    tokens: tuple[bytes, ...]
    """Token id -> its bytes; the text tokens come first, special ones may follow."""
    added: Mapping[str, int] = field(default_factory=dict)
    """Special tokens as the file numbers them; empty where the format has none."""
    source: str = ""
    """The file that it was read from, for messages."""


@cache
def _alphabet() -> dict[int, int]:
    """GPT-2's printable stand-ins, for `str.translate`: character -> the byte it stands for.

    Bytes that print stand for themselves; the others follow in order from U+0100.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in printable]
    return {0x100 + n: byte for n, byte in enumerate(others)}


def _token_bytes(token: str) -> bytes:
    """Turn a token in the printable alphabet into its bytes; anything else is UTF-8."""
    try:
        return token.translate(_alphabet()).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read the vocabulary in `folder`; ModelError where there is none or it is damaged."""
    for name, reader in _READERS.items():
        path = folder / name
        if path.is_file():
            try:
                return reader(path)
            except (
                *(OSError, ValueError, TypeError, AttributeError, KeyError),
                *(OverflowError, RecursionError),
            ) as error:
                raise ModelError(
                    "model.bad_vocabulary",
                    f"{path} is not a vocabulary: {error}",
                    remedy="download the model again with `daemonctl models pull`",
                ) from error
    raise ModelError(
        "model.no_vocabulary",
        f"{folder} has no vocabulary ({', '.join(_READERS)})",
        remedy="download the model with `daemonctl models pull`, which adds it, or copy "
        "tokenizer.json from the openai/whisper repository of the same size",
    )


def _read_tokenizer_json(path: Path) -> Vocabulary:
    document = _read_json(path)
    added = {str(entry["content"]): int(entry["id"]) for entry in document["added_tokens"]}
    return Vocabulary(_by_id(document["model"]["vocab"]), added, str(path))


def _read_vocab_json(path: Path) -> Vocabulary:
    added_path = path.with_name("added_tokens.json")
    added = _read_json(added_path) if added_path.is_file() else {}
    return Vocabulary(
        _by_id(_read_json(path)), {str(name): int(at) for name, at in added.items()}, str(path)
    )


def _read_vocabulary_json(path: Path) -> Vocabulary:
    return _from_lines(_read_json(path), path)


def _read_vocabulary_txt(path: Path) -> Vocabulary:
    return _from_lines(read_text(path).removesuffix("\n").split("\n"), path)


def _from_lines(tokens: Iterable[str], path: Path) -> Vocabulary:
    spelled = list(tokens)
    added = {
        token: at
        for at, token in enumerate(spelled)
        if len(token) > 4 and token.startswith("<|") and token.endswith("|>")
    }
    return Vocabulary(tuple(_token_bytes(token) for token in spelled), added, str(path))


def _by_id(ids: Mapping[str, int]) -> tuple[bytes, ...]:
    """Order the tokens' bytes by id; ValueError unless the ids are 0, 1, 2, ..."""
    tokens = sorted(ids.items(), key=lambda entry: entry[1])
    if [at for _, at in tokens] != list(range(len(tokens))):
        raise ValueError("its token ids have holes or repeat")
    return tuple(_token_bytes(token) for token, _ in tokens)


def _read_json(path: Path) -> Any:
    return json.loads(read_text(path))


_READERS: dict[str, Callable[[Path], Vocabulary]] = {
    "tokenizer.json": _read_tokenizer_json,
    "vocab.json": _read_vocab_json,
    "vocabulary.json": _read_vocabulary_json,
    "vocabulary.txt": _read_vocabulary_txt,
}
"""The fullest first; the first that is there is read."""
