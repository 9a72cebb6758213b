"""Two word sequences against each other: how many edits apart, and which words are the same.

Edit distance over words (Levenshtein), row by row in numpy. Knows nothing of time or audio.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Words to replace, insert or delete to make one from the other."""
    return int(_table(reference, hypothesis)[-1, -1])


def edits_to_prefix(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Edits from the beginning of `reference` that `hypothesis` fits best.

    What is not said yet costs nothing; what was said wrong, left out or made up does.
    """
    return int(_table(reference, hypothesis)[-1].min())


def same_words(
    reference: Sequence[str], hypothesis: Sequence[str], *, whole: bool = True
) -> tuple[tuple[int, int], ...]:
    """(index in `reference`, index in `hypothesis`) of the equal words of a best alignment.

    Without `whole`, `hypothesis` is aligned with the beginning of `reference` that it fits
    best, so that a word said twice is not mistaken for its second occurrence.
    """
    table = _table(reference, hypothesis)
    row = len(hypothesis)
    column = len(reference) if whole else int(table[-1].argmin())
    pairs = []
    while row and column:
        equal = reference[column - 1] == hypothesis[row - 1]
        here = table[row, column]
        if here == table[row - 1, column - 1] + (not equal):
            row, column = row - 1, column - 1
            if equal:
                pairs.append((column, row))
        elif here == table[row - 1, column] + 1:
            row -= 1
        else:
            column -= 1
    return tuple(reversed(pairs))


def _table(reference: Sequence[str], hypothesis: Sequence[str]) -> NDArray[np.int64]:
    """(n_hypothesis + 1, n_reference + 1): the distances of all beginnings of the two."""
    numbers = {word: number for number, word in enumerate({*reference, *hypothesis})}
    said = np.array([numbers[word] for word in reference], dtype=np.int64)
    columns = np.arange(len(reference) + 1)
    table = np.zeros((len(hypothesis) + 1, len(reference) + 1), dtype=np.int64)
    table[0] = columns
    for row, word in enumerate(hypothesis, start=1):
        above = table[row - 1]
        best = above + 1
        best[1:] = np.minimum(best[1:], above[:-1] + (said != numbers[word]))
        # Deletions run along the row: the least of all cells to the left plus the way.
        table[row] = np.minimum.accumulate(best - columns) + columns
    return table
