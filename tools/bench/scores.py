"""What one run over one clip comes to: words, seconds and faults, before any average.

Knows the clip's transcript and the offline reading of it, and nothing of how either was made.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.bench import metrics
from tools.bench.alignment import edits, edits_to_prefix
from tools.bench.clips import Clip
from tools.bench.metrics import Latency, TimedWord
from tools.bench.replay import Run
from tools.bench.text import words_of


@dataclass(frozen=True, slots=True)
class Reference:
    """What every system's run of a clip is measured against."""

    text: str
    """One offline decode of it with the same weights."""
    words: tuple[TimedWord, ...]
    """When each word of that text ends, by the frame that it attends to."""
    speech_end_s: float | None
    """The end of the last voice; None where no voice was heard."""


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Edits against some reference text."""

    n_words: int
    """Of the reference."""
    committed: int
    """Between the committed text and the beginning of the reference that it fits best."""
    final: int

    @classmethod
    def against(cls, reference: str, run: Run) -> WordErrors:
        """Count both."""
        spoken = words_of(reference)
        return cls(
            n_words=len(spoken),
            committed=edits_to_prefix(spoken, words_of(run.committed)),
            final=edits(spoken, words_of(run.final.text)),
        )


@dataclass(frozen=True, slots=True)
class Lag:
    """When words came out, in seconds."""

    committed: tuple[Latency | None, ...]
    """A word of the offline text each; None where the system never said it."""
    drafted: tuple[Latency | None, ...]
    """The same for being shown at all; () for systems without a draft."""
    final_wait_s: float
    """From the end of the clip to the final."""
    final_after_speech_s: float | None
    """From the last voice to the final."""
    laal_s: float | None
    """In audio time."""
    laal_live_s: float | None
    """On the real-time clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One system, one step length, one clip."""

    clip: str
    folder: str
    system: str
    step_s: float | None
    audio_s: float
    step_compute_s: tuple[float, ...]
    step_wait_s: tuple[float, ...]
    final_compute_s: float
    is_speech: bool
    committed_text: str
    final_text: str
    changed: WordErrors
    """Against the offline text."""
    wrong: WordErrors | None
    """Against the transcript, where there is one."""
    slots: int
    slots_understood: int
    lag: Lag | None
    """None for clips without speech."""
    n_erased: int
    n_final_words: int
    n_violations: int
    revised: bool
    """The final takes back something that was committed."""
    looped: bool
    """The final or the committed text repeats itself as nobody does."""
    drafted_text: bool
    """Some draft had text."""


def score(
    clip: Clip, reference: Reference, run: Run, *, system: str, step_s: float | None
) -> Score:
    """Measure one run."""
    committed = [shown.text for shown in run.steps]
    final = words_of(run.final.text)
    shown = [words_of(step.text + step.draft) for step in run.steps]
    has_draft = any(step.draft for step in run.steps)
    spoken = words_of(clip.text or reference.text)
    texts = (final, words_of(run.committed))
    return Score(
        clip=clip.name,
        folder=clip.folder,
        system=system,
        step_s=step_s,
        audio_s=run.final.audio_s,
        step_compute_s=tuple(step.compute_s for step in run.steps),
        step_wait_s=tuple(step.wait_s for step in run.steps),
        final_compute_s=run.final.compute_s,
        is_speech=clip.is_speech,
        committed_text=run.committed,
        final_text=run.final.text,
        changed=WordErrors.against(reference.text, run),
        wrong=WordErrors.against(clip.text, run) if clip.text else None,
        slots=len(clip.slots),
        slots_understood=metrics.slots_understood(clip.slots, final),
        lag=(
            _lag(reference, run, n_reference=len(spoken), with_draft=has_draft)
            if clip.is_speech
            else None
        ),
        n_erased=metrics.erased_words([*shown, final]),
        n_final_words=len(final),
        n_violations=metrics.violations(committed),
        revised=bool(_taken_back(words_of(run.committed), final)),
        looped=any(map(metrics.has_loop, texts)) and not metrics.has_loop(spoken),
        drafted_text=any(map(len, shown)),
    )


def _taken_back(committed: tuple[str, ...], final: tuple[str, ...]) -> int:
    return metrics.erased_words([committed, final])


def _lag(reference: Reference, run: Run, *, n_reference: int, with_draft: bool) -> Lag:
    duration_s = run.final.audio_s
    delays = metrics.word_delays(run)
    end_s = reference.speech_end_s
    drafted = metrics.latencies(reference.words, run, with_draft=True) if with_draft else ()
    return Lag(
        committed=metrics.latencies(reference.words, run, with_draft=False),
        drafted=drafted,
        final_wait_s=run.final.end_s - duration_s,
        final_after_speech_s=None if end_s is None else run.final.end_s - end_s,
        laal_s=metrics.laal(
            [shown.audio_s for shown in delays], source_s=duration_s, n_reference=n_reference
        ),
        laal_live_s=metrics.laal(
            [shown.end_s for shown in delays], source_s=duration_s, n_reference=n_reference
        ),
    )
