"""Long work in steps: a generator that yields wherever something else may be done meanwhile.

MLX's streams belong to a thread, so that the thread which finalises the older part of long
speech and listens as well can only do both by turns. What needs no turns is a plain function.
"""

from collections.abc import Callable, Generator
from functools import wraps
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


def eager(work: Callable[P, Steps[T]]) -> Callable[P, T]:
    """Make a function of the same arguments that does all steps at once."""

    @wraps(work)
    def done(*args: P.args, **keywords: P.kwargs) -> T:
        return at_once(work(*args, **keywords))

    return done
