"""What the server needs of the daemon, and the bounds that it sets its clients.

Declarations only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voice_daemon.events import Transcript


class Dictation(Protocol):
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

    def open(self, language: str | None) -> Dictation:
        """Begin an utterance, on the model thread; None: in the configured language."""


class Job(Protocol):
    """Steps to compute on the model thread."""

    @property
    def due(self) -> bool:
        """True while there is one; any thread may ask."""

    def step(self) -> None:
        """Take one; never raises."""


class Schedule(Protocol):
    """Gives jobs their turns on the model thread; any thread may call it."""

    def join(self, job: Job) -> None:
        """Let a job take part."""

    def leave(self, job: Job) -> None:
        """Take it out again."""

    def ring(self) -> None:
        """Say that a job has become due."""


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
