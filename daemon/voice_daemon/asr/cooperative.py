"""Long work in steps: a generator that yields wherever something else may be done meanwhile.

Knows nothing of the work. MLX's streams belong to a thread, so that a thread which has to load
a model and to listen as well can only do both by turns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that gives its result at its end."""


def grouped(steps: Steps[T], n_together: int) -> Steps[T]:
    """Do the same with `n_together` steps in one."""
    while True:
        for _ in range(n_together):
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
        yield


def at_once(steps: Steps[T]) -> T:
    """Do all steps, one after another, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def eager(stepwise: Callable[P, Steps[T]]) -> Callable[P, T]:
    """Make the function that does all of a stepwise one's work in one call."""

    @functools.wraps(stepwise)
    def in_one_call(*args: P.args, **kwargs: P.kwargs) -> T:
        return at_once(stepwise(*args, **kwargs))

    return in_one_call
