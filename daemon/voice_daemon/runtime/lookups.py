"""Looks up what a configuration names: wake words, the recogniser, and the languages it knows.

`daemonctl config check` calls it, so that what the check accepts works when the daemon starts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from voice_daemon._lib.files import open_to_read, read_bounded, read_json
from voice_daemon.config import AsrSettings, Effective, Mistake
from voice_daemon.config.values import names_a_path
from voice_daemon.errors import ModelError
from voice_daemon.models import resolve
from voice_daemon.wake.detector import check_models

ENGLISH_ONLY_TOKENS: Final = 51_864
"""Whisper's vocabularies: one token less than the multilingual ones."""
_ENGLISH_ONLY_LINES: Final = (50_256, 51_864)
"""Lines of a vocabulary file, without and with Whisper's own tokens."""
_WEIGHTS: Final = frozenset({".bin", ".npz", ".safetensors"})
_GGML_HEADER: Final = struct.Struct("<II")


def missing_models(effective: Effective, *, models_dir: Path) -> Iterator[Mistake]:
    """Find the models that are named and not there, and what they cannot do."""
    wake = effective.settings.wake
    for model in wake.models:
        try:
            check_models(wake.model_copy(update={"models": (model,)}))
        except ModelError as error:
            yield effective.mistake(("wake", "models"), error.message, error.remedy)
    asr = effective.settings.asr
    try:
        folder = resolve(asr.model, models_dir=models_dir)
    except ModelError as error:
        if not is_absent_path(asr):
            yield effective.mistake(("asr", "model"), error.message, error.remedy)
        return
    if folder.is_dir() and not any(found.suffix in _WEIGHTS for found in folder.iterdir()):
        remedy = "name the folder that holds the weights, or fetch the model again"
        yield effective.mistake(("asr", "model"), "there are no weights in that folder", remedy)
    elif is_english_only(folder):
        if asr.language not in {"en", "auto"}:
            remedy = 'set language = "en", or take a multilingual model'
            yield effective.mistake(("asr", "language"), f"{asr.model} knows English only", remedy)
        if asr.task == "translate":
            remedy = 'set task = "transcribe", or take a multilingual model'
            yield effective.mistake(("asr", "task"), f"{asr.model} cannot translate", remedy)


def absent_paths(effective: Effective) -> Iterator[Mistake]:
    """Warn of a recogniser's folder that is not there: its drive may not be mounted yet."""
    asr = effective.settings.asr
    if is_absent_path(asr):
        remedy = "put the model there before the daemon starts, or name another"
        yield effective.mistake(("asr", "model"), "there is no such folder now", remedy)


def is_absent_path(asr: AsrSettings) -> bool:
    """Tell whether the recogniser is named by a path where nothing is."""
    with suppress(OSError, ValueError):
        return names_a_path(asr.model) and not Path(asr.model).expanduser().exists()
    return False


def is_english_only(model: Path) -> bool:
    """Tell by a model's files, never by its name; False where they do not say."""
    with suppress(OSError, ValueError, struct.error):
        if model.is_file():
            with open_to_read(model) as file:
                _, n_tokens = _GGML_HEADER.unpack(file.read(_GGML_HEADER.size))
            return bool(n_tokens == ENGLISH_ONLY_TOKENS)
        return _says_config(model / "config.json") or _says_vocabulary(model)
    return False


def _says_config(file: Path) -> bool:
    if not file.is_file():
        return False
    config = read_json(file)
    if not isinstance(config, dict):
        return False
    return ENGLISH_ONLY_TOKENS in [config.get(key) for key in ("n_vocab", "vocab_size")]


def _says_vocabulary(folder: Path) -> bool:
    for name in ("vocabulary.txt", "vocabulary.json"):
        file = folder / name
        if file.is_file():
            entries = read_json(file) if name.endswith(".json") else read_bounded(file).splitlines()
            return len(entries) in _ENGLISH_ONLY_LINES
    return False
