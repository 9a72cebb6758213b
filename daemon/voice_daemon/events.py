"""The values that flow through the daemon, from audio blocks to transcripts.

A leaf module: frozen data only. Time is a sample index at `SAMPLE_RATE`, counted from the
start of the input; wall-clock time and JSON belong to the edges (`mqtt.messages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples a second, everywhere past the audio edge."""

_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no "
    "th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw "
    "gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl "
    "mg as tt haw ln ha ba jw su yue"
)
LANGUAGES = tuple(_CODES.split())
"""Whisper's language codes in the order of its tokens; models before large-v3 lack the last."""


def samples_to_ms(n_samples: int) -> int:
    """`n_samples` at `SAMPLE_RATE` -> whole milliseconds, rounded to nearest."""
    return round(n_samples * 1000 / SAMPLE_RATE)


def ms_to_samples(ms: float) -> int:
    """Milliseconds -> samples at `SAMPLE_RATE`, rounded to nearest."""
    return round(ms * SAMPLE_RATE / 1000)


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """Audio of one callback. `first_sample` jumps where audio was lost."""

    first_sample: int
    samples: NDArray[np.int16]
    """(n,) int16 mono at `SAMPLE_RATE`."""
    beside_own_sound: bool = False
    """True for what is left once the speaker's own sound was taken out of it."""


class State(StrEnum):
    """The daemon's state as published on `<base>/<node>/state`."""

    STARTING = "starting"
    IDLE = "idle"
    LISTENING = "listening"
    TRANSCRIBING = "transcribing"
    MUTED = "muted"
    DEGRADED = "degraded"


class EndReason(StrEnum):
    """A session's reason to end."""

    SILENCE = "silence"
    MAX_LENGTH = "max_length"
    NO_SPEECH = "no_speech"
    CANCELLED = "cancelled"
    MUTED = "muted"
    MIC_LOST = "mic_lost"
    OVERLOAD = "overload"
    SHUTDOWN = "shutdown"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; times in seconds from the first sample fed to the recogniser."""

    text: str
    start_s: float
    end_s: float


def last_words(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """Return those of `words`, in order, that make up `text`, which is the end of what they say."""
    wanted = _n_letters(text)
    first = len(words)
    while first and wanted > 0:
        first -= 1
        wanted -= _n_letters(words[first].text)
    return tuple(words[first:])


def _n_letters(text: str) -> int:
    return sum(letter.isalnum() for letter in text)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The recogniser's text after a step: `text` is committed, `draft` may change.

    `text + draft` reads as one line; `draft` keeps its leading space.
    """

    text: str
    draft: str
    language: str
    words: tuple[Word, ...] = ()
    """The committed ones."""
    draft_words: tuple[Word, ...] = ()
    ended: bool = True
    """False when a loop or a limit stopped the reading."""
    confidence: float = 1.0
    """Geometric mean probability of the tokens that the step added, 0..1."""
    no_speech_prob: float = 0.0
    """0 once something is committed."""


class Ending(Enum):
    """Possible continuations of a text, should its speaker pause."""

    OPEN = auto()
    """It cannot be over, or nobody knows: he is given time."""
    WHOLE = auto()
    """A whole sentence, that may go on."""
    CLOSED = auto()
    """A whole sentence that does not go on."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The recogniser's authoritative reading of a whole utterance; `text` may be empty."""

    text: str
    revised: bool
    """True when `text` does not merely extend what was committed before."""
    language: str
    words: tuple[Word, ...]
    confidence: float
    """Geometric mean token probability, 0..1."""
    no_speech_prob: float
    ended: bool = True
    """False when a loop or a limit stopped the reading."""
    completeness: float = 0.0
    """Probability that the sentence is complete, 0..1."""
    heard: str | None = None
    """The free reading, where the home's vocabulary made another `text` of it."""
    in_vocabulary: bool | None = None
    """True for a sentence of the home; None where no vocabulary was asked."""
    ending: Ending | None = None
    """By the sentences of the home; None for what none of them begins with."""


@dataclass(frozen=True, slots=True)
class WakeDetection:
    """A wake score that passed threshold, trigger level and refractory time."""

    wake_word: str
    score: float
    at_sample: int
    is_repeat: bool = False
    """True within the refractory time: it opens no session, but may begin a command anew."""
    is_sure: bool = True
    """False for a score below the threshold, which counts if the recogniser finds the word."""
    least_logprob: float = 0.0
    """Log-probability of the word from which the recogniser has found it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Latencies of one session on the live clock; None where the thing never happened."""

    first_draft_ms: int | None
    """First draft text, from the start of speech."""
    first_committed_ms: int | None
    """First committed text, from the start of speech."""
    finalize_ms: int
    """From the last speech sample to the final."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The daemon moved to another state."""

    state: State


@dataclass(frozen=True, slots=True)
class WakeDetected:
    """A wake word opened a session."""

    session_id: str
    wake_word: str
    score: float
    at_sample: int
    verified: bool = False
    """True where the score did not suffice, and the recogniser read the word."""


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A session opened; exactly one `SessionEnded` with the same id follows."""

    session_id: str
    wake_word: str | None
    """None when a command opened it (`cmd/listen`)."""
    at_sample: int


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech was first heard in a session."""

    session_id: str
    at_sample: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The endpoint decided that the utterance ended; `at_sample` is the last of the speech."""

    session_id: str
    at_sample: int


@dataclass(frozen=True, slots=True)
class TranscriptPartial:
    """The text or the draft changed. `text` only grows within a session."""

    session_id: str
    seq: int
    text: str
    draft: str
    language: str
    audio_ms: int
    """Audio of the utterance fed to the recogniser when the step ran."""
    lag_ms: int
    """Live clock minus the end of that audio, when the step was done."""


@dataclass(frozen=True, slots=True)
class TranscriptFinal:
    """The one authoritative text of a session."""

    session_id: str
    seq: int
    text: str
    revised: bool
    language: str
    end_reason: EndReason
    duration_ms: int
    """From the start to the end of speech."""
    wake_word: str | None
    confidence: float
    no_speech_prob: float
    timing: Timing
    words: tuple[Word, ...] = field(default=())
    """Times in seconds from the start of speech."""
    heard: str | None = None
    """The free reading, where the home's vocabulary made another `text` of it."""
    in_vocabulary: bool | None = None
    """True for a sentence of the home; None where no vocabulary was asked."""
    handled_by: str | None = None
    """The program that carries the command out already; None leaves it to all subscribers."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session closed; `finals` is 0 or 1."""

    session_id: str
    reason: EndReason
    finals: int
    at_sample: int


class Stage(StrEnum):
    """A device's progress with a wake word that several devices may have heard."""

    CLAIM = "claim"
    """It heard the wake word, and asks who heard it better."""
    TAKEN = "taken"
    """It answers: its session is open."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A device's word to the others on the broker about a wake word that it heard."""

    stage: Stage
    node_id: str
    session_id: str
    wake_word: str
    score: float

    @property
    def rank(self) -> tuple[float, str, str]:
        """The order of claims, the same on every device: the greatest answers."""
        return self.score, self.node_id, self.session_id


@dataclass(frozen=True, slots=True)
class StoodDown:
    """This device heard a wake word and left it to another."""

    claim: Claim
    """Our own."""
    winner: Claim


@dataclass(frozen=True, slots=True)
class ErrorRaised:
    """Something that the owner should know and can act on."""

    code: str
    message: str
    remedy: str
    session_id: str | None = None


Event = (
    StateChanged
    | WakeDetected
    | SessionStarted
    | SpeechStarted
    | SpeechEnded
    | TranscriptPartial
    | TranscriptFinal
    | SessionEnded
    | ErrorRaised
    | StoodDown
)
"""The events that `session.pipeline.Pipeline.feed` may return."""
