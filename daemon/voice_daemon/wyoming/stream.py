"""One client's utterance on its way through two threads: audio in on one, steps on the other.

Owns the audio that waits, and the recogniser's share that works on it. The socket's thread
calls `feed`, `end` and `cancel`; the model thread calls `step`. A failure of the recogniser ends
here: it is reported, and nobody else hears of it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from voice_daemon.errors import VoiceDaemonError, WyomingError
from voice_daemon.events import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from voice_daemon.events import Transcript
    from voice_daemon.wyoming.parts import Dictation, Recogniser, Schedule

log = structlog.get_logger()

LONGEST_STEP_S: Final = 2.0
"""Audio that one step takes at most. Who is behind takes longer steps, and so fewer; a longer one
would keep the others, and the microphone, waiting."""


_SAMPLE_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Committed:
    """The text so far, after a step. It only grows."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The utterance was read to its end."""

    transcript: Transcript
    audio_s: float
    compute_s: float
    steps: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The recogniser could not do it."""

    error: VoiceDaemonError


Report = Committed | Finished | Failed


class ClientStream:
    """An utterance, and the job that computes it. `report` is called on the model thread."""

    def __init__(
        self,
        recogniser: Recogniser,
        schedule: Schedule,
        *,
        language: str | None,
        report: Callable[[ClientStream, Report], None],
    ) -> None:
        self._recogniser = recogniser
        self._schedule = schedule
        self._language = language
        self._report = report
        self._step_samples = round(recogniser.step_s * SAMPLE_RATE)
        self._longest_samples = max(self._step_samples, round(LONGEST_STEP_S * SAMPLE_RATE))
        self._lock = threading.Lock()
        # Bytes, because chunks may be of one sample each.
        self._waiting = bytearray()
        self._begun = self._ended = self._cancelled = False
        self._dictation: Dictation | None = None
        self._heard = 0
        self._compute_s = 0.0
        self._steps = 0
        schedule.join(self)

    @property
    def backlog_samples(self) -> int:
        """Samples that wait for their turn."""
        return len(self._waiting) // _SAMPLE_BYTES

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Add (n,) samples."""
        with self._lock:
            self._waiting += samples.tobytes()
        self._schedule.ring()

    def end(self) -> None:
        """Say that all audio was fed."""
        with self._lock:
            self._ended = True
        self._schedule.ring()

    def cancel(self) -> None:
        """Give the utterance up; nothing is reported any more.

        Where steps were taken, the recogniser has a turn to come, in which it is given up.
        """
        with self._lock:
            self._cancelled = True
            self._waiting.clear()
            begun = self._begun
        if begun:
            self._schedule.ring()
        else:
            self._schedule.leave(self)

    @property
    def due(self) -> bool:
        """True when there is enough audio for a step, or an end to be made."""
        with self._lock:
            return self._ended or self._cancelled or self.backlog_samples >= self._step_samples

    def step(self) -> None:
        """Take one step, or the last one."""
        started_s = time.perf_counter()
        self._steps += 1
        try:
            report = self._advance(started_s)
        except Exception as fault:
            log.exception("wyoming.recogniser_failed")
            report = Failed(_failure(fault))
        self._compute_s += time.perf_counter() - started_s
        if self._cancelled or not isinstance(report, Committed):
            # Here and not where it was cancelled: what MLX made goes away on its own thread.
            self._dictation = None
            self._schedule.leave(self)
        if report is not None:
            self._report(self, report)

    def _advance(self, started_s: float) -> Report | None:
        """Do what is due; None: it was cancelled."""
        samples, last = self._taken()
        if self._cancelled:
            return None
        if self._dictation is None:
            self._dictation = self._recogniser.open(self._language)
        self._dictation.feed(samples)
        self._heard += samples.size
        if not last:
            return Committed(self._dictation.step())
        transcript = self._dictation.finish()
        compute_s = self._compute_s + time.perf_counter() - started_s
        return Finished(transcript, self._heard / SAMPLE_RATE, compute_s, self._steps)

    def _taken(self) -> tuple[NDArray[np.int16], bool]:
        """Take the audio of one step, (n,), and say whether that was all there will be."""
        with self._lock:
            self._begun = True
            n_bytes = self._longest_samples * _SAMPLE_BYTES
            samples = np.frombuffer(bytes(self._waiting[:n_bytes]), np.int16)
            del self._waiting[:n_bytes]
            return samples, self._ended and not self._waiting


def _failure(fault: Exception) -> VoiceDaemonError:
    if isinstance(fault, VoiceDaemonError):
        return fault
    return WyomingError(
        "wyoming.recogniser_failed",
        f"the recogniser failed: {type(fault).__name__}",
        remedy="try again; the log of the daemon has the details",
    )
