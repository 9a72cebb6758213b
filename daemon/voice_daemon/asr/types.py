"""Configuration and results of streaming.

Values only: no model, no audio. Times are seconds from the first sample fed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from voice_daemon.asr.alignatt import MEDIAN_WIDTH, CommitRules, DraftWord
from voice_daemon.asr.decoding import Task
from voice_daemon.asr.incremental_encoder import FRAME_SAMPLES
from voice_daemon.asr.model import CrossKeys
from voice_daemon.events import SAMPLE_RATE, Word

MAX_WORD_S = 1.0
"""A word is shown to last at most this long."""
SENTENCE_ENDS = frozenset(".?!。？！")  # noqa: RUF001 - Chinese and Japanese ones


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    """Settings of streaming: durations in seconds of audio, thresholds in frames of 20 ms."""

    frame_threshold: int = 25
    """Frames between a committed word and the end of the audio, for each bit of its surprisal."""
    min_chunk_duration: float = 0.5
    """Audio between two steps."""
    emit_partial: bool = True
    """False: `step` computes nothing, and only the final is produced."""
    language: str | None = "en"
    """A Whisper language code; None or "auto" detects it."""
    task: Task = "transcribe"
    prompt: str = ""
    """Names to expect, given to the model as earlier text; dropped where it breeds a loop."""
    no_speech_threshold: float = 0.6
    """Nothing is committed at first while nobody speaks with more than this probability."""
    smoothing: int = MEDIAN_WIDTH
    """Width of the median filter over attention, in frames; 0: none, nor standardising."""
    refresh_s: float = 2.0
    """The newest audio that is encoded anew at every step; older keys are kept."""
    padding_s: float = 0.2
    """Silence encoded behind the audio at every step."""
    final_padding_s: float = 2.0
    """The same for the final."""
    slide_s: float = 14.0
    """Audio from which on the window slides: its older part is finalised, a little a step."""
    window_s: float = 26.0
    """Longest audio that is held: the window has slid on by then, whatever it costs."""
    rules: CommitRules = field(default_factory=CommitRules)


@dataclass(frozen=True, slots=True)
class StreamingResult:
    """The text after a step, or the final."""

    text: str
    """Committed so far, without a leading space; append-only until the final replaces it."""
    tokens: tuple[int, ...]
    is_final: bool
    start_time: float
    """Seconds from the first sample fed to the first word of `text`."""
    end_time: float
    """The same to the end of its last word."""
    progress: float
    """`end_time` over `audio_duration`, 0..1."""
    audio_position: float
    """Seconds of audio that this result has seen."""
    audio_duration: float
    """Seconds of audio fed."""
    draft: str = ""
    """The replaceable tail up to the end of the audio, with its leading space."""
    words: tuple[Word, ...] = ()
    draft_words: tuple[Word, ...] = ()
    """Those of the draft; their times are those of this step."""
    language: str = ""
    """The language code in use; "" before anything was decoded."""
    revised: bool = False
    """In a final: True when its text does not merely extend the committed text."""
    ended: bool = False
    """True when the model said end-of-text after the last word."""
    confidence: float = 0.0
    """Geometric mean probability of the tokens that the newest decode added."""
    no_speech_prob: float = 0.0
    """In a final, and in partials until something is committed."""
    completeness: float = 0.0
    """In a final: how probable it is that its sentence is complete; see `completeness`."""


@dataclass(frozen=True, slots=True)
class FinalReading:
    """A final with the encoded audio that it was decoded from, for a second look at it."""

    text: str
    tokens: tuple[int, ...]
    opening: tuple[int, ...]
    """Tokens before the text: start, language, task, and a phrase that was spoken first."""
    cross: CrossKeys
    language: str


def completeness(words: Sequence[DraftWord]) -> float:
    """Probability that a sentence ends here: that of the sign for it.

    0 when the text ends without one. Whisper hears it: after "Can I have a" it writes a question
    mark with 0.4, after the whole question with 0.95.
    """
    sign = words[-1] if words else None
    return sign.probability if sign and sign.text.strip() in SENTENCE_ENDS else 0.0


def word_times(words: Sequence[DraftWord]) -> tuple[Word, ...]:
    """Words with their times; punctuation joins the word before it.

    A word ends at the frame that its last token attends to, and begins where the word before
    it ended, at most `MAX_WORD_S` earlier.
    """
    times: list[Word] = []
    end_s = 0.0
    for word in words:
        if word.is_punctuation and times:
            last = times[-1]
            times[-1] = Word(last.text + word.text.strip(), last.start_s, last.end_s)
            continue
        start_s = end_s
        end_s = max(start_s, (word.frame + 1) * FRAME_SAMPLES / SAMPLE_RATE)
        times.append(Word(word.text.strip(), max(start_s, end_s - MAX_WORD_S), end_s))
    return tuple(times)


def tokens_of(words: Iterable[DraftWord]) -> tuple[int, ...]:
    """All tokens of the words, in order."""
    return tuple(token for word in words for token in word.tokens)


def text_of(words: Iterable[DraftWord]) -> str:
    """The words as one line, without a leading space."""
    return "".join(word.text for word in words).strip()
