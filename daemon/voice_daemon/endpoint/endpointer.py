"""The endpointer finds the start and end of speech, from voice probabilities and the text so far.

Time is a sample index.

An utterance ends after `silence_samples` without voice, sooner when what was read when silence
was first suspected is a whole sentence, and soonest when nothing can follow it (`ending_of`).

A session that a wake word opened has a question to settle first. Voice right at the
detection may be the end of the wake word, or a command that follows without a pause:

* voice that goes on past `wake_tail_samples` after the detection is a **continuous command**;
* voice that ends for `pause_samples` before `command_min_samples` was the **wake word alone**;
* voice that ends between the two is **ambiguous**: whoever reads the audio must `accept` it as
  a command, else it counts as the wake word too.

After the wake word alone, the next voice that lasts `speech_start_samples` is a **command
after a pause**; without one for `no_speech_samples`, **nobody spoke**.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from voice_daemon.endpoint.hallucination import VadStats
from voice_daemon.endpoint.unfinished import is_short_command, is_unfinished
from voice_daemon.events import SAMPLE_RATE, Ending, Transcript


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Lengths that make speech a start or an end, in samples."""

    voice_on: float
    """Probability at which voice begins."""
    voice_off: float
    """Probability under which voice ends; lower than `voice_on`, so that it does not flutter."""
    speech_start_samples: int
    """Voice that lasts this long is speech."""
    command_min_samples: int
    """Voice that ends sooner than this after a detection was the wake word alone."""
    wake_tail_samples: int
    """Voice that lasts longer than this after a detection is a command."""
    pause_samples: int
    """Silence that parts the wake word from a command; shorter gaps are bridged."""
    suspect_samples: int
    """Silence after which the end of speech is suspected."""
    silence_samples: int
    """Silence that ends the utterance."""
    complete_samples: int
    """Silence that ends it when its text is a whole sentence; at most `silence_samples`."""
    closed_samples: int
    """Silence that ends it when nothing can follow its text; at most `complete_samples`."""
    no_speech_samples: int
    """From the opening of the session: give up when nobody has spoken."""
    max_samples: int
    """From the opening of the session: the longest that it may last."""

    def silence_after(self, ending: Ending) -> int:
        """Silence that ends an utterance, by what may follow its text."""
        if ending is Ending.OPEN:
            return self.silence_samples
        return self.closed_samples if ending is Ending.CLOSED else self.complete_samples

    def pause_left_s(self, silence: int) -> float:
        """Seconds until the soonest end of an utterance, after so many samples of silence."""
        return max(0, self.closed_samples - silence) / SAMPLE_RATE


class Phase(Enum):
    """A session's place between its opening and its endpoint."""

    WAKE_TAIL = auto()
    """Voice may still be the wake word."""
    WAITING = auto()
    """Nobody has spoken yet."""
    SPEAKING = auto()
    SUSPECTED = auto()
    """Silent, but perhaps only a breath."""
    OVER = auto()


class EndpointEvent(Enum):
    """A decision that a frame of audio brought."""

    STARTED = auto()
    AMBIGUOUS = auto()
    """A pause, but after too little voice for a command and too much for a wake word."""
    SUSPECTED = auto()
    RESUMED = auto()
    ENDED = auto()
    NO_SPEECH = auto()
    MAX_LENGTH = auto()


@dataclass(frozen=True, slots=True)
class VadState:
    """Voice activity up to `now`, all in absolute samples."""

    now: int
    active: bool
    onset: int
    """Start of the newest stretch of voice, gaps not bridged."""
    run_from: int
    """Start of the newest stretch of voice, gaps under `pause_samples` bridged."""
    last: int
    """End of the last frame with voice; where listening began when there was none."""

    @classmethod
    def silent(cls, at_sample: int) -> VadState:
        """Nothing heard yet at `at_sample`."""
        return cls(now=at_sample, active=False, onset=at_sample, run_from=at_sample, last=at_sample)

    @property
    def silence(self) -> int:
        """Samples since the last voice."""
        return self.now - self.last

    def after(
        self,
        probability: float,
        n_samples: int,
        *,
        options: EndpointOptions,
        behind_samples: int = 0,
    ) -> VadState:
        """Add a frame of `n_samples`, by hysteresis between the two thresholds.

        `behind_samples`: so much of the newest audio is the voice of somebody behind the speaker,
        and counts as silence, also what was taken for his own before.
        """
        now = self.now + n_samples
        if behind_samples:
            return replace(self, now=now, active=False, last=min(self.last, now - behind_samples))
        threshold = options.voice_off if self.active else options.voice_on
        if probability < threshold:
            return replace(self, now=now, active=False)
        if self.active:
            return replace(self, now=now, last=now)
        # Equal while there was no voice yet: then there is no stretch to go on with.
        bridged = self.silence < options.pause_samples and self.last > self.run_from
        run_from = self.run_from if bridged else self.now
        return VadState(now=now, active=True, onset=self.now, run_from=run_from, last=now)


def ending_of(transcript: Transcript, *, whole: float, closed: float) -> Ending:
    """Judge what may follow a text that its speaker pauses after.

    The home's grammar knows its own sentences. Of any other text the model is asked: it ended the
    text, and was sure of the sign that ends its sentence, by `whole` or by `closed`, 0..1. A text
    that stops in the middle ends without such a sign, or with one that the model doubts, or with
    words that a command does not end with. Measured: docs/endpoint.md.
    """
    if not transcript.ended:
        return Ending.OPEN
    ending = transcript.ending
    if ending is None:
        text, language = transcript.text, transcript.language
        sure = transcript.completeness >= whole and not is_unfinished(text, language)
        ending = Ending.WHOLE if sure or is_short_command(text, language) else Ending.OPEN
    if ending is Ending.WHOLE and transcript.completeness >= closed:
        return Ending.CLOSED
    return ending


def decide(
    phase: Phase,
    voice: VadState,
    *,
    opened_at: int,
    options: EndpointOptions,
    ending: Ending = Ending.OPEN,
) -> tuple[Phase, EndpointEvent | None]:
    """Return the phase after a frame, and what it decided: the whole endpoint policy.

    `opened_at`: the sample of the wake detection, or of the command to listen. `ending`: of what
    was said before this silence.
    """
    elapsed = voice.now - opened_at
    if phase in (Phase.WAKE_TAIL, Phase.WAITING):
        voiced_for = voice.now - max(voice.onset, opened_at)
        return _await_speech(phase, voice, elapsed=elapsed, voiced_for=voiced_for, options=options)
    return _await_end(phase, voice, elapsed=elapsed, options=options, ending=ending)


def _await_speech(
    phase: Phase, voice: VadState, *, elapsed: int, voiced_for: int, options: EndpointOptions
) -> tuple[Phase, EndpointEvent | None]:
    may_be_wake_word = phase is Phase.WAKE_TAIL and elapsed < options.wake_tail_samples
    if voice.active and voiced_for >= options.speech_start_samples and not may_be_wake_word:
        return Phase.SPEAKING, EndpointEvent.STARTED
    # Whoever has just begun to speak is heard out.
    if elapsed >= min(options.no_speech_samples, options.max_samples) and not voice.active:
        return Phase.OVER, EndpointEvent.NO_SPEECH
    if phase is Phase.WAKE_TAIL and voice.silence >= options.pause_samples:
        ambiguous = elapsed - voice.silence >= options.command_min_samples
        return Phase.WAITING, EndpointEvent.AMBIGUOUS if ambiguous else None
    return phase, None


def _await_end(
    phase: Phase, voice: VadState, *, elapsed: int, options: EndpointOptions, ending: Ending
) -> tuple[Phase, EndpointEvent | None]:
    if voice.silence >= options.silence_after(ending):
        return Phase.OVER, EndpointEvent.ENDED
    if elapsed >= options.max_samples:
        return Phase.OVER, EndpointEvent.MAX_LENGTH
    if phase is Phase.SPEAKING and voice.silence >= options.suspect_samples:
        return Phase.SUSPECTED, EndpointEvent.SUSPECTED
    if phase is Phase.SUSPECTED and voice.active:
        return Phase.SPEAKING, EndpointEvent.RESUMED
    return phase, None


class Endpointer:
    """Follows one session from its opening to its endpoint, one probability a frame."""

    def __init__(
        self,
        options: EndpointOptions,
        *,
        frame_samples: int,
        heard_from: int,
        opened_at: int,
        after_wake: bool,
    ) -> None:
        """Listen from `heard_from`; nothing is decided before `opened_at`."""
        self._options = options
        self._frame_samples = frame_samples
        self._opened_at = opened_at
        self._voice = VadState.silent(heard_from)
        self._phase = Phase.WAKE_TAIL if after_wake else Phase.WAITING
        self._ending = Ending.OPEN
        self._reopened = False
        self.continuous = False
        """True when the command followed the wake word without a pause."""
        self.command_from = opened_at
        """Earliest sample of a command after a pause: the wake word has ended by then."""
        self.vad_stats = VadStats()
        """The voice of the utterance; until speech has started, of the newest stretch alone."""

    @property
    def phase(self) -> Phase:
        """The session's place between opening and endpoint."""
        return self._phase

    @property
    def voice(self) -> VadState:
        """Voice activity up to the last whole frame."""
        return self._voice

    @property
    def speech_from(self) -> int:
        """Sample at which the newest stretch of voice began, within the session."""
        return max(self._voice.onset, self._opened_at)

    @property
    def may_be_command(self) -> bool:
        """True while voice behind the wake word may be a command, and may be its end."""
        voice = self._voice
        is_behind = voice.now > self._opened_at and voice.last > self._opened_at
        return self._phase is Phase.WAKE_TAIL and is_behind

    def begin(self) -> None:
        """Take voice that `may_be_command` for one: a word of it was read."""
        self._phase = Phase.SPEAKING
        self.continuous = True

    def accept(self) -> None:
        """Take the voice that was `AMBIGUOUS` for a command, which may be over."""
        self._phase = Phase.SUSPECTED
        self.continuous = True

    def pause_left_s(self, *, lag: int) -> float:
        """Seconds in which the utterance cannot end, live input being ahead by `lag` samples.

        What is read then delays nobody. 0 but in a pause.
        """
        if self.phase is not Phase.SUSPECTED:
            return 0.0
        return self._options.pause_left_s(self.voice.silence + lag)

    def expect(self, ending: Ending) -> None:
        """Take note of what may follow what was said before this silence."""
        self._ending = ending

    def reopen(self, at_sample: int) -> None:
        """Begin anew with a wake word that was said again; the voice before it is forgotten.

        A stretch of voice that goes on counts whole, and is `AMBIGUOUS` however soon it ends: the
        word may be told as late as in the middle of its command.
        """
        self._opened_at = self.command_from = at_sample
        self._phase = Phase.WAKE_TAIL
        self._ending = Ending.OPEN
        self.continuous = False
        self._reopened = True
        if not self._voice.active:
            self.vad_stats = VadStats()

    def feed(self, probability: float, *, behind_samples: int = 0) -> EndpointEvent | None:
        """Take the next frame's voice probability; return the event that it caused, until over.

        `behind_samples`: so much of the newest audio is a voice that is not the speaker's.
        """
        self._follow(probability, behind_samples=behind_samples)
        if self._voice.now <= self._opened_at or self._phase is Phase.OVER:
            return None
        before = self._phase
        self._phase, event = decide(
            before,
            self._voice,
            opened_at=self._opened_at,
            options=self._options,
            ending=self._ending,
        )
        if event is EndpointEvent.RESUMED:
            self._ending = Ending.OPEN
        if event is EndpointEvent.STARTED:
            self.continuous = before is Phase.WAKE_TAIL
        elif before is Phase.WAKE_TAIL and self._phase is Phase.WAITING:
            # That was the wake word's end: what is said next begins behind it.
            self.command_from = max(self._opened_at, self._voice.last)
            if self._reopened:
                event = EndpointEvent.AMBIGUOUS
        return event

    def _follow(self, probability: float, *, behind_samples: int) -> None:
        """Follow the voice, and keep the statistics of what may belong to the utterance."""
        before = self._voice
        self._voice = before.after(
            probability, self._frame_samples, options=self._options, behind_samples=behind_samples
        )
        if not self._voice.active:
            return
        speaking = self._phase in (Phase.SPEAKING, Phase.SUSPECTED)
        if self._voice.run_from != before.run_from and not speaking:
            self.vad_stats = VadStats()
        self.vad_stats = self.vad_stats.after(probability, self._frame_samples)
