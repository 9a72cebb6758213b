"""One client's utterance on its way through two threads: audio in on one, steps on the other.

Owns the audio that waits, and the recogniser's share that works on it. The socket's thread
calls `feed`, `end` and `cancel`; the model thread calls `step`. A failure of the recogniser ends
here: it is reported, and nobody else hears of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.errors import VoiceDaemonError, WyomingError
from voice_daemon.events import SAMPLE_RATE, Transcript
from voice_daemon.wyoming.pcm import PcmConverter, PcmFormat


class Transcription(Protocol):
    """One utterance being recognised; lives and dies on the model thread."""

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples at 16 kHz."""

    def step(self) -> str:
        """Read on; return the text that is committed, which only grows."""

    def finish(self) -> Transcript:
        """Read all of it at once; nothing may be fed afterwards."""


class Recogniser(Protocol):
    """Opens utterances, and says what it can do."""

    @property
    def model(self) -> str:
        """What the model is called."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that may be asked for."""

    @property
    def streams(self) -> bool:
        """False when text comes at the end alone."""

    @property
    def step_s(self) -> float:
        """Audio between two steps."""

    def open(self, language: str | None) -> Transcription:
        """Begin an utterance, on the model thread; None: in the configured language."""


class ComputeJob(Protocol):
    """Steps to compute on the model thread."""

    @property
    def due(self) -> bool:
        """True while there is one; any thread may ask."""

    def step(self) -> None:
        """Take one; never raises."""


class Schedule(Protocol):
    """Gives jobs their turns on the model thread; any thread may call it."""

    def add(self, job: ComputeJob) -> None:
        """Add a job."""

    def remove(self, job: ComputeJob) -> None:
        """Remove it again."""

    def notify(self) -> None:
        """Wake the thread: a job has become due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may take of us.

    Memory: `max_clients` times a payload, the backlog and a recogniser's caches.
    """

    max_clients: int = 16
    idle_s: float = 300
    """Without any event between two utterances."""
    stall_s: float = 30
    """Without a whole event inside an utterance."""
    max_audio_s: float = 600
    """Of one utterance."""
    max_chunk_s: float = 60
    """Of one event, whatever its sample rate."""
    max_backlog_s: float = 30
    """Audio that waits for its turn; beyond it the client is not read from."""
    max_unsent_bytes: int = 256 * 1024
    """Answers that a client leaves unread."""


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
        self._dictation: Transcription | None = None
        self._heard = 0
        self._compute_s = 0.0
        self._steps = 0
        schedule.add(self)

    @property
    def backlog_samples(self) -> int:
        """Samples that wait for their turn."""
        return len(self._waiting) // _SAMPLE_BYTES

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Add (n,) samples."""
        with self._lock:
            self._waiting += samples.tobytes()
        self._schedule.notify()

    def end(self) -> None:
        """Say that all audio was fed."""
        with self._lock:
            self._ended = True
        self._schedule.notify()

    def cancel(self) -> None:
        """Give the utterance up; nothing is reported any more.

        Where steps were taken, the recogniser has a turn to come, in which it is given up.
        """
        with self._lock:
            self._cancelled = True
            self._waiting.clear()
            begun = self._begun
        if begun:
            self._schedule.notify()
        else:
            self._schedule.remove(self)

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
            self._schedule.remove(self)
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


class Utterance:
    """The audio of one utterance on its way to the model thread."""

    def __init__(self, stream: ClientStream, limits: Limits) -> None:
        self.stream = stream
        self.sent = ""
        """The text that was sent in parts."""
        self.room = asyncio.Event()
        """Set while more audio may come."""
        self.over = asyncio.Event()
        """Set once the last report was passed on."""
        self._limits = limits
        self._pcm: PcmFormat | None = None
        self._converter: PcmConverter | None = None
        self._audio_s = 0.0
        self.room.set()

    def take(self, pcm: PcmFormat, payload: bytes) -> None:
        """Pass a chunk on; raises `WyomingError` for one that is too long."""
        chunk_s = pcm.seconds(len(payload))
        self._audio_s += chunk_s
        if chunk_s > self._limits.max_chunk_s or self._audio_s > self._limits.max_audio_s:
            raise WyomingError(
                "wyoming.too_long",
                f"that is more than {self._limits.max_audio_s:g} s of audio, "
                f"or {self._limits.max_chunk_s:g} s in one chunk",
                remedy="send it in parts, each with its own audio-stop",
            )
        if self._converter is None or pcm != self._pcm:
            self._drain()
            self._pcm, self._converter = pcm, PcmConverter(pcm)
        self._feed(self._converter.feed(payload))
        self.follow()

    def end(self) -> None:
        """Pass on that this was all."""
        self._drain()
        self.stream.end()

    def follow(self) -> None:
        """Open or close `room` by what waits."""
        if self.stream.backlog_samples > self._limits.max_backlog_s * SAMPLE_RATE:
            self.room.clear()
        else:
            self.room.set()

    def _drain(self) -> None:
        if self._converter is not None:
            self._feed(self._converter.finish())
            self._converter = None

    def _feed(self, samples: NDArray[np.int16]) -> None:
        if samples.size:
            self.stream.feed(samples)
