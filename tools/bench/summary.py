"""Many scores as one line: sums of words over sums of words, percentiles over all words.

Knows nothing of how a line is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain

from tools.bench.metrics import Latency, mean, percentile
from tools.bench.scores import Score, WordErrors


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some figure over words, steps or clips; None where there were none."""

    p50: float | None
    p95: float | None
    mean: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Leave out what is None."""
        known = [value for value in values if value is not None]
        return cls(percentile(known, 50), percentile(known, 95), mean(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One system at one step length. Seconds unless the name says otherwise."""

    system: str
    step_s: float | None
    n_clips: int
    audio_s: float
    rtf: float
    """Time computed, steps and finals, over audio."""
    step_compute_s: Spread
    final_compute_s: Spread
    keeps_up: bool | None
    """None for a system without steps."""
    changed_committed_percent: float | None
    changed_final_percent: float | None
    wer_committed_percent: float | None
    wer_final_percent: float | None
    slots: int
    slots_understood: int
    committed_live_s: Spread
    committed_audio_s: Spread
    draft_live_s: Spread
    draft_audio_s: Spread
    n_missed_words: int
    """Words of the offline text that were never shown: no latency counts them."""
    final_wait_s: Spread
    final_after_speech_s: Spread
    laal_s: float | None
    laal_live_s: float | None
    erasure: float | None
    """Words shown and taken away again, over words of the finals."""
    n_violations: int
    n_revised: int
    n_loops: int
    n_nonspeech: int
    n_false_final: int
    """Clips without speech whose final has text."""
    n_false_committed: int
    n_false_draft: int

    def as_json(self) -> dict[str, object]:
        """Fields for the report, seconds to the millisecond."""
        rounded: dict[str, object] = _rounded(asdict(self))
        return rounded


def summarise(scores: Sequence[Score]) -> Summary:
    """Put scores of one system at one step length together; at least one."""
    speech = [score for score in scores if score.is_speech]
    quiet = [score for score in scores if not score.is_speech]
    lags = [score.lag for score in speech if score.lag is not None]
    wrong = [score.wrong for score in speech if score.wrong is not None]
    changed = [score.changed for score in speech]
    audio_s = sum(score.audio_s for score in scores)
    steps = list(chain.from_iterable(score.step_compute_s for score in scores))
    n_final_words = sum(score.n_final_words for score in speech)
    n_erased = sum(score.n_erased for score in speech)
    streams = scores[0].step_s is not None
    return Summary(
        system=scores[0].system,
        step_s=scores[0].step_s,
        n_clips=len(scores),
        audio_s=audio_s,
        rtf=(sum(steps) + sum(score.final_compute_s for score in scores)) / audio_s,
        step_compute_s=Spread.of(steps),
        final_compute_s=Spread.of(score.final_compute_s for score in scores),
        keeps_up=keeps_up(scores) if streams else None,
        changed_committed_percent=_percent(changed, "committed") if streams else None,
        changed_final_percent=_percent(changed, "final"),
        wer_committed_percent=_percent(wrong, "committed") if streams else None,
        wer_final_percent=_percent(wrong, "final"),
        slots=sum(score.slots for score in speech),
        slots_understood=sum(score.slots_understood for score in speech),
        committed_live_s=_live(lag.committed for lag in lags),
        committed_audio_s=_audio(lag.committed for lag in lags),
        draft_live_s=_live(lag.drafted for lag in lags),
        draft_audio_s=_audio(lag.drafted for lag in lags),
        n_missed_words=sum(lag.committed.count(None) for lag in lags),
        final_wait_s=Spread.of(lag.final_wait_s for lag in lags),
        final_after_speech_s=Spread.of(lag.final_after_speech_s for lag in lags),
        laal_s=_mean_of(lag.laal_s for lag in lags),
        laal_live_s=_mean_of(lag.laal_live_s for lag in lags),
        erasure=n_erased / n_final_words if streams and n_final_words else None,
        n_violations=sum(score.n_violations for score in scores),
        n_revised=sum(score.revised for score in speech),
        n_loops=sum(score.looped for score in scores),
        n_nonspeech=len(quiet),
        n_false_final=sum(bool(score.final_text) for score in quiet),
        n_false_committed=sum(bool(score.committed_text) for score in quiet),
        n_false_draft=sum(score.drafted_text for score in quiet),
    )


def keeps_up(scores: Sequence[Score]) -> bool:
    """Whether steps of this length can go on for ever.

    They compute for no longer than their audio lasts, and all but one in twenty begin within a
    step of their audio's arrival.
    """
    step_s = scores[0].step_s or 0.0
    computed_s = [s for score in scores for s in score.step_compute_s]
    waits_s = [s for score in scores for s in score.step_wait_s]
    late_s = percentile(waits_s, 95) or 0.0
    return sum(computed_s) <= step_s * len(computed_s) and late_s <= step_s


def _percent(errors: Sequence[WordErrors], which: str) -> float | None:
    """Edits over the words of the references; None without any words."""
    n_words = sum(error.n_words for error in errors)
    n_edits: int = sum(getattr(error, which) for error in errors)
    return 100 * n_edits / n_words if n_words else None


def _live(words: Iterable[tuple[Latency | None, ...]]) -> Spread:
    return Spread.of(None if word is None else word.live_s for word in chain.from_iterable(words))


def _audio(words: Iterable[tuple[Latency | None, ...]]) -> Spread:
    return Spread.of(None if word is None else word.audio_s for word in chain.from_iterable(words))


def _mean_of(values: Iterable[float | None]) -> float | None:
    return mean([value for value in values if value is not None])


def _rounded(value: object) -> dict[str, object]:
    """Round all floats in nested dictionaries to a thousandth."""
    assert isinstance(value, dict)
    return {
        key: _rounded(part)
        if isinstance(part, dict)
        else round(part, 3)
        if isinstance(part, float)
        else part
        for key, part in value.items()
    }
