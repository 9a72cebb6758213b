"""A wake word's own small network, in a file: embeddings of speech in, a score out.

Written by `daemonctl wake train` and read like any wake model. The file is numpy's `.npz` without
pickled objects: the network's weights, the phrase as it is written, and the score from which this
word counts as heard. docs/adr/0025-wake-words-of-ones-own.md has the reasons.
"""

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from voice_daemon._lib.files import read_bounded, write_atomically
from voice_daemon.errors import ModelError
from voice_daemon.wake.speech_embedding import EMBEDDING_SIZE

HEAD_SUFFIX: Final = ".npz"
HEAD_EMBEDDINGS: Final = 16
"""Embeddings that a score looks at: 1.3 s and what each of them has heard before."""
_N_INPUTS: Final = HEAD_EMBEDDINGS * EMBEDDING_SIZE
_MAX_BYTES: Final = 5_000_000
_MAX_PHRASE_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class WakeHead:
    """Layers of rectified units over the newest 16 embeddings, and one logistic unit for each net.

    Several nets lie side by side in one matrix; the score is the mean of theirs.
    """

    weights: NDArray[np.float32]
    """(1536, nets * hidden), of the embeddings, the oldest first."""
    bias: NDArray[np.float32]
    """(nets * hidden,)"""
    out_weights: NDArray[np.float32]
    """(nets, hidden)"""
    out_bias: NDArray[np.float32]
    """(nets,)"""
    threshold: float
    """The score from which the word counts as heard."""
    phrase: str
    """The wake word as it is spoken: "okay house"."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The shape that a classifier's graph declares."""
        return (1, HEAD_EMBEDDINGS, EMBEDDING_SIZE)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 16, 96) embeddings -> (n,) scores, 0..1."""
        hidden = np.maximum(x.reshape(len(x), _N_INPUTS) @ self.weights + self.bias, 0)
        by_net = hidden.reshape(len(x), *self.out_weights.shape)
        logits = np.einsum("nkh,kh->nk", by_net, self.out_weights) + self.out_bias
        # Beyond that a score is 0 or 1 anyway, and exp would overflow.
        scores: NDArray[np.float32] = (1 / (1 + np.exp(-logits.clip(-30, 30)))).mean(axis=1)
        return scores


def save_head(head: WakeHead, path: Path) -> None:
    """Write a head; the file is there as a whole or not at all."""
    content = BytesIO()
    np.savez(content, **{field.name: getattr(head, field.name) for field in fields(head)})
    write_atomically(path, content.getvalue())


def load_head(path: Path) -> WakeHead:
    """Read a head; raises `ModelError` for a file that is none."""
    try:
        content = BytesIO(read_bounded(path, _MAX_BYTES))
        with ZipFile(content) as archive:
            # What it unpacks to, by its own claim, which reading holds it to.
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                raise ValueError(f"it unpacks to more than {_MAX_BYTES} bytes")
        with np.load(content, allow_pickle=False) as file:
            found: dict[str, Any] = {field.name: file[field.name] for field in fields(WakeHead)}
        return _checked(found)
    except Exception as error:  # whatever numpy and zipfile raise for a damaged file
        raise ModelError(
            "wake.model_unusable",
            f"the wake word model {path} cannot be read: {type(error).__name__}: {error}",
            remedy="train it again with `daemonctl wake train`",
        ) from error


def _checked(found: dict[str, Any]) -> WakeHead:
    """Build a head of a file's arrays; raises `ValueError` or `TypeError` for odd ones."""
    nets, hidden = found["out_weights"].shape
    shapes = {
        "weights": (_N_INPUTS, nets * hidden),
        "bias": (nets * hidden,),
        "out_weights": (nets, hidden),
        "out_bias": (nets,),
    }
    for name, shape in shapes.items():
        if found[name].shape != shape or found[name].dtype != np.float32:
            raise ValueError(f"{name} is {found[name].dtype} {found[name].shape}, not {shape}")
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} holds values that are not finite")
    threshold, phrase = float(found["threshold"]), str(found["phrase"])
    if not 0 < threshold < 1 or len(phrase) > _MAX_PHRASE_CHARS or not phrase.isprintable():
        raise ValueError(f"its threshold is {threshold:g} and its phrase {phrase[:20]!r}")
    return WakeHead(**{name: found[name] for name in shapes}, threshold=threshold, phrase=phrase)
