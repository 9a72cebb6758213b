"""The parts that a pipeline is built from, as it sees them; tests bring their own."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import Hypothesis, Transcript, WakeDetection


class WakeWordDetector(Protocol):
    """Hears wake words in an endless stream; the same detections for any splitting."""

    thresholds: Mapping[str, float]
    """The score that wakes, 0..1, by wake word."""
    beside_own_sound: bool
    """True while what is heard is left of the speaker's own sound: a score alone proves little."""

    def feed(self, samples: NDArray[np.int16]) -> Sequence[WakeDetection]:
        """Take the next (n,) samples; return the detections in them."""

    def choose(self, models: Sequence[str]) -> None:
        """Listen for other wake words from now on; raises, and changes nothing, if it cannot."""

    def reset(self, at_sample: int) -> None:
        """Forget all audio; the next sample fed is `at_sample`."""

    def phrase(self, wake_word: str) -> str:
        """Return the wake word as it is written: "hey_jarvis" -> "Hey Jarvis"."""


class Transcriber(Protocol):
    """Reads one utterance at a time."""

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance; the audio opens with this phrase, which is no part of the text."""

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples."""

    def step(self) -> Hypothesis:
        """Read the audio fed so far; committed text only grows."""

    def finish(self, *, within_s: float) -> Transcript:
        """Read all that was fed at once, as well as `within_s` allows.

        Feeding more makes the answer stale.
        """

    def phrase_logprob(self, phrase: str) -> float:
        """Give the log-probability that a phrase is somewhere in what was fed."""

    def correcting(self, transcript: Transcript) -> Generator[None, None, Transcript]:
        """Look for the home's sentence in what `finish` read, in short steps.

        It may be given up at any of them; the first costs next to nothing.
        """

    def reset(self) -> None:
        """Forget the utterance and its audio."""


class TranscriberError(VoiceDaemonError):
    """The recogniser failed; `__cause__` is its own exception."""


@contextmanager
def transcribing() -> Iterator[None]:
    """Turn any exception of a transcriber into a `TranscriberError`."""
    try:
        yield
    except Exception as fault:
        raise TranscriberError(
            "asr.failed",
            f"the recogniser failed: {type(fault).__name__}: {fault}",
            remedy="say it again; if it keeps failing, check the model: `daemonctl models verify`",
        ) from fault


def corrected_on(steps: Generator[None, None, Transcript]) -> Transcript | None:
    """Take a step of a correction; gives the transcript when it was the last."""
    with transcribing():
        try:
            next(steps)
        except StopIteration as end:
            found: Transcript = end.value
            return found
    return None
