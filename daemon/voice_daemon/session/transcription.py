"""One utterance behind a VAD, without wake word or session, for files and for Wyoming's clients.

Where nobody speaks the recogniser is not asked, and text that nobody said is not shown. The
stream ends when its sender says so. Belongs to the model thread.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.ring import RingBuffer
from voice_daemon.endpoint.hallucination import Confidences, is_hallucination
from voice_daemon.endpoint.segmenter import SpeechSegment, in_recording
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import AudioBlock, Ending, Hypothesis, Transcript, ms_to_samples
from voice_daemon.session.interfaces import Transcriber, corrected_on, transcribing
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.session import Pace

HISTORY_MS: Final = 10_000
"""Audio kept for the recogniser until it is certain that somebody speaks."""

_SILENCE: Final = Transcript(
    text="", revised=False, language="", words=(), confidence=0.0, no_speech_prob=1.0
)


class Transcription:
    """One utterance: `feed`, then `step` or `step_when_due` for partials, and `finish`."""

    def __init__(
        self, transcriber: Transcriber, vad: VoiceActivityDetector, options: PipelineOptions
    ) -> None:
        self._transcriber = transcriber
        self._options = options
        self._segmenter = options.segmenter(vad)
        self._thresholds = options.hallucination_thresholds()
        self._partials = options.partials
        self._pace = Pace(options.step_s)
        self._paced = False
        self._ring = RingBuffer(ms_to_samples(HISTORY_MS))
        self._heard_to = 0
        self._unread = False
        self._text = ""
        self._shown = False
        self._prepared: Transcript | None = None
        self._correction: Generator[None, None, Transcript] | None = None
        with transcribing():
            transcriber.start(wake_phrase=None)

    @property
    def speaking(self) -> bool:
        """True while somebody speaks."""
        return self._segmenter.speaking

    @property
    def has_speech(self) -> bool:
        """True once somebody has spoken."""
        return self._segmenter.speech_from is not None

    @property
    def is_over(self) -> bool:
        """True when a session would end here: by the pause, by its length, or as nobody spoke."""
        rules = self._options.endpoint()
        if not self.has_speech:
            return self._segmenter.silence >= rules.no_speech_samples
        read = self._prepared
        ending = Ending.OPEN if read is None else self._options.ending(read)
        ended = self._segmenter.silence >= rules.silence_after(ending)
        return ended or self._heard_to >= rules.max_samples

    @property
    def silence_samples(self) -> int:
        """Samples since the last speech, or since the beginning."""
        return self._segmenter.silence

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples, fewer than `HISTORY_MS`."""
        self._ring.push(AudioBlock(self._heard_to, samples))
        self._heard_to += samples.size
        self._pass_on(self._segmenter.feed(samples))

    def step(self) -> str:
        """Read on; return the text that is committed, which only grows.

        In a pause all of it is read instead: should the stream end there, the final is ready.
        """
        if self._unread and self._segmenter.speaking:
            self._read_on()
        elif self._unread:
            self._prepare(within_s=self._options.endpoint().pause_left_s(self.silence_samples))
        elif self._correction is not None:
            self._correct_on()
        self._unread = False
        return self._text

    def step_when_due(self) -> Hypothesis | None:
        """Read on at the pace of a session, while somebody speaks.

        Returns the partial to show; None when no step was due, or there is nothing to show yet.
        """
        if not self._paced and self._segmenter.speech_from is not None:
            self._paced = True
            self._pace.start(self._segmenter.speech_from)
        if not (self._partials and self._paced and self._pace.due(self._heard_to)):
            return None
        hypothesis = self._read_on() if self._segmenter.speaking else None
        has_text = hypothesis is not None and bool(hypothesis.text)
        has_draft = hypothesis is not None and bool(hypothesis.draft)
        self._pace.passed(self._heard_to, has_draft=has_draft, has_text=has_text)
        return hypothesis if self._shown else None

    def finish(self) -> Transcript:
        """End the stream and read all of it at once; the text is empty where nobody spoke.

        Word times count from the first sample fed.
        """
        self._pass_on(self._segmenter.finish())
        if not self._segmenter.segments:
            return _SILENCE
        transcript = self._prepared or self._prepare(within_s=0)
        # No pause bounds the search here: the client waits for the text.
        while self._correction is not None:
            transcript = self._correct_on() or transcript
        spoken = self._is_spoken(transcript.text, transcript)
        text = transcript.text if spoken else ""
        words = in_recording(transcript.words if spoken else (), self._segmenter.segments)
        revised = not text.startswith(self._text)
        return replace(transcript, text=text, words=tuple(words), revised=revised)

    def _pass_on(self, segments: list[SpeechSegment]) -> None:
        for segment in segments:
            self._unread = True
            # It was read before this audio came.
            self._prepared = self._correction = None
            with transcribing():
                self._transcriber.feed(self._ring.read(segment.first, segment.end))

    def _read_on(self) -> Hypothesis:
        with transcribing():
            hypothesis = self._transcriber.step()
        shown = self._shown or self._is_spoken(hypothesis.text + hypothesis.draft, hypothesis)
        # Clients append what is committed: a text that takes something back is not shown.
        if shown and hypothesis.text.startswith(self._text):
            self._shown = True
            self._text = hypothesis.text
        return hypothesis

    def _prepare(self, *, within_s: float) -> Transcript:
        """Read all of it, and begin to look for the home's sentence."""
        with transcribing():
            transcript = self._transcriber.finish(within_s=within_s)
        self._prepared, self._correction = transcript, self._transcriber.correcting(transcript)
        return transcript

    def _correct_on(self) -> Transcript | None:
        """Take a step of that search; gives the transcript when it was the last."""
        found = corrected_on(self._correction) if self._correction is not None else None
        if found is not None:
            self._prepared, self._correction = found, None
        return found

    def _is_spoken(self, text: str, reading: Confidences) -> bool:
        return not is_hallucination(
            text, reading, stats=self._segmenter.vad_stats, thresholds=self._thresholds
        )


@dataclass(slots=True)
class TranscriptionService:
    """The recogniser for any number of streams beside each other; belongs to the model thread."""

    model: str
    """The model's name."""
    languages: tuple[str, ...]
    """Codes that `open` takes."""
    streams: bool
    """False when text comes at the end alone."""
    step_s: float
    """Audio between two steps."""
    options: PipelineOptions
    """In force for utterances that are opened from now on."""
    new_transcriber: Callable[[str | None], Transcriber]
    """Make a recogniser for one stream in a language; None: as configured."""
    new_vad: Callable[[], VoiceActivityDetector]

    def open(self, language: str | None) -> Transcription:
        """Begin an utterance; it keeps its recogniser and its options to its end."""
        return Transcription(self.new_transcriber(language), self.new_vad(), self.options)
