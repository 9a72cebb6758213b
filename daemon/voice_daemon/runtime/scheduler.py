"""Whose turn it is to compute: the fair queue of everybody who shares the one model thread.

A turn is one step of one job, and jobs that have something to do take turns in a circle, so
that no one waits for more than a step of each other. Knows nothing of what a step does, nor of
the microphone, which needs no turn: its thread comes here when it has nothing to hear.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol


class Job(Protocol):
    """Somebody with steps to compute, one at a time."""

    @property
    def due(self) -> bool:
        """True while there is a step to take; any thread may ask."""

    def step(self) -> None:
        """Take one step, on the model thread. It must not raise: a fault is the job's own."""


class Turns:
    """Jobs in a circle. Any thread may call `join`, `leave` and `ring`, one thread `step`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._circle: deque[Job] = deque()
        self._bell = threading.Event()

    def join(self, job: Job) -> None:
        """Let a job take part, after all that are there."""
        with self._lock:
            self._circle.append(job)
        self._bell.set()

    def leave(self, job: Job) -> None:
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

    def step(self) -> Job | None:
        """Take one step of the job whose turn it is; return that job, None when none is due."""
        job = self._next()
        if job is not None:
            job.step()
        return job

    def wait(self, timeout_s: float) -> None:
        """Sleep until a job may be due, at most so long."""
        self._bell.wait(timeout_s)
        self._bell.clear()

    def _next(self) -> Job | None:
        """Find the first job that is due, and put it last."""
        with self._lock:
            job = next((job for job in self._circle if job.due), None)
            if job is not None:
                self._circle.remove(job)
                self._circle.append(job)
            return job
