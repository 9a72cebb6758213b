"""One open session: from voice to speech to hypotheses to the final.

Owns what lasts as long as a session, and drives the voice detector and the recogniser for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.ring import RingBuffer
from voice_daemon.endpoint.endpointer import Endpointer, EndpointEvent, Phase, is_complete
from voice_daemon.endpoint.hallucination import Confidences, is_hallucination
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import (
    SAMPLE_RATE,
    EndReason,
    Event,
    SpeechEnded,
    SpeechStarted,
    Transcript,
    ms_to_samples,
)
from voice_daemon.session.interfaces import Transcriber, corrected_on, transcribing
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.transcript import TranscriptBuilder

SEARCH_LAG_MS: Final = 32
"""Live input that waits for longer than this goes before the search for a home's sentence."""
EARLY_S: Final = 0.25
"""Audio between two steps while there are no words: whoever speaks waits for the first most."""


class Pace:
    """Steps every `step_s` of audio, counted from the start of speech."""

    def __init__(self, step_s: float) -> None:
        self.step_samples = round(step_s * SAMPLE_RATE)
        self._early_samples = round(min(step_s, EARLY_S) * SAMPLE_RATE)
        self.start(0)

    def start(self, speech_from: int) -> None:
        """Begin with an utterance that is spoken from a sample on."""
        self._spacing = self._early_samples
        self._next = speech_from + self._spacing

    def due(self, heard_to: int) -> int:
        """Steps that fell due until a sample and were not passed."""
        return max(0, 1 + (heard_to - self._next) // self._spacing)

    def passed(self, heard_to: int, *, has_words: bool) -> None:
        """Count what is due as done; with words there, the next is a whole step away."""
        last = self._next + (self.due(heard_to) - 1) * self._spacing
        if has_words:
            self._spacing = self.step_samples
        self._next = last + self._spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContext:
    """The parts and options that sessions share; each keeps those it was opened with."""

    ring: RingBuffer
    vad: VoiceActivityDetector
    transcriber: Transcriber
    options: PipelineOptions
    now_sample: Callable[[], int]

    def with_silence(self, silence_ms: float) -> SessionContext:
        """Give the same with another silence that ends a command."""
        return replace(self, options=replace(self.options, silence_ms=silence_ms))

    def with_options(self, options: PipelineOptions) -> SessionContext:
        """Give the same with other options and as much audio as they want, but this silence."""
        return replace(
            self,
            options=replace(options, silence_ms=self.options.silence_ms),
            ring=self.ring.resized(ms_to_samples(options.history_ms())),
        )


STEP_SPREAD = 1.2
"""Audio between two steps, at least, for each second that the last one took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStart:
    """Id, place and wake word of a new session."""

    session_id: str
    at_sample: int
    """The wake detection, or the command to listen."""
    wake_word: str | None = None
    """None when a command opened the session."""
    wake_phrase: str | None = None
    """The wake word as it is written."""


class Session:
    """Turns the audio of one session into events, until `over` says why it ends.

    The recogniser is started only when the speaker has started: by then it is known where
    the audio of the command begins and whether the wake word is a part of it.
    """

    def __init__(self, start: SessionStart, context: SessionContext, *, heard_to: int) -> None:
        """`heard_to`: end of the audio in the ring."""
        self.start = start
        self.over: EndReason | None = None
        self.finals = 0
        self._context = context
        self._options = context.options
        self._heard_to = heard_to
        self._utterance: TranscriptBuilder | None = None
        self._prepared: Transcript | None = None
        self._correction: Generator[None, None, Transcript] | None = None
        self._concluded = False
        self._pace = Pace(self._options.step_s)
        self._next_step_from = 0
        self._history = self._read_history()
        self._endpointer = Endpointer(
            self._options.endpoint(),
            frame_samples=context.vad.frame_samples,
            heard_from=heard_to - self._history.size,
            opened_at=start.at_sample,
            after_wake=start.wake_word is not None,
        )

    @property
    def command_open(self) -> bool:
        """True from the start of speech until what was said has been read."""
        return self._utterance is not None and not self._concluded

    def feed_history(self) -> Iterator[Event]:
        """Show the voice detector what came before the opening, so that it is warm."""
        self._context.vad.reset()
        history, self._history = self._history, self._history[:0]
        yield from self._follow_voice(history)

    def feed(self, samples: NDArray[np.int16]) -> Iterator[Event]:
        """Take the next (n,) samples, which the ring holds already."""
        self._heard_to += samples.size
        if self._lag() > ms_to_samples(self._options.queue_max_ms):
            yield from self._break_off(EndReason.OVERLOAD)
            return
        if self._utterance is not None:
            with transcribing():
                self._context.transcriber.feed(samples)
        yield from self._follow_voice(samples)
        if self.over is None and self._lag() <= ms_to_samples(SEARCH_LAG_MS):
            self._correct_on()
        if self._utterance is not None and self.over is None:
            yield from self._step_when_due(self._utterance)

    def stop(self) -> Iterator[Event]:
        """Finish early, for the daemon stops."""
        yield from self._break_off(EndReason.SHUTDOWN)

    def _break_off(self, reason: EndReason) -> Iterator[Event]:
        """End now: a command that seemed complete is published, any other is not."""
        if self._utterance is not None and self._endpointer.phase is Phase.SUSPECTED:
            yield from self._conclude(self._utterance, reason)
        self.over = reason

    def _follow_voice(self, samples: NDArray[np.int16]) -> Iterator[Event]:
        """Put samples through voice detector and endpoint, and do what they decide."""
        for probability in self._context.vad.feed(samples):
            event = self._endpointer.feed(probability)
            if self._utterance is not None and event is not None:
                yield from self._act(event, self._utterance)
            elif event is EndpointEvent.STARTED:
                yield from self._begin()
            elif event is EndpointEvent.AMBIGUOUS:
                yield from self._settle()
            elif event is EndpointEvent.NO_SPEECH:
                self.over = EndReason.NO_SPEECH
            if self.over is not None:
                return

    def _act(self, event: EndpointEvent, utterance: TranscriptBuilder) -> Iterator[Event]:
        """Do what a event asks for once somebody has spoken."""
        if event is EndpointEvent.SUSPECTED:
            # The hangover is time to read it all: the final is ready when it ends.
            self._prepare(self._read_all())
        elif event is EndpointEvent.RESUMED:
            self._prepared = self._correction = None
            self._pace.passed(self._heard_to, has_words=utterance.has_text)
        elif event is EndpointEvent.ENDED:
            yield from self._conclude(utterance, EndReason.SILENCE)
        elif event is EndpointEvent.MAX_LENGTH:
            yield from self._conclude(utterance, EndReason.MAX_LENGTH)

    def _prepare(self, transcript: Transcript) -> None:
        """Keep a final for the end of this silence, which is sooner for a whole sentence."""
        self._prepared = transcript
        self._correction = self._context.transcriber.correcting(transcript)
        self._correct_on()
        if is_complete(transcript, least=self._options.least_complete):
            self._endpointer.mark_complete()

    def _correct_on(self) -> None:
        """Take a step of the search for the home's sentence; the pause is time for it.

        When the pause ends before the search does, what was heard stands.
        """
        if self._correction is None:
            return
        found = corrected_on(self._correction)
        if found is not None:
            self._correction = None
            self._prepared = found

    def _begin(self) -> Iterator[Event]:
        """Somebody speaks: start the recogniser where the command's audio begins."""
        continuous = self._endpointer.continuous
        audio_from, samples = self._command_audio(continuous=continuous)
        yield self._speech_started(audio_from)
        self._start_reading(samples, with_wake_word=continuous)

    def _settle(self) -> Iterator[Event]:
        """Read what followed the detection: text beside the wake phrase is a short command."""
        audio_from, samples = self._command_audio(continuous=True)
        self._start_reading(samples, with_wake_word=True)
        transcript = self._read_all()
        accepted = self._is_spoken(transcript.text, transcript)
        if accepted:
            self._endpointer.accept()
            self._prepare(transcript)
            yield self._speech_started(audio_from)
        else:
            with transcribing():
                self._context.transcriber.reset()

    def _speech_started(self, audio_from: int) -> SpeechStarted:
        speech_from = self._endpointer.speech_from
        self._utterance = TranscriptBuilder(
            self.start.session_id,
            wake_word=self.start.wake_word,
            audio_from=audio_from,
            speech_from=speech_from,
        )
        self._pace.start(speech_from)
        self._pace.passed(self._heard_to, has_words=False)
        return SpeechStarted(self.start.session_id, speech_from)

    def _start_reading(self, samples: NDArray[np.int16], *, with_wake_word: bool) -> None:
        with transcribing():
            self._context.transcriber.start(
                wake_phrase=self.start.wake_phrase if with_wake_word else None
            )
            self._context.transcriber.feed(samples)

    def _command_audio(self, *, continuous: bool) -> tuple[int, NDArray[np.int16]]:
        """Return the audio of the command so far, (n,), and its first sample.

        A continuous command cannot be parted from its wake word: it begins with the voice that
        the wake word is in. After a pause the wake word stays outside.
        """
        opened_at = self.start.at_sample
        lead = ms_to_samples(self._options.speech_lead_ms)
        preroll = ms_to_samples(self._options.preroll_ms)
        first = self._endpointer.speech_from - lead
        if continuous:
            first = min(self._endpointer.voice.run_from - lead, opened_at - preroll)
            first = max(first, opened_at - self._history_samples())
        elif self.start.wake_word is not None:
            first = max(first, self._endpointer.command_from)
        else:
            first = max(first, opened_at - preroll)
        samples = self._context.ring.read(first, self._heard_to)
        return self._heard_to - samples.size, samples

    def _step_when_due(self, utterance: TranscriptBuilder) -> Iterator[Event]:
        """Take a step of the recogniser at its pace, while somebody speaks.

        Behind the live input by more than a step, it waits until it has caught up: the steps
        that fall due meanwhile become one. Where a step takes longer than the audio between
        two, they are spread so that some time is left over: for the end of the speech to be
        heard in, and for the machine's other work.
        """
        due = self._pace.due(self._heard_to)
        speaking = self._endpointer.phase is Phase.SPEAKING
        if not (self._options.partials and speaking and due):
            return
        if self._lag() > self._pace.step_samples or self._heard_to < self._next_step_from:
            return
        begun = self._context.now_sample()
        with transcribing():
            hypothesis = self._context.transcriber.step()
        took = self._context.now_sample() - begun
        self._next_step_from = self._heard_to + round(STEP_SPREAD * took)
        partial = None
        text = hypothesis.text + hypothesis.draft
        if utterance.has_text or self._is_spoken(text, hypothesis):
            partial = utterance.partial(
                hypothesis, heard_to=self._heard_to, now=self._context.now_sample()
            )
        self._pace.passed(self._heard_to, has_words=utterance.has_text)
        if partial is not None:
            yield partial

    def _conclude(self, utterance: TranscriptBuilder, reason: EndReason) -> Iterator[Event]:
        """End the utterance and publish the final, if it has text."""
        speech_to = self._endpointer.voice.last
        yield SpeechEnded(self.start.session_id, speech_to)
        transcript = self._prepared or self._read_all()
        if self._is_spoken(transcript.text, transcript):
            now = self._context.now_sample()
            yield utterance.final(transcript, reason, speech_to=speech_to, now=now)
            self.finals = 1
        self._concluded = True
        self.over = reason

    def _is_spoken(self, text: str, reading: Confidences) -> bool:
        return not is_hallucination(
            text,
            reading,
            stats=self._endpointer.vad_stats,
            thresholds=self._options.hallucination_thresholds(),
        )

    def _read_all(self) -> Transcript:
        with transcribing():
            return self._context.transcriber.finish()

    def _read_history(self) -> NDArray[np.int16]:
        first = self.start.at_sample - self._history_samples()
        return self._context.ring.read(first, self._heard_to)

    def _history_samples(self) -> int:
        """Return how much audio before the opening matters: a wake word may begin there."""
        after_wake = self.start.wake_word is not None
        wake_lead_ms = self._options.wake_lead_ms if after_wake else 0
        return ms_to_samples(max(self._options.preroll_ms, wake_lead_ms))

    def _lag(self) -> int:
        """Return the samples by which the live input is ahead."""
        return max(0, self._context.now_sample() - self._heard_to)
