"""What the pipeline needs of its parts, and the numbers that govern it.

Declarations only: knows no model, no device and no configuration file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voice_daemon.endpoint.endpointer import EndpointOptions
from voice_daemon.endpoint.hallucination import LOW_CONFIDENCE, HallucinationThresholds
from voice_daemon.endpoint.segmenter import VadSegmenter
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import EndReason, Hypothesis, Transcript, WakeDetection, ms_to_samples


class WakeWordDetector(Protocol):
    """Hears wake words in an endless stream; the same detections for any splitting."""

    threshold: float

    def feed(self, samples: NDArray[np.int16]) -> Sequence[WakeDetection]:
        """Take the next (n,) samples; return what was detected in them."""

    def choose(self, models: Sequence[str]) -> None:
        """Listen for other wake words from now on; raises, and changes nothing, if it cannot."""

    def reset(self, at_sample: int) -> None:
        """Forget all audio; the next sample fed is `at_sample`."""

    def phrase(self, wake_word: str) -> str:
        """Return how a wake word is written: "hey_jarvis" -> "Hey Jarvis"."""


class Transcriber(Protocol):
    """Reads one utterance at a time."""

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance; the audio opens with this phrase, which is no part of the text."""

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples."""

    def step(self) -> Hypothesis:
        """Read what was fed so far; committed text only grows."""

    def finish(self) -> Transcript:
        """Read all that was fed at once; feeding more makes the answer stale."""

    def reset(self) -> None:
        """Forget the utterance and its audio."""


class TranscriberError(VoiceDaemonError):
    """The recogniser failed; `__cause__` is its own exception."""


@contextmanager
def transcribing() -> Iterator[None]:
    """Turn whatever a transcriber raises into a `TranscriberError`."""
    try:
        yield
    except Exception as fault:
        raise TranscriberError(
            "asr.failed",
            f"the recogniser failed: {type(fault).__name__}: {fault}",
            remedy="say it again; if it keeps failing, check the model: daemonctl models verify",
        ) from fault


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """The numbers that govern a pipeline; the first group are settings of the user."""

    preroll_ms: float = 500
    """Audio from before the opening that a session may use."""
    queue_max_ms: float = 5000
    """A session that falls this far behind the live input ends with `overload`."""
    silence_ms: float = 700
    """Silence that ends an utterance, more or less: see `complete_share`, `patience_share`."""
    no_speech_timeout_s: float = 5
    max_s: float = 15
    speech_start_ms: float = 100
    step_s: float = 0.5
    """Audio between two steps of the recogniser."""
    partials: bool = True
    no_speech_threshold: float = 0.6
    arbitration_ms: float = 0
    """How long a wake word waits for other devices' claims, where there are any."""

    low_confidence: float = LOW_CONFIDENCE
    """Less than this casts doubt on a text, as does `no_speech_threshold`."""
    voice_on: float = 0.5
    voice_off: float = 0.35
    wake_lead_ms: float = 1500
    """The longest stretch before a detection in which a wake word may begin."""
    command_min_ms: float = 100
    """Voice that ends sooner than this after a detection was the wake word alone."""
    wake_tail_ms: float = 500
    """Voice that lasts longer than this after a detection is a command without a pause. In
    between, the recogniser is asked. Measured: voice ends up to 360 ms after the detection of
    122 real wake words alone (half of hey_jarvis before it, half of alexa 160 ms after), but
    it can end 240 ms after the detection in a quick "hey jarvis, good night"."""
    pause_ms: float = 250
    """Silence that parts the wake word from the command."""
    speech_lead_ms: float = 300
    """Audio before the start of speech that the recogniser gets: soft first sounds."""
    suspect_ms: float = 250
    """Silence after which the final is prepared."""
    complete_share: float = 0.75
    """Of `silence_ms`: the silence that ends an utterance whose text is a whole sentence."""
    patience_share: float = 1.3
    """Of `silence_ms`: the silence that ends any other."""
    least_complete: float = 0.7
    """How sure the recogniser has to be that it is. Measured: docs/endpoint.md."""
    max_gap_ms: float = 1000
    """Lost audio up to this long becomes silence; more ends the session."""

    def endpoint(self) -> EndpointOptions:
        """Return the endpoint's share, in samples."""
        return EndpointOptions(
            voice_on=self.voice_on,
            voice_off=self.voice_off,
            speech_start_samples=ms_to_samples(self.speech_start_ms),
            command_min_samples=ms_to_samples(self.command_min_ms),
            wake_tail_samples=ms_to_samples(self.wake_tail_ms),
            pause_samples=ms_to_samples(self.pause_ms),
            suspect_samples=ms_to_samples(self.suspect_ms),
            silence_samples=ms_to_samples(self.silence_ms * self.patience_share),
            complete_samples=ms_to_samples(self.silence_ms * self.complete_share),
            no_speech_samples=ms_to_samples(self.no_speech_timeout_s * 1000),
            max_samples=ms_to_samples(self.max_s * 1000),
        )

    def spoken(self) -> HallucinationThresholds:
        """Return the share of whoever judges whether a text was spoken."""
        return HallucinationThresholds(
            no_speech_threshold=self.no_speech_threshold, low_confidence=self.low_confidence
        )

    def segmenter(self, vad: VoiceActivityDetector) -> VadSegmenter:
        """Return the segmenter that hears by the same rules, over any length of audio."""
        return VadSegmenter(
            vad,
            self.endpoint(),
            lead_samples=ms_to_samples(self.speech_lead_ms),
            thresholds=self.spoken(),
        )

    def history_ms(self) -> float:
        """Audio to keep: from before a detection until the start of speech is certain."""
        before = max(self.wake_lead_ms, self.preroll_ms)
        until_certain = self.wake_tail_ms + self.pause_ms + self.speech_start_ms
        undecided = self.arbitration_ms + self.speech_lead_ms
        return before + until_certain + undecided + _HISTORY_MARGIN_MS


_HISTORY_MARGIN_MS = 1000
"""For detections that look back, and frames that are not complete yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a pipeline has done since it was built."""

    wakes: int = 0
    wakes_ignored: int = 0
    """Detections while a session was open, or about to be."""
    stood_down: int = 0
    """Wake words that were left to another device."""
    sessions: int = 0
    partials: int = 0
    finals: int = 0
    steps: int = 0
    merged_steps: int = 0
    """Steps left out to catch up with the live input."""
    early_finals_used: int = 0
    """Finals that were ready before the endpoint."""
    early_finals_dropped: int = 0
    """Finals prepared in vain, because speech resumed."""
    doubts: int = 0
    """Sessions in which it took the recogniser to tell a command from the wake word."""
    doubts_accepted: int = 0
    prefix_violations: int = 0
    """Steps that took back committed text, which was not published."""
    transcriber_faults: int = 0
    gaps: int = 0
    lost_samples: int = 0
    """Samples that the input never delivered."""
    ended: Mapping[EndReason, int] = field(default_factory=lambda: MappingProxyType({}))
    """Sessions by the reason for which they ended."""


class Tally:
    """Keeps `Counters` up to date."""

    def __init__(self) -> None:
        self.counters = Counters()

    def add(self, **increments: int) -> None:
        """Add to counters by name."""
        sums = {name: getattr(self.counters, name) + n for name, n in increments.items()}
        self.counters = replace(self.counters, **sums)

    def end(self, reason: EndReason) -> None:
        """Count a session that ended."""
        ended = dict(self.counters.ended)
        ended[reason] = ended.get(reason, 0) + 1
        self.counters = replace(self.counters, ended=MappingProxyType(ended))
