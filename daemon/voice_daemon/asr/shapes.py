"""Sizes that arrays are rounded up to where a back end pays for every new shape.

CUDA's builds a plan for each new shape of an attention (40 ms) and of a convolution (3 ms), keeps
256 and 128 of them, and gives up when it builds twice as many; Metal's compiles some kernels. Live
audio brings a new shape at every step. Padded to these sizes and masked, it brings few, and no
word changes.
"""

from typing import Final

HIDDEN: Final = -1e4
"""Added to the scores of keys that stand for nothing; infinity would make a hidden row NaN."""
ROOM_KEYS: Final = 256
"""Keys of audio and silence are few beside a layer's matrices: large steps cost little."""
CACHE_KEYS: Final = 64
LEAST_ROWS: Final = 32


def row_bucket(n_rows: int, *, most: int | None = None) -> int:
    """Rows of an encoder or decoder call, rounded up: four sizes an octave, at most `most`.

    One and two rows, a token with a guess behind it, are the size that most calls have.
    """
    octave = 1 << (n_rows - 1).bit_length() >> 1
    rows = 2 if n_rows <= 2 else rounded_up(n_rows, max(LEAST_ROWS, octave // 4))
    return rows if most is None else min(rows, most)


def sample_bucket(n_rows: int) -> int:
    """Rows that tokens are chosen from, rounded up; one or two are what most calls have."""
    return n_rows if n_rows <= 2 else rounded_up(n_rows, 8)


def rounded_up(n: int, multiple: int) -> int:
    """The next multiple of `multiple` from `n` on."""
    return -(-n // multiple) * multiple
