"""Guesses of what will be decoded, verified many tokens in one pass.

Streaming reads nearly the same text again at every step, so the reading before is a good guess.
Pure; knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RESUME_WITHIN = 8
"""How far ahead in a guess the newest token is looked for after a difference."""
VERIFIED_AT_ONCE = 12
"""Tokens of a guess that are read in one pass after a difference; most differ again sooner."""


class Rest:
    """What is left of a guess once a token came that it did not foresee.

    Two readings of the same audio differ in a word and then agree again: where the newest token
    stands a little further on in the guess, what follows it there is worth verifying.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)

    def after(self, token: int) -> list[int]:
        """Tokens that may follow `token`; [] where the guess does not have it nearby."""
        nearby = self._tokens[:RESUME_WITHIN]
        if token not in nearby:
            return []
        self._tokens = self._tokens[nearby.index(token) + 1 :]
        return self._tokens[:VERIFIED_AT_ONCE]

    def drop(self, n_tokens: int) -> None:
        """Forget the first, which were verified."""
        self._tokens = self._tokens[n_tokens:]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        length += 1
    return length
