"""AlignAtt as pure functions of arrays: which frames a token attends, and what is safe.

The policy is that of Papi, Turchi and Negri, "AlignAtt: Using Attention-based Audio-Translation
Alignments as a Guide for Simultaneous Speech Translation" (Interspeech 2023, arXiv 2305.11408):
a token is emitted once the audio frame it attends to most lies safely before the end of the
audio heard so far. Knows nothing of MLX, models or tokenizers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

MEDIAN_WIDTH = 7
"""Frames of the median filter over attention, as in Whisper's own word timing."""


def get_most_attended_frame(
    cross_qk: Sequence[ArrayLike | None], alignment_heads: Sequence[tuple[int, int]]
) -> int:
    """The encoder frame that the newest token attends to most, averaged over the heads.

    `cross_qk[layer]` holds that layer's attention scores before the softmax, (n_heads,
    n_tokens, n_frames) or the same with a leading batch of one; layers without an alignment
    head may be None. Only frames of real audio belong in it. Raises ValueError without heads.
    """
    if not alignment_heads:
        raise ValueError("the model has no alignment heads: AlignAtt cannot be used with it")
    rows = []
    for layer, head in alignment_heads:
        scores = np.asarray(cross_qk[layer], dtype=np.float32)
        rows.append(scores.reshape(-1, *scores.shape[-2:])[head, -1])
    return int(softmax(np.stack(rows)).mean(axis=0).argmax())


def should_emit(most_attended_frame: int, content_frames: int, threshold: int) -> bool:
    """True when a token is safe: it attends at least `threshold` frames before the end."""
    return content_frames - most_attended_frame >= threshold


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis, in float32."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights: NDArray[np.float32] = shifted / shifted.sum(axis=-1, keepdims=True)
    return weights


def attended_frames(
    scores: NDArray[np.float32], *, smoothing: int = MEDIAN_WIDTH
) -> NDArray[np.int64]:
    """Most attended frame of every token: (n_heads, n_tokens, n_frames) scores -> (n_tokens,).

    With a `smoothing` of 1 or more, weights are standardised over the tokens and median-filtered
    over so many frames (an odd number) before the mean over heads, which removes the frames that
    every token attends to (Whisper's word timing, and Simul-Whisper, arXiv 2406.10052). 0: the
    mean of the weights as they are.
    """
    weights = softmax(scores)
    if smoothing and weights.shape[1] > 1:
        mean = weights.mean(axis=1, keepdims=True)
        weights = (weights - mean) / (weights.std(axis=1, keepdims=True) + 1e-6)
        weights = median_filter(weights, smoothing)
    frames: NDArray[np.int64] = weights.mean(axis=0).argmax(axis=-1)
    return frames


def median_filter(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Running median over the last axis, edges reflected; shorter rows are left as they are."""
    if width < 3 or values.shape[-1] <= width // 2:
        return values
    padding = [(0, 0)] * (values.ndim - 1) + [(width // 2, width // 2)]
    padded = np.pad(values, padding, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    filtered: NDArray[np.float32] = np.median(windows, axis=-1)
    return filtered
