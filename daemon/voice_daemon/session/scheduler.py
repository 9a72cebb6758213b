"""Round-robin scheduling of everybody who shares the one model thread.

The microphone needs no turn: its thread comes here when no audio waits.
"""

import threading
from collections import deque
from typing import Protocol


class ComputeJob(Protocol):
    """A client's computation on the model thread, one step at a time."""

    @property
    def due(self) -> bool:
        """True while there is a step to take; any thread may ask."""

    def step(self) -> None:
        """Take one step, on the model thread. It must not raise: a fault is the job's own."""


class RoundRobin:
    """Jobs in the order of their turns.

    Any thread may call `add`, `remove` and `notify`, one thread `step`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[ComputeJob] = deque()
        self._notified = threading.Event()

    def add(self, job: ComputeJob) -> None:
        """Add a job, after all that are there."""
        with self._lock:
            self._jobs.append(job)
        self._notified.set()

    def remove(self, job: ComputeJob) -> None:
        """Remove a job; one that is not there is no mistake."""
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)

    def notify(self) -> None:
        """Wake `wait`: a job has become due."""
        self._notified.set()

    @property
    def due(self) -> bool:
        """True while any job has a step to take."""
        with self._lock:
            return any(job.due for job in self._jobs)

    def step(self) -> ComputeJob | None:
        """Take one step of the job whose turn it is; return that job, None when none is due."""
        job = self._next()
        if job is not None:
            # Without the lock: a step takes long, and others want to come and go.
            job.step()
        return job

    def wait(self, timeout_s: float) -> None:
        """Sleep until a job may be due, at most so long."""
        self._notified.wait(timeout_s)
        # Before the caller looks round: what becomes due from here on sets it again.
        self._notified.clear()

    def _next(self) -> ComputeJob | None:
        """Find the first job that is due, and put it last."""
        with self._lock:
            job = next((job for job in self._jobs if job.due), None)
            if job is not None:
                self._jobs.remove(job)
                self._jobs.append(job)
            return job
