"""Decision between what was heard and a sentence of the home; pure.

Every verdict has its reason, so that a person can be told why a sentence was or was not
understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from voice_daemon.vocabulary.reading import respelled, same_meaning
from voice_daemon.vocabulary.spoken import fold, sound_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voice_daemon.vocabulary.reading import Reading
    from voice_daemon.vocabulary.search import Found


class Reason(StrEnum):
    """Why a text was kept or changed."""

    HEARD = "heard"
    """What was heard is a sentence of the home."""
    CORRECTED = "corrected"
    """A sentence of the home is nearly as probable, and sounds alike."""
    NOTHING = "nothing"
    """No sentence of the home came within reach."""
    IMPROBABLE = "improbable"
    SOUNDS_DIFFERENT = "sounds_different"
    AMBIGUOUS = "ambiguous"
    """Two sentences that mean different things are about as probable."""
    PROTECTED = "protected"
    """Only said as it is may it be heard: see `AcceptanceRule.protected`."""
    NOT_SEARCHED = "not_searched"


@dataclass(frozen=True, slots=True)
class AcceptanceRule:
    """Thresholds of the decision. Scores are in nats."""

    margin: float = 5.0
    """How much less probable than what was heard a sentence may be."""
    margin_per_word: float = 0.6
    """The same for each of its words, where that is more: long ones differ in more places."""
    farthest: float = 0.5
    """How unlike the two may sound, from 0 to 1."""
    lead: float = 1.0
    """How far below the next sentence with another meaning must lie."""
    protected: frozenset[str] = frozenset({"lock", "alarm_control_panel"})
    """Kinds of entities that a correction never reaches."""

    def allowance(self, n_words: int) -> float:
        """The margin of a sentence with so many words; none where it is switched off."""
        return max(self.margin, self.margin_per_word * n_words) if self.margin else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is written, and why."""

    text: str
    reason: Reason
    in_vocabulary: bool
    """True when `text` is a sentence of the home."""
    heard: str
    sentence: str = ""
    """The home's best sentence; "" where none was found."""
    rival: str = ""
    """The next with another meaning."""
    heard_score: float | None = None
    sentence_score: float | None = None
    rival_score: float | None = None
    allowance: float | None = None
    """The margin that counted."""
    distance: float | None = None
    """How unlike the two sound."""
    n_calls: int = 0
    """Decoder calls that the search took."""




def as_heard(text: str, readings: Sequence[Reading]) -> Verdict:
    """Keep a text that is a sentence of the home, with its names as the home spells them."""
    return Verdict(respelled(text, readings[0]), Reason.HEARD, in_vocabulary=True, heard=text)


def decide(
    found: Found,
    read: Callable[[str], tuple[Reading, ...]],
    rule: AcceptanceRule,
    *,
    language: str,
) -> Verdict:
    """Choose between a text that is no sentence of the home and the best one that is."""
    heard = found.heard
    if not found.sentences:
        return Verdict(
            heard.text,
            Reason.NOTHING,
            in_vocabulary=False,
            heard=heard.text,
            heard_score=heard.score,
            n_calls=found.n_calls,
        )
    best, *others = found.sentences
    readings = read(best.text)
    said = frozenset(fold(heard.text))
    rival = next(
        (other for other in others if not same_meaning(readings, read(other.text), said)), None
    )
    allowance = rule.allowance(len(fold(best.text)))
    distance = sound_distance(heard.text, best.text, language)
    if heard.score - best.score >= allowance:
        reason = Reason.IMPROBABLE
    elif distance >= rule.farthest:
        reason = Reason.SOUNDS_DIFFERENT
    elif any(reading.domains & rule.protected for reading in readings):
        reason = Reason.PROTECTED
    elif rival is not None and best.score - rival.score < rule.lead:
        reason = Reason.AMBIGUOUS
    else:
        reason = Reason.CORRECTED
    sentence = respelled(best.text, readings[0]) if readings else best.text
    taken = reason is Reason.CORRECTED
    return Verdict(
        sentence if taken else heard.text,
        reason,
        in_vocabulary=taken,
        heard=heard.text,
        sentence=sentence,
        rival=rival.text if rival else "",
        heard_score=heard.score,
        sentence_score=best.score,
        rival_score=rival.score if rival else None,
        allowance=allowance,
        distance=distance,
        n_calls=found.n_calls,
    )
