"""Whose turn it is to compute: the fair queue of everybody who shares the one model thread.

A turn is one step of one job, and jobs that have something to do take turns in a circle, so
that no one waits for more than a step of each other. Knows nothing of what a step does, nor of
the microphone, which needs no turn: its thread comes here when it has nothing to hear.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Final, Protocol

import structlog

from voice_daemon.errors import ModelError, VoiceDaemonError

log = structlog.get_logger()

_OVER: Final = object()
"""Stands for the end of the steps."""


class ModelReload:
    """A `ComputeJob`: takes the `steps`, of which the last one exchanges the recognisers.

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


class ComputeJob(Protocol):
    """Somebody with steps to compute, one at a time."""

    @property
    def due(self) -> bool:
        """True while there is a step to take; any thread may ask."""

    def step(self) -> None:
        """Take one step, on the model thread. It must not raise: a fault is the job's own."""


class RoundRobin:
    """Jobs in a circle. Any thread may call `join`, `leave` and `ring`, one thread `step`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._circle: deque[ComputeJob] = deque()
        self._bell = threading.Event()

    def join(self, job: ComputeJob) -> None:
        """Let a job take part, after all that are there."""
        with self._lock:
            self._circle.append(job)
        self._bell.set()

    def leave(self, job: ComputeJob) -> None:
        """Take a job out; one that is not there is no mistake."""
        with self._lock:
            if job in self._circle:
                self._circle.remove(job)

    def ring(self) -> None:
        """Say that a job has become due."""
        self._bell.set()

    @property
    def due(self) -> bool:
        """True while any job has a step to take."""
        with self._lock:
            return any(job.due for job in self._circle)

    def step(self) -> ComputeJob | None:
        """Take one step of the job whose turn it is; return that job, None when none is due."""
        job = self._next()
        if job is not None:
            job.step()
        return job

    def wait(self, timeout_s: float) -> None:
        """Sleep until a job may be due, at most so long."""
        self._bell.wait(timeout_s)
        self._bell.clear()

    def _next(self) -> ComputeJob | None:
        """Find the first job that is due, and put it last."""
        with self._lock:
            job = next((job for job in self._circle if job.due), None)
            if job is not None:
                self._circle.remove(job)
                self._circle.append(job)
            return job
