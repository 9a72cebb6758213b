"""One stream of audio into text, without wake word or session: what a client of ours sends.

Owns the gate in front of the recogniser, by the rules that hold everywhere: where nobody
speaks it is not asked, and what was not spoken is not shown. The stream ends when its sender
says so. Knows nothing of senders, sockets and threads, but belongs to the model thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.ring import RingBuffer
from voice_daemon.endpoint.hallucination import Confidences, was_spoken
from voice_daemon.endpoint.segmenter import SpeechSegment
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import AudioBlock, Transcript, ms_to_samples
from voice_daemon.session.options import PipelineOptions, Transcriber, transcribing

HISTORY_MS: Final = 10_000
"""Audio kept for the recogniser until it is certain that somebody speaks."""

_SILENCE: Final = Transcript(
    text="", revised=False, language="", words=(), confidence=0.0, no_speech_prob=1.0
)


class Transcription:
    """One utterance: `feed`, `step` for what is committed by now, and `finish`."""

    def __init__(
        self, transcriber: Transcriber, vad: VoiceActivityDetector, options: PipelineOptions
    ) -> None:
        self._transcriber = transcriber
        self._gate = options.segmenter(vad)
        self._rules = options.spoken()
        self._ring = RingBuffer(ms_to_samples(HISTORY_MS))
        self._heard = 0
        self._unread = False
        self._text = ""
        self._shown = False
        self._prepared: Transcript | None = None
        with transcribing():
            transcriber.start(wake_phrase=None)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples, fewer than `HISTORY_MS`."""
        self._ring.push(AudioBlock(self._heard, samples))
        self._heard += samples.size
        self._pass_on(self._gate.feed(samples))

    def step(self) -> str:
        """Read on; return the text that is committed, which only grows.

        In a pause all of it is read instead: should the stream end there, the final is ready.
        """
        if self._unread and self._gate.speaking:
            self._read_on()
        elif self._unread:
            self._prepared = self._read_all()
        self._unread = False
        return self._text

    def finish(self) -> Transcript:
        """End the stream and read all of it at once; the text is empty where nobody spoke."""
        self._pass_on(self._gate.finish())
        if not self._gate.passed:
            return _SILENCE
        transcript = self._prepared or self._read_all()
        text = transcript.text if self._is_spoken(transcript.text, transcript) else ""
        return replace(transcript, text=text, revised=not text.startswith(self._text))

    def _pass_on(self, spans: list[SpeechSegment]) -> None:
        for span in spans:
            self._unread = True
            self._prepared = None
            with transcribing():
                self._transcriber.feed(self._ring.read(span.first, span.end))

    def _read_on(self) -> None:
        with transcribing():
            hypothesis = self._transcriber.step()
        spoken = self._shown or self._is_spoken(hypothesis.text + hypothesis.draft, hypothesis)
        if spoken and hypothesis.text.startswith(self._text):
            self._shown = True
            self._text = hypothesis.text

    def _read_all(self) -> Transcript:
        with transcribing():
            return self._transcriber.finish()

    def _is_spoken(self, text: str, reading: Confidences) -> bool:
        return was_spoken(text, reading, voice=self._gate.evidence, rules=self._rules)


@dataclass(frozen=True, slots=True)
class Transcriptions:
    """The recogniser as a service for any number of streams beside each other."""

    model: str
    """What the model is called."""
    languages: tuple[str, ...]
    """Codes that `open` takes."""
    streams: bool
    """False when text comes at the end alone."""
    step_s: float
    """Audio between two steps."""
    options: PipelineOptions
    new_transcriber: Callable[[str | None], Transcriber]
    """Make a recogniser for one stream in a language; None: as configured."""
    new_vad: Callable[[], VoiceActivityDetector]

    def open(self, language: str | None) -> Transcription:
        """Begin an utterance, on the model thread."""
        return Transcription(self.new_transcriber(language), self.new_vad(), self.options)


class CurrentTranscriptions:
    """The service as it is now: another recogniser may take its place at any time."""

    def __init__(self, current: Transcriptions) -> None:
        self.current = current

    @property
    def model(self) -> str:
        """What the model is called."""
        return self.current.model

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that `open` takes."""
        return self.current.languages

    @property
    def streams(self) -> bool:
        """False when text comes at the end alone."""
        return self.current.streams

    @property
    def step_s(self) -> float:
        """Audio between two steps."""
        return self.current.step_s

    def open(self, language: str | None) -> Transcription:
        """Begin an utterance, on the model thread; it keeps its recogniser to its end."""
        return self.current.open(language)
