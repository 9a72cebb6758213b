"""The room's own noise, so that what is no louder needs no ear: a fan, a fridge, a device's hiss.

In a room where nothing happens the embedding network is most of what listening costs. It need not
run while no part of the spectrum rises above what the room always sounds like. Measured on wake
words from a shout to -48 dBFS, in hiss and in the noise of real rooms: docs/wake-word.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MARGIN_DB: Final = 4.0
"""A sound is louder than the room by this in at least one band. Wake words whose score counts were
louder by more than 8 in every measured recording."""
OPEN_FRAMES: Final = 25
"""Wake frames, 2 s, for which it stays open after the last sound: scores rise until 1.3 s later."""
_LEARN_FRAMES: Final = 40
"""It is open for the first 3.2 s, in which it learns the room."""
_FIRST_FRAMES: Final = 2
"""Taken as they are; the first begins in the silence that stands for what came before."""
_LEARN_DB: Final = 1.0
"""What the noise may rise by in a frame while it is learned."""
_RISE_DB: Final = 0.05
"""The same later, 0.6 dB a second: neither speech nor a television becomes the room's noise, for it
falls at once where they pause."""
_FALL_SHARE: Final = 0.2
"""Share of a fall that is followed in a frame: a second after a vacuum cleaner ends, a soft voice
counts again."""
_LOWEST_MEL: Final = 2
"""Below 130 Hz: hum and steps."""
_BANDS: Final = 5


class RoomNoise:
    """Follows the level of the room in five bands, a wake frame at a time."""

    def __init__(self) -> None:
        self._level_db = np.zeros(_BANDS)
        self._n_frames = 0
        self._open_frames = 0

    def reset(self) -> None:
        """Learn the room anew: what comes next need not follow what was heard."""
        self._n_frames = self._open_frames = 0

    def is_exceeded(self, mels: NDArray[np.float32]) -> bool:
        """Take the (8, 32) mel frames of a wake frame; true while anything may be said."""
        bands = mels[:, _LOWEST_MEL:].reshape(len(mels), _BANDS, -1)
        heard_db = 10 * bands.mean(axis=(0, 2))
        self._n_frames += 1
        learning = self._n_frames <= _LEARN_FRAMES
        if self._n_frames <= _FIRST_FRAMES:
            self._level_db = heard_db
        risen_db = self._level_db + (_LEARN_DB if learning else _RISE_DB)
        fallen_db = self._level_db + _FALL_SHARE * (heard_db - self._level_db)
        is_lower = heard_db < self._level_db
        self._level_db = np.where(is_lower, fallen_db, np.minimum(heard_db, risen_db))
        if learning or (heard_db > self._level_db + MARGIN_DB).any():
            self._open_frames = OPEN_FRAMES
        elif self._open_frames:
            self._open_frames -= 1
        return self._open_frames > 0
