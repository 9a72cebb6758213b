"""Most attended frames of a decoder's scores, as `alignatt.attended_frames` finds them.

On a GPU the statistics over all tokens are computed there, where the scores are: the rows of new
tokens alone come back.
"""

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.alignatt import MEDIAN_WIDTH, attended_frames, peaks


def attended(
    scores: mx.array, *, since: int = 0, smoothing: int = MEDIAN_WIDTH
) -> NDArray[np.int64]:
    """See `alignatt.attended_frames`."""
    if mx.default_device() == mx.Device(mx.cpu):
        return attended_frames(np.array(scores), since=since, smoothing=smoothing)
    return attended_on_device(scores, since=since, smoothing=smoothing)


def attended_on_device(scores: mx.array, *, since: int, smoothing: int) -> NDArray[np.int64]:
    """The same, with MLX's operations before the median filter."""
    weights = mx.softmax(scores, axis=-1)
    if not smoothing or weights.shape[1] == 1:
        return peaks(np.array(weights[:, since:]), smoothing=0)
    weights = weights - weights.mean(axis=1, keepdims=True)
    deviation = mx.sqrt(mx.square(weights).mean(axis=1, keepdims=True))
    return peaks(np.array(weights[:, since:] / (deviation + 1e-6)), smoothing=smoothing)
