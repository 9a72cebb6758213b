"""One open session: from voice to speech to hypotheses to the final.

Owns what lasts as long as a session, and drives the voice detector and the recogniser for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.ring import RingBuffer
from voice_daemon.endpoint.endpointer import Endpointer, EndpointEvent, Phase
from voice_daemon.endpoint.hallucination import Confidences, is_hallucination
from voice_daemon.endpoint.speaker_level import SpeakerLevel
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import (
    SAMPLE_RATE,
    Ending,
    EndReason,
    Event,
    Hypothesis,
    SpeechEnded,
    SpeechStarted,
    Transcript,
    last_words,
    ms_to_samples,
)
from voice_daemon.session.interfaces import Transcriber, corrected_on, transcribing
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.transcript import (
    TranscriptBuilder,
    after_last_phrase,
    behind_phrase,
)
from voice_daemon.session.voice import SpeakerFeed, VoiceInput

WAKE_WORD_MS: Final = 1000
"""The longest stretch before its detection in which a wake word may begin that what comes before
it must not be read with."""
SPOKEN_ON_MS: Final = 1000
"""Voice that goes on so long behind a wake word is no part of it, whatever is read."""
SEARCH_LAG_MS: Final = 32
"""Live input that waits for longer than this goes before the search for a home's sentence."""
EARLY_S: Final = 0.125
"""Audio between two steps while there are no words: whoever speaks waits for the first most."""
DRAFT_S: Final = 0.25
"""The same while none of them is committed."""


class Pace:
    """Steps every `step_s` of audio, counted from the start of speech; the first ones sooner."""

    def __init__(self, step_s: float) -> None:
        self.step_samples = round(step_s * SAMPLE_RATE)
        self._early_samples = min(self.step_samples, round(EARLY_S * SAMPLE_RATE))
        self._draft_samples = min(self.step_samples, round(DRAFT_S * SAMPLE_RATE))
        self.start(0)

    def start(self, speech_from: int) -> None:
        """Begin with an utterance that is spoken from a sample on."""
        self._spacing = self._early_samples
        self._next = speech_from + self._spacing

    def due(self, heard_to: int) -> int:
        """Steps that fell due until a sample and were not passed."""
        return max(0, 1 + (heard_to - self._next) // self._spacing)

    def passed(self, heard_to: int, *, has_draft: bool, has_text: bool) -> None:
        """Count what is due as done; the next is the later, the more there is to read."""
        last = self._next + (self.due(heard_to) - 1) * self._spacing
        if has_text:
            self._spacing = self.step_samples
        elif has_draft:
            self._spacing = max(self._spacing, self._draft_samples)
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

    Voice behind the wake word is read at once, with the wake word before it, while it is still
    open whether it is a command. Nothing of that is told before a word of a command is there.
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
        self._reading_from: int | None = None
        self._prepared: Transcript | None = None
        self._correction: Generator[None, None, Transcript] | None = None
        self._concluded = False
        self._pace = Pace(self._options.step_s)
        self._next_step_from = 0
        self._history = self._read_history()
        self._opened_at = start.at_sample
        self._wake_phrase = start.wake_phrase
        self._superseded: TranscriptBuilder | None = None
        self._voice = VoiceInput(context.vad)
        speaker = SpeakerLevel(
            voice_on=self._options.voice_on,
            voice_off=self._options.voice_off,
            frame_ms=1000 * context.vad.frame_samples / SAMPLE_RATE,
        )
        self._others_before = False
        if start.wake_word is not None:
            self._others_before = speaker.heard_before(self._voiced_ms_before())
        self._speaker = SpeakerFeed(speaker, context.ring, context.transcriber, heard_to=heard_to)
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
        history, self._history = self._history, self._history[:0]
        after_wake = self.start.wake_word is not None
        yield from self._follow_voice(self._voice.feed_history(history, after_wake=after_wake))

    def feed(self, samples: NDArray[np.int16]) -> Iterator[Event]:
        """Take the next (n,) samples, which the ring holds already."""
        self._heard_to += samples.size
        # So far behind, a final would come when nobody expects it any more.
        if self._lag() > ms_to_samples(self._options.queue_max_ms):
            yield from self._break_off(EndReason.OVERLOAD)
            return
        yield from self._follow_voice(self._voice.feed(samples))
        self._feed_recogniser()
        if self.over is None and self._lag() <= ms_to_samples(SEARCH_LAG_MS):
            self._correct_on()
        if self._reading_from is not None and self.over is None:
            yield from self._step_when_due()

    def restart(self, at_sample: int, *, wake_phrase: str | None) -> None:
        """Begin the command anew: its speaker said a wake word again, detected at `at_sample`."""
        if self._utterance is not None:
            # Kept for its count: `seq` rises through the whole session.
            self._superseded = self._utterance
            self._utterance = self._prepared = self._correction = None
        self._stop_reading()
        self._opened_at, self._wake_phrase = at_sample, wake_phrase
        self._endpointer.reopen(at_sample)

    def stop(self) -> Iterator[Event]:
        """Finish early, for the daemon stops."""
        yield from self._break_off(EndReason.SHUTDOWN)

    def _break_off(self, reason: EndReason) -> Iterator[Event]:
        """End now: a command that seemed complete is published, any other is not."""
        if self._utterance is not None and self._endpointer.phase is Phase.SUSPECTED:
            yield from self._conclude(self._utterance, reason)
        self.over = reason

    def _follow_voice(self, frames: Iterable[tuple[float, float]]) -> Iterator[Event]:
        """Put (probability, power) of frames through the endpointer, and do what it decides."""
        for probability, power in frames:
            waiting = self._utterance is None
            behind_samples = self._speaker.follow(
                probability, power, waiting=waiting, heard_to=self._heard_to
            )
            event = self._endpointer.feed(probability, behind_samples=behind_samples)
            self._feed_recogniser()
            if self._utterance is not None and event is not None:
                yield from self._act(event, self._utterance)
            elif event is EndpointEvent.STARTED:
                yield from self._begin()
            elif event is EndpointEvent.AMBIGUOUS:
                yield from self._settle()
            elif event is EndpointEvent.NO_SPEECH:
                self.over = EndReason.NO_SPEECH
            elif self._utterance is None:
                self._read_ahead()
            if self.over is not None:
                return

    def _feed_recogniser(self) -> None:
        if self._reading_from is not None:
            self._speaker.feed(self._heard_to)

    def _act(self, event: EndpointEvent, utterance: TranscriptBuilder) -> Iterator[Event]:
        """Do what an event asks for once somebody has spoken."""
        if event is EndpointEvent.SUSPECTED:
            # The hangover is time to read it all: the final is ready when it ends.
            self._prepare(self._read_command(utterance))
        elif event is EndpointEvent.RESUMED:
            self._prepared = self._correction = None
            self._pace_on()
        elif event is EndpointEvent.ENDED:
            yield from self._conclude(utterance, EndReason.SILENCE)
        elif event is EndpointEvent.MAX_LENGTH:
            yield from self._conclude(utterance, EndReason.MAX_LENGTH)

    def _prepare(self, transcript: Transcript) -> None:
        """Keep a final for the end of this silence, which is sooner for a whole sentence."""
        self._prepared = transcript
        self._correction = self._context.transcriber.correcting(transcript)
        self._expect(transcript)
        self._correct_on()

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
            self._expect(found)

    def _read_ahead(self) -> None:
        """Read voice behind the wake word while it is open whose it is; leave it at a pause."""
        if not self._endpointer.may_be_command:
            self._stop_reading()
        elif self._reading_from is None and self._endpointer.voice.active:
            self._start_reading(continuous=True)

    def _expect(self, transcript: Transcript) -> None:
        """Tell the endpointer what may follow; a search for the home's sentence gets its time."""
        ending = self._options.ending(transcript)
        if self._correction is not None and ending is Ending.CLOSED:
            ending = Ending.WHOLE
        self._endpointer.expect(ending)

    def _begin(self) -> Iterator[Event]:
        """Somebody speaks: read on, or start where the command's audio begins."""
        if self._reading_from is None:
            self._start_reading(continuous=self._endpointer.continuous)
        yield self._speech_started()

    def _settle(self) -> Iterator[Event]:
        """Read what followed the detection: text beside the wake phrase is a short command."""
        if self._reading_from is None:
            self._start_reading(continuous=True)
        transcript = self._read_all()
        if self._is_spoken(transcript.text, transcript):
            self._endpointer.accept()
            self._prepare(transcript)
            yield self._speech_started()
        else:
            self._stop_reading()

    def _speech_started(self) -> SpeechStarted:
        speech_from = self._endpointer.speech_from
        audio_from = speech_from if self._reading_from is None else self._reading_from
        if self._superseded is None:
            self._utterance = TranscriptBuilder(
                self.start.session_id,
                wake_word=self.start.wake_word,
                audio_from=audio_from,
                speech_from=speech_from,
            )
        else:
            self._utterance, self._superseded = self._superseded, None
            self._utterance.restart(audio_from=audio_from, speech_from=speech_from)
        self._speaker.begin()
        return SpeechStarted(self.start.session_id, speech_from)

    def _start_reading(self, *, continuous: bool) -> None:
        """Start the recogniser; a continuous command's audio opens with its wake word."""
        self._reading_from, samples = self._command_audio(continuous=continuous)
        with transcribing():
            self._context.transcriber.start(wake_phrase=self._wake_phrase if continuous else None)
            self._context.transcriber.feed(samples)
        self._speaker.start(self._heard_to)
        self._pace.start(self._endpointer.speech_from)
        self._pace.passed(self._heard_to, has_draft=False, has_text=False)

    def _stop_reading(self) -> None:
        if self._reading_from is not None:
            self._reading_from = None
            with transcribing():
                self._context.transcriber.reset()

    def _command_audio(self, *, continuous: bool) -> tuple[int, NDArray[np.int16]]:
        """Return the audio of the command so far, (n,), and its first sample.

        A continuous command cannot be parted from its wake word: it begins with the voice that
        the wake word is in. After a pause the wake word stays outside.
        """
        opened_at = self._opened_at
        lead = ms_to_samples(self._options.speech_lead_ms)
        preroll = ms_to_samples(self._options.preroll_ms)
        first = self._endpointer.speech_from - lead
        if continuous:
            first = min(self._endpointer.voice.run_from - lead, opened_at - preroll)
            again = self._opened_at != self.start.at_sample
            # Before a wake word that was said again lies a command that was given up; before one
            # that was said into others' speech, theirs.
            apart = again or self._others_before
            history = ms_to_samples(WAKE_WORD_MS) if apart else self._history_samples()
            first = max(first, opened_at - history)
        elif self._voice.is_faint:
            # Where the voice is hard to hear its start is late: all since the wake word is read.
            first = self._endpointer.command_from
        elif self.start.wake_word is not None:
            first = max(first, self._endpointer.command_from)
        else:
            first = max(first, opened_at - preroll)
        samples = self._context.ring.read(first, self._heard_to)
        return self._heard_to - samples.size, samples

    def _step_when_due(self) -> Iterator[Event]:
        """Take a step of the recogniser at its pace, while somebody speaks or seems to.

        Behind the live input by more than a step, it waits until it has caught up: the steps
        that fall due meanwhile become one. Where a step takes longer than the audio between
        two, they are spread so that some time is left over: for the end of the speech to be
        heard in, and for the machine's other work.
        """
        due = self._pace.due(self._heard_to)
        speaking = self._endpointer.phase is Phase.SPEAKING or self._endpointer.may_be_command
        if not (self._options.partials and speaking and due):
            return
        if self._lag() > self._pace.step_samples or self._heard_to < self._next_step_from:
            return
        begun = self._context.now_sample()
        with transcribing():
            hypothesis = self._context.transcriber.step()
        hypothesis = behind_phrase(hypothesis, self._wake_phrase or "")
        took = self._context.now_sample() - begun
        self._next_step_from = self._heard_to + round(STEP_SPREAD * took)
        yield from self._show(hypothesis)
        self._pace_on()

    def _pace_on(self) -> None:
        shown = self._utterance
        self._pace.passed(
            self._heard_to,
            has_draft=shown is not None and shown.has_text,
            has_text=shown is not None and shown.has_committed,
        )

    def _show(self, hypothesis: Hypothesis) -> Iterator[Event]:
        """Publish a step's text where somebody said it; before the command has begun, it begins."""
        text = hypothesis.text + hypothesis.draft
        has_text = self._utterance is not None and self._utterance.has_text
        if not has_text and not self._is_spoken(text, hypothesis):
            return
        if self._utterance is None:
            if not self._is_behind_wake_word(hypothesis):
                return
            # A word behind the wake word is proof of a command, before the endpointer could tell.
            self._endpointer.begin()
            yield self._speech_started()
        if self._utterance is not None:
            partial = self._utterance.partial(
                hypothesis, heard_to=self._heard_to, now=self._context.now_sample()
            )
            if partial is not None:
                yield partial

    def _is_behind_wake_word(self, hypothesis: Hypothesis) -> bool:
        """True when a step's first word was said behind the wake word, by its attention.

        What is read before that is the wake word itself, taken for something else.
        """
        words = last_words(
            (*hypothesis.words, *hypothesis.draft_words), hypothesis.text + hypothesis.draft
        )
        if not words or self._reading_from is None:
            return False
        said_to = self._reading_from + round(words[0].end_s * SAMPLE_RATE)
        return said_to >= self._opened_at + ms_to_samples(self._options.wake_end_ms)

    def _conclude(self, utterance: TranscriptBuilder, reason: EndReason) -> Iterator[Event]:
        """End the utterance and publish the final, if it has text."""
        speech_to = self._endpointer.voice.last
        yield SpeechEnded(self.start.session_id, speech_to)
        # Prepared in the pause, unless the command was cut off at its longest.
        transcript = self._prepared or self._read_command(utterance)
        if self._is_spoken(transcript.text, transcript):
            now = self._context.now_sample()
            yield utterance.final(transcript, reason, speech_to=speech_to, now=now)
            self.finals = 1
        self._concluded = True
        # `silence` promises a final; voice without words is no speech.
        nothing_said = reason is EndReason.SILENCE and not self.finals
        self.over = EndReason.NO_SPEECH if nothing_said else reason

    def _is_spoken(self, text: str, reading: Confidences) -> bool:
        return not is_hallucination(
            text,
            reading,
            stats=self._endpointer.vad_stats,
            thresholds=self._options.hallucination_thresholds(),
        )

    def _read_command(self, utterance: TranscriptBuilder) -> Transcript:
        """Read it all, without the wake word where nothing is read behind it.

        A recogniser that hears a wake word may take all that follows for a part of it: of a row of
        digits behind "alexa" it wrote nothing in one of four.
        """
        transcript = self._read_all()
        spoken_on = self._endpointer.voice.last - self._opened_at >= ms_to_samples(SPOKEN_ON_MS)
        if transcript.text.strip() or not (spoken_on and self._endpointer.continuous):
            return transcript
        self._stop_reading()
        self._start_reading(continuous=False)
        if self._reading_from is not None:
            utterance.restart(audio_from=self._reading_from, speech_from=self._reading_from)
        return self._read_all()

    def _read_all(self) -> Transcript:
        within_s = self._endpointer.pause_left_s(lag=self._lag())
        with transcribing():
            transcript = self._context.transcriber.finish(within_s=within_s)
        rest = after_last_phrase(transcript.text, self._wake_phrase or "")
        if rest is None:
            return transcript
        words = last_words(transcript.words, rest)
        return replace(transcript, text=rest, words=words, revised=True)

    def _read_history(self) -> NDArray[np.int16]:
        first = self.start.at_sample - self._history_samples()
        return self._context.ring.read(first, self._heard_to)

    def _voiced_ms_before(self) -> float:
        """Warm the voice detector up on what the wake word is not in; return the voice in it."""
        to_sample = self.start.at_sample - self._history_samples()
        first = to_sample - ms_to_samples(self._options.others_ms)
        samples = self._context.ring.read(first, to_sample)
        frame_samples = self._context.vad.frame_samples
        # Whole frames, cut at the front: a rest would shift every frame of the session.
        frames = self._voice.feed(samples[samples.size % frame_samples :])
        n_voiced = sum(probability >= self._options.voice_on for probability, _ in frames)
        return 1000 * n_voiced * frame_samples / SAMPLE_RATE

    def _history_samples(self) -> int:
        """Return how much audio before the opening matters: a wake word may begin there."""
        after_wake = self.start.wake_word is not None
        wake_lead_ms = self._options.wake_lead_ms if after_wake else 0
        return ms_to_samples(max(self._options.preroll_ms, wake_lead_ms))

    def _lag(self) -> int:
        """Return the samples by which the live input is ahead."""
        return max(0, self._context.now_sample() - self._heard_to)
