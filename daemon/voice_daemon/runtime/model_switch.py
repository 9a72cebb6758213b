"""A change of the recogniser as a job for the worker's idle moments, a short step at a time.

The old recogniser serves until the new one is loaded and warm; while a session is open nothing
is done at all. Knows nothing of models: the steps are its maker's. docs/adr/0015 has the reasons.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from voice_daemon.errors import ModelError, VoiceDaemonError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

log = structlog.get_logger()

_OVER: Final = object()
"""Stands for the end of the steps."""


class ModelSwitch:
    """A `Job` of `Turns`: takes the `steps`, of which the last one exchanges the recognisers.

    `at_rest`: whether no session is open. `done` is told the error, None where it went well, and
    that nothing more will come.
    """

    def __init__(
        self,
        steps: Generator[None, None, None],
        *,
        at_rest: Callable[[], bool],
        done: Callable[[VoiceDaemonError | None], None],
    ) -> None:
        self._steps = steps
        self._at_rest = at_rest
        self._done = done
        self._is_over = False
        self._n_steps = 0
        self._longest_s = 0.0

    @property
    def due(self) -> bool:
        """True while there is a step to take."""
        return not self._is_over and self._at_rest()

    def step(self) -> None:
        """Take one step; whatever goes wrong ends the change, and nothing else."""
        begun_s = time.monotonic()
        try:
            is_last = next(self._steps, _OVER) is _OVER
        except VoiceDaemonError as error:
            self._end(error)
        except Exception as error:
            log.exception("asr.switch_failed")
            self._end(_unusable(error))
        else:
            self._n_steps += 1
            self._longest_s = max(self._longest_s, time.monotonic() - begun_s)
            if is_last:
                self._end(None)

    def drop(self) -> None:
        """Give it up without a word, and free what it had loaded."""
        self._is_over = True
        self._steps.close()

    def _end(self, error: VoiceDaemonError | None) -> None:
        self._is_over = True
        # The longest step is how long the microphone had to wait at worst.
        longest_ms = round(1000 * self._longest_s)
        log.info("asr.switch_ended", steps=self._n_steps, longest_step_ms=longest_ms)
        self._done(error)


def _unusable(error: Exception) -> ModelError:
    return ModelError(
        "asr.unusable",
        f"it cannot be run: {type(error).__name__}: {error}",
        remedy="check it with `daemonctl models verify`, or choose another asr.model",
    )
