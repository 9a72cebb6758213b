"""The hallucination filter drops text that nobody said, by voice detector and recogniser together.

Whisper writes text for silence, noise and music too ("you", "Thank you."), and a voice detector
takes a slammed door for a syllable. Neither is trusted alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from voice_daemon.events import SAMPLE_RATE

LOW_CONFIDENCE = 0.37
"""e**-1: the threshold of -1 on the mean log probability in Whisper's own transcribe.py."""


@dataclass(frozen=True, slots=True)
class VadStats:
    """Length and probability of the frames that the voice detector counts as voice."""

    voiced_samples: int = 0
    total_probability: float = 0.0
    """The sum of the frames' probabilities, each times its samples."""

    def after(self, probability: float, n_samples: int) -> VadStats:
        """Add a frame of voice."""
        return VadStats(
            self.voiced_samples + n_samples, self.total_probability + probability * n_samples
        )

    def __add__(self, other: VadStats) -> VadStats:
        """Put two stretches of voice together."""
        return VadStats(
            self.voiced_samples + other.voiced_samples,
            self.total_probability + other.total_probability,
        )

    @property
    def mean_probability(self) -> float:
        """The mean over the voice; 0 without any."""
        return self.total_probability / self.voiced_samples if self.voiced_samples else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HallucinationThresholds:
    """Limits beyond which a text is doubtful. Measured: docs/endpoint.md."""

    no_speech_threshold: float = 0.6
    """A no-speech probability above this is a doubt; Whisper's own threshold."""
    low_confidence: float = LOW_CONFIDENCE
    """A confidence below this is a doubt."""
    clear_probability: float = 0.75
    """Voice of this mean probability is clear. All of 235 commands, prompts and sentences have
    0.86 and more; what is taken for voice in noise has 0.4 to 0.7, a plucked string 0.88."""
    unclear_confidence: float = 0.5
    """A confidence below this is a doubt where the voice is not clear: rather right than not."""
    words_per_s: float = 7.0
    """Nobody speaks faster; the fastest of the same has 5.5 words to the second of voice."""


class Confidences(Protocol):
    """A recogniser's confidence in its own text."""

    @property
    def confidence(self) -> float:
        """Geometric mean token probability, 0..1."""

    @property
    def no_speech_prob(self) -> float:
        """The model's own probability that nobody speaks, 0..1."""

    @property
    def ended(self) -> bool:
        """False when a loop or a limit stopped the text."""


def is_hallucination(
    text: str, reading: Confidences, *, stats: VadStats, thresholds: HallucinationThresholds
) -> bool:
    """True for a text that was probably not said, an empty one too.

    A text is not said faster than anybody can speak. Three things cast doubt on it: the model
    heard no speech, it was not sure of its words, or it could not end. One doubt is enough
    where the voice is not clear; it takes two where it is.
    """
    # One word more than the voice has time for: the first may begin before the detector is sure.
    most_words = 1 + thresholds.words_per_s * stats.voiced_samples / SAMPLE_RATE
    if not text.strip() or len(text.split()) > most_words:
        return True
    clear = stats.mean_probability >= thresholds.clear_probability
    least_confidence = thresholds.low_confidence if clear else thresholds.unclear_confidence
    doubts = sum(
        (
            reading.no_speech_prob > thresholds.no_speech_threshold,
            reading.confidence < least_confidence,
            not reading.ended,
        )
    )
    return doubts >= (2 if clear else 1)
