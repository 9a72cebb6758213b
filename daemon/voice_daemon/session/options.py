"""The numbers that govern a pipeline, and the shares of its parts."""

from dataclasses import dataclass

from voice_daemon.endpoint.endpointer import EndpointOptions, ending_of
from voice_daemon.endpoint.hallucination import LOW_CONFIDENCE, HallucinationThresholds
from voice_daemon.endpoint.segmenter import VadSegmenter
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import Ending, Transcript, ms_to_samples

_HISTORY_MARGIN_MS = 1000
"""For detections that look back, and frames that are not complete yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """Times, thresholds and limits; the first group are settings of the user."""

    preroll_ms: float = 500
    """Audio from before the opening that a session may use."""
    queue_max_ms: float = 5000
    """A session that falls this far behind the live input ends with `overload`."""
    silence_ms: float = 700
    """Silence that ends an utterance, more or less: see the shares below."""
    no_speech_timeout_s: float = 5
    max_s: float = 15
    speech_start_ms: float = 100
    step_s: float = 0.5
    """Audio between two steps of the recogniser."""
    partials: bool = True
    no_speech_threshold: float = 0.6
    arbitration_ms: float = 0
    """Time that a wake word waits for other devices' claims, where there are any."""

    low_confidence: float = LOW_CONFIDENCE
    """Less than this casts doubt on a text, as does `no_speech_threshold`."""
    voice_on: float = 0.5
    voice_off: float = 0.35
    verify_ms: float = 2000
    """Audio in which the recogniser looks for a wake word that the first stage is not sure of."""
    wake_lead_ms: float = 1500
    """The longest stretch before a detection in which a wake word may begin."""
    others_ms: float = 1500
    """Audio before that in which other voices would be heard, as of a television."""
    command_min_ms: float = 100
    """Voice that ends sooner than this after a detection was the wake word alone."""
    wake_tail_ms: float = 500
    """Voice that lasts longer than this after a detection is a command without a pause. In
    between, the recogniser is asked. Measured: voice ends up to 360 ms after the detection of
    122 real wake words alone (half of hey_jarvis before it, half of alexa 160 ms after), but
    it can end 240 ms after the detection in a quick "hey jarvis, good night"."""
    wake_end_ms: float = 0
    """A word that is attended to later than this after a detection is no part of the wake word."""
    pause_ms: float = 250
    """Silence that parts the wake word from the command."""
    speech_lead_ms: float = 300
    """Audio before the start of speech that the recogniser gets: soft first sounds."""
    suspect_ms: float = 120
    """Silence after which the final is prepared."""
    closed_share: float = 0.43
    """Multiplier of `silence_ms` after a sentence that does not go on."""
    complete_share: float = 0.75
    """The same after a whole sentence that may."""
    patience_share: float = 1.3
    """The same after anything else."""
    least_complete: float = 0.8
    """Probability from which a sentence counts as whole. Measured: docs/endpoint.md."""
    least_closed: float = 0.85
    """The same for one that does not go on."""
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
            closed_samples=ms_to_samples(self.silence_ms * self.closed_share),
            no_speech_samples=ms_to_samples(self.no_speech_timeout_s * 1000),
            max_samples=ms_to_samples(self.max_s * 1000),
        )

    def ending(self, transcript: Transcript) -> Ending:
        """Judge what may follow a text."""
        return ending_of(transcript, whole=self.least_complete, closed=self.least_closed)

    def hallucination_thresholds(self) -> HallucinationThresholds:
        """Return the hallucination filter's share."""
        return HallucinationThresholds(
            no_speech_threshold=self.no_speech_threshold, low_confidence=self.low_confidence
        )

    def segmenter(self, vad: VoiceActivityDetector) -> VadSegmenter:
        """Return the segmenter that hears by the same rules, over any length of audio."""
        return VadSegmenter(
            vad,
            self.endpoint(),
            lead_samples=ms_to_samples(self.speech_lead_ms),
            thresholds=self.hallucination_thresholds(),
        )

    def history_ms(self) -> float:
        """Audio to keep: from before a detection until the start of speech is certain."""
        lead_ms = max(self.wake_lead_ms, self.preroll_ms)
        before = max(lead_ms + self.others_ms, self.verify_ms)
        until_certain = self.wake_tail_ms + self.pause_ms + self.speech_start_ms
        undecided = self.arbitration_ms + self.speech_lead_ms
        return before + until_certain + undecided + _HISTORY_MARGIN_MS
