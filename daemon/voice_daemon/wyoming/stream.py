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
from enum import Enum, auto
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.errors import VoiceDaemonError, WyomingError
from voice_daemon.events import SAMPLE_RATE, Transcript
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.session.transcription import Transcription, TranscriptionService
from voice_daemon.wyoming.pcm import PcmConverter, PcmFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one client and on all of them.

    Memory: `max_clients` times a payload, the backlog and a recogniser's caches.
    """

    max_clients: int = 16
    max_clients_an_address: int = 12
    """Nobody keeps everybody else out; Home Assistant comes from one address."""
    max_events_burst: int = 2000
    max_events_per_s: float = 400
    """Read from one client; past it the client is made to wait. A chunk of 20 ms comes 50 times
    a second, and a file that is sent at once may come eight times as fast as it plays."""
    max_formats: int = 3
    """Formats in one utterance: each costs a filter, and a change is rare at best."""
    idle_s: float = 300
    """Without any event between two utterances."""
    stall_s: float = 30
    """Without a whole event inside an utterance."""
    max_audio_s: float = 600
    """Longest utterance."""
    max_chunk_s: float = 60
    """Longest event, whatever its sample rate."""
    max_backlog_s: float = 30
    """Audio that waits for its turn; beyond it the client is not read from."""
    max_unsent_bytes: int = 256 * 1024
    """Answers that a client leaves unread."""


class Endpointing(Enum):
    """The party that ends an utterance."""

    CLIENT = auto()
    """Its `audio-stop` alone."""
    CAREFUL = auto()
    """We do, too, but not before any client that ends by itself would have done it."""
    OWN = auto()
    """We do, where a session of the microphone would end."""


class Habits:
    """Knows of each host whether it takes a transcript before its audio ends.

    A client does not say so. Home Assistant 2026.11 takes it at once and hangs up; an older one
    looks at it after its own `audio-stop`, and would lose what is said behind a pause.
    """

    def __init__(self, *, ends_utterances: bool) -> None:
        self.ends_utterances = ends_utterances
        self._early: dict[str, None] = {}

    def of(self, host: str) -> Endpointing:
        """Tell who ends an utterance of `host`."""
        if not self.ends_utterances:
            return Endpointing.CLIENT
        return Endpointing.OWN if host in self._early else Endpointing.CAREFUL

    def note(self, host: str, *, took_it: bool) -> None:
        """Note what `host` did with a transcript that came early."""
        self._early.pop(host, None)
        if took_it:
            self._early[host] = None
            if len(self._early) > MAX_HOSTS:
                self._early.pop(next(iter(self._early)))


log = structlog.get_logger()

MAX_HOSTS: Final = 64
CAREFUL_SILENCE_S: Final = 2.5
"""A client that ends utterances by itself has done so by then."""
CAREFUL_NO_SPEECH_S: Final = 10.0
LOOK_S: Final = 0.06
"""Audio between two looks for the end of speech."""
LIVE_AHEAD_S: Final = 2.0
"""A client that is further ahead of the clock plays a file, and will say where it ends."""
LONGEST_STEP_S: Final = 2.0
"""Longest audio of one step. A client that is behind takes longer steps, and so fewer; a longer one
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
        recogniser: TranscriptionService,
        scheduler: RoundRobin,
        *,
        language: str | None,
        report: Callable[[ClientStream, Report], None],
        endpointing: Endpointing = Endpointing.CLIENT,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recogniser = recogniser
        self._endpointing = endpointing
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._scheduler = scheduler
        self._language = language
        self._report = report
        self._step_samples = round(recogniser.step_s * SAMPLE_RATE)
        looks = endpointing is not Endpointing.CLIENT
        self._due_samples = round(LOOK_S * SAMPLE_RATE) if looks else self._step_samples
        self._unread_samples = 0
        self._text = ""
        self._longest_samples = max(self._step_samples, round(LONGEST_STEP_S * SAMPLE_RATE))
        self._lock = threading.Lock()
        # Bytes, because chunks may be of one sample each.
        self._waiting = bytearray()
        self._begun = self._ended = self._cancelled = False
        self._transcription: Transcription | None = None
        self._n_samples = 0
        self._compute_s = 0.0
        self._steps = 0
        scheduler.add(self)

    @property
    def backlog_samples(self) -> int:
        """Samples that wait for their turn."""
        return len(self._waiting) // _SAMPLE_BYTES

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Add (n,) samples."""
        with self._lock:
            self._waiting += samples.tobytes()
        self._scheduler.notify()

    def end(self) -> None:
        """Say that all audio was fed."""
        with self._lock:
            self._ended = True
        self._scheduler.notify()

    def cancel(self) -> None:
        """Give the utterance up; nothing is reported any more.

        Where steps were taken, the recogniser has a turn to come, in which it is given up.
        """
        with self._lock:
            self._cancelled = True
            self._waiting.clear()
            begun = self._begun
        if begun:
            self._scheduler.notify()
        else:
            self._scheduler.remove(self)

    @property
    def due(self) -> bool:
        """True when there is enough audio for a step, or an end to be made."""
        with self._lock:
            return self._ended or self._cancelled or self.backlog_samples >= self._due_samples

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
            self._transcription = None
            self._scheduler.remove(self)
        if report is not None:
            self._report(self, report)

    def _advance(self, started_s: float) -> Report | None:
        """Do what is due; None: it was cancelled."""
        samples, last = self._taken()
        if self._cancelled:
            return None
        if self._transcription is None:
            self._transcription = self._recogniser.open(self._language)
        self._transcription.feed(samples)
        self._n_samples += samples.size
        self._unread_samples += samples.size
        if not last and not self._is_over(self._transcription):
            return Committed(self._read_on(self._transcription))
        transcript = self._transcription.finish()
        compute_s = self._compute_s + time.perf_counter() - started_s
        return Finished(transcript, self._n_samples / SAMPLE_RATE, compute_s, self._steps)

    def _read_on(self, transcription: Transcription) -> str:
        """Take a step where one is due: the pause before the end is read at once."""
        if not transcription.speaking or self._unread_samples >= self._step_samples:
            self._unread_samples = 0
            self._text = transcription.step()
        return self._text

    def _is_over(self, transcription: Transcription) -> bool:
        """True when the utterance ends here although the client has not said so."""
        ahead_s = self._n_samples / SAMPLE_RATE - (self._clock_s() - self._began_s)
        if self._endpointing is Endpointing.CLIENT or self._ended or ahead_s > LIVE_AHEAD_S:
            return False
        if self._endpointing is Endpointing.OWN or not transcription.is_over:
            return transcription.is_over
        silence_s = transcription.silence_samples / SAMPLE_RATE
        return silence_s >= (CAREFUL_SILENCE_S if transcription.has_speech else CAREFUL_NO_SPEECH_S)

    def _taken(self) -> tuple[NDArray[np.int16], bool]:
        """Take the audio of one step, (n,), and say whether that was all there will be."""
        with self._lock:
            self._begun = True
            n_bytes = self._longest_samples * _SAMPLE_BYTES
            # A copy: a bytearray that an array looks into cannot be shortened.
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
        self.ended = False
        """True once the client has said that this was all."""
        self._limits = limits
        self._pcm: PcmFormat | None = None
        self._converter: PcmConverter | None = None
        self._audio_s = 0.0
        self._n_formats = 0
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
            self._count_format()
            self._drain()
            self._pcm, self._converter = pcm, PcmConverter(pcm)
        self._feed(self._converter.feed(payload))
        self.follow()

    def _count_format(self) -> None:
        self._n_formats += 1
        if self._n_formats > self._limits.max_formats:
            raise WyomingError(
                "wyoming.too_many_formats",
                f"the audio changed its format more than {self._limits.max_formats - 1} times",
                remedy="send one utterance in one rate, width and number of channels",
            )

    def end(self) -> None:
        """Pass on that this was all."""
        self.ended = True
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
