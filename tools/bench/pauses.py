"""Recordings as the daemon's endpointer meets them, whole and with a pause put in.

Owns what is heard and read of a clip; what was read is kept, since many rules ask for it. Knows
nothing of which rules are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr import WhisperTranscriber
from voice_daemon.endpoint.endpointer import Endpointer, EndpointEvent
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.events import Transcript, ms_to_samples
from voice_daemon.session.pipeline import PipelineOptions

TAIL_MS: Final = 2000
LEAD_FRAMES: Final = 16
"""Frames of silence for the voice detector before a clip."""
NEAR_MS: Final = 100
"""The pause is put where it is quietest within so much of the end of a word."""
OURS: Final = PipelineOptions()
NEVER: Final = replace(
    OURS, silence_ms=10**9, max_s=10**6, closed_share=1, complete_share=1, patience_share=1
)


def plain_silence(ms: float) -> PipelineOptions:
    """The rule that ends everything after the same silence."""
    return replace(NEVER, silence_ms=ms)


def is_plain(options: PipelineOptions) -> bool:
    """True for a rule that does not ask what was read."""
    return options.closed_share == options.complete_share == options.patience_share == 1


@dataclass(slots=True)
class Heard:
    """A recording as the endpointer meets it; what was read of it is kept."""

    samples: NDArray[np.int16]
    """(n,) with silence behind."""
    probabilities: tuple[float, ...]
    """One a frame, the frames of silence before the clip among them."""
    frame_samples: int
    readings: dict[int, Transcript] = field(default_factory=dict)
    """By the sample up to which was read."""

    @property
    def before(self) -> int:
        """Samples of silence before the clip."""
        return LEAD_FRAMES * self.frame_samples


@dataclass(frozen=True, slots=True)
class End:
    """Where a session ended, or where listening stopped."""

    at: int
    voice_end: int
    """The end of the last voice before it."""
    transcript: Transcript | None
    """What was read in the silence before it; None where it was not."""


class Ear:
    """Voice detector and recogniser of the daemon."""

    def __init__(self, transcriber: WhisperTranscriber) -> None:
        self._transcriber = transcriber
        self._vad = SileroVad()

    def hear(self, samples: NDArray[np.int16]) -> Heard:
        """Find the voice in a clip and the silence around it."""
        self._vad.reset()
        before = np.zeros(LEAD_FRAMES * self._vad.frame_samples, np.int16)
        samples = np.concatenate((samples, room(samples, TAIL_MS)))
        probabilities = self._vad.feed(np.concatenate((before, samples)))
        return Heard(samples, tuple(probabilities), self._vad.frame_samples)

    def read(self, heard: Heard, speech_from: int, end: int) -> Transcript:
        """Read a clip up to a sample, from the start of speech and its lead."""
        if end not in heard.readings:
            first = max(0, speech_from - ms_to_samples(OURS.speech_lead_ms))
            self._transcriber.reset()
            self._transcriber.start(wake_phrase=None)
            self._transcriber.feed(heard.samples[first:end])
            heard.readings[end] = self._transcriber.finish()
        return heard.readings[end]

    def end_of(self, heard: Heard, options: PipelineOptions, *, until: int | None = None) -> End:
        """Find where a session would end; with `until`, stop once there is voice up to there."""
        endpointer = Endpointer(
            options.endpoint(),
            frame_samples=heard.frame_samples,
            heard_from=-heard.before,
            opened_at=0,
            after_wake=False,
        )
        speech_from = 0
        transcript = None
        for probability in heard.probabilities:
            signal = endpointer.feed(probability)
            voice = endpointer.voice
            if signal is EndpointEvent.STARTED:
                speech_from = endpointer.speech_from
            elif signal is EndpointEvent.SUSPECTED:
                transcript = self.read(heard, speech_from, voice.now)
                endpointer.expect(options.ending(transcript))
            if signal is EndpointEvent.ENDED or (until is not None and voice.last >= until):
                break
        return End(endpointer.voice.now, endpointer.voice.last, transcript)


def with_pause(heard: Heard, samples: NDArray[np.int16], at: int, ms: float, *, ear: Ear) -> Heard:
    """Put a pause into a clip.

    `heard`: the clip with a longer pause there; what was read of it up to the end of this one
    need not be read again.
    """
    paused = ear.hear(np.concatenate((samples[:at], room(samples, ms), samples[at:])))
    same = at + ms_to_samples(ms)
    paused.readings.update({end: read for end, read in heard.readings.items() if end <= same})
    return paused


def pause_at(transcript: Transcript, samples: NDArray[np.int16]) -> int | None:
    """Find the quietest end of a word in the middle, in samples; None for too few words."""
    energy = np.convolve(samples.astype(np.float64) ** 2, np.ones(320) / 320, "same")
    near = ms_to_samples(NEAR_MS)
    places = []
    for word in transcript.words[1:-1]:
        end = ms_to_samples(1000 * word.end_s)
        first = max(0, end - near)
        window = energy[first : end + near]
        if window.size:
            places.append((float(window.min()), first + int(window.argmin())))
    return min(places)[1] if places else None


def room(samples: NDArray[np.int16], ms: float) -> NDArray[np.int16]:
    """Noise as quiet as the quietest twentieth of a clip: (n,) int16."""
    blocks = samples[: len(samples) // 320 * 320].reshape(-1, 320).astype(np.float64)
    level = max(1.0, float(np.quantile(blocks.std(axis=1), 0.05)))
    noise = np.random.default_rng(0).normal(0, level, ms_to_samples(ms))
    return noise.round().astype(np.int16)
