"""Decision between what was heard and a sentence of the home; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from voice_daemon.vocabulary.reading import Reading, respelled, same_meaning
from voice_daemon.vocabulary.spoken import fold, letters_left_out, sound_distance

if TYPE_CHECKING:  # the search runs a model, and the rule is pure
    from voice_daemon.vocabulary.search import Found, ScoredSentence

INEXACT = 0.5
"""How far a search's scores may be off, in nats: it does not look at the whole vocabulary."""


class Reason(StrEnum):
    """The reason for which a text was kept or changed."""

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
    margin_most: float = 9.0
    """What that comes to at most."""
    margin_per_doubt: float = 1.6
    """The same for each nat that the recogniser doubted what it heard, as it does in noise, where
    that is more."""
    margin_times: float = 3.0
    """So many times the margin is what that comes to at most."""
    share_of_open: float = 0.5
    """What is left of the margin where words of the sentence stand for anything: such a sentence
    takes in whatever was said, and few of its words speak for it."""
    sure: float = 1.0
    doubted: float = 2.5
    """What was heard for certain is not changed: the margin is at most `sure`, and so much more
    for each nat that the recogniser doubted what it heard."""
    farthest: float = 0.5
    """How unlike the two may sound, from 0 to 1."""
    nats_of_distance: float = 8.0
    """What being wholly unlike counts for beside improbability: a sentence that leaves out what
    was said, or adds to it, is not much less probable, but sounds different."""
    nats_of_letter: float = 1.0
    """What each letter that is left out beyond the first counts for: a model finds a shorter
    sentence probable that ends before what was said does."""
    distance_allowance: float = 2.0
    """How much more than the margin the two may cost together."""
    lead: float = 1.0
    """How much more the next sentence with another meaning must cost."""
    protected: frozenset[str] = frozenset({"lock", "alarm_control_panel"})
    """Kinds of entities that a correction never reaches."""

    def allowance(self, n_words: int, *, heard_score: float) -> float:
        """The margin of a sentence with so many words; none where it is switched off."""
        if not self.margin:
            return 0.0
        # A reading that is certain has a log-probability of 0.
        doubt = -heard_score
        long = min(self.margin_per_word * n_words, self.margin_most)
        unsure = min(self.margin_per_doubt * doubt, self.margin_times * self.margin)
        return min(max(self.margin, long, unsure), self.sure + self.doubted * doubt)

    def reach(self, heard_score: float, n_words: int) -> float:
        """The greatest distance below what was heard at which a sentence is worth following."""
        allowance = self.allowance(n_words + 2, heard_score=heard_score)
        return allowance + self.lead if allowance else 0.0

    def strangeness(self, distance: float, n_left_out: int) -> float:
        """What sounding unlike counts for beside improbability."""
        left_out = max(0, n_left_out - 1)
        return self.nats_of_distance * distance + self.nats_of_letter * left_out


@dataclass(frozen=True, slots=True)
class Decision:
    """The text that is written, and the reason."""

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


def as_heard(text: str, readings: Sequence[Reading]) -> Decision:
    """Keep a text that is a sentence of the home, with its names as the home spells them."""
    return Decision(respelled(text, readings[0]), Reason.HEARD, in_vocabulary=True, heard=text)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence of the home beside what was heard."""

    scored: ScoredSentence
    gap: float
    """How much less probable it is."""
    distance: float
    n_left_out: int
    readings: tuple[Reading, ...]

    def allowance(self, rule: AcceptanceRule) -> float:
        """The margin that counts for it."""
        n_words = len(fold(self.scored.text))
        allowance = rule.allowance(n_words, heard_score=self.scored.score + self.gap)
        if all(reading.open_words for reading in self.readings):
            # Doubt in words that stay speaks for no sentence.
            sure = rule.allowance(n_words, heard_score=-rule.margin / rule.margin_per_doubt)
            return rule.share_of_open * min(allowance, sure)
        return allowance

    def cost(self, rule: AcceptanceRule) -> float:
        """Improbability and strangeness together."""
        return self.gap + rule.strangeness(self.distance, self.n_left_out)


def rival_floor(
    heard: str,
    read: Callable[[str], tuple[Reading, ...]],
    rule: AcceptanceRule,
    *,
    language: str,
) -> Callable[[str, float], float]:
    """Make what tells a search from which score on sentences matter beside one that it found.

    One that is less probable by as much as that one's strangeness and the lead costs more,
    however alike it sounds.
    """
    words, highest = fold(heard), -math.inf

    def floor(text: str, score: float) -> float:
        nonlocal highest
        distance = sound_distance(heard, text, language)
        n_left_out = letters_left_out(heard, text, language)
        mattering = score - rule.strangeness(distance, n_left_out) - rule.lead - INEXACT
        if mattering > highest and any(reading.keeps(words) for reading in read(text)):
            highest = mattering
        return highest

    return floor


def decide(
    found: Found,
    read: Callable[[str], tuple[Reading, ...]],
    rule: AcceptanceRule,
    *,
    language: str,
) -> Decision:
    """Choose between a text that is no sentence of the home and the best one that is."""
    heard = found.heard
    words = fold(heard.text)
    candidates = []
    for scored in found.sentences:
        readings = tuple(reading for reading in read(scored.text) if reading.keeps(words))
        if readings:
            candidates.append(
                _Candidate(
                    scored,
                    heard.score - scored.score,
                    sound_distance(heard.text, scored.text, language),
                    letters_left_out(heard.text, scored.text, language),
                    readings,
                )
            )
    if not candidates:
        return Decision(
            heard.text,
            Reason.NOTHING,
            in_vocabulary=False,
            heard=heard.text,
            heard_score=heard.score,
            n_calls=found.n_calls,
        )
    best, *others = sorted(candidates, key=lambda candidate: candidate.cost(rule))
    said = frozenset(words)
    # Two wordings of one order are no rivals: either does what was said.
    rival = next((o for o in others if not same_meaning(best.readings, o.readings, said)), None)
    reason = _reason(best, rival, rule)
    sentence = respelled(best.scored.text, best.readings[0], exact=True)
    taken = reason is Reason.CORRECTED
    return Decision(
        sentence if taken else heard.text,
        reason,
        in_vocabulary=taken,
        heard=heard.text,
        sentence=sentence,
        rival=rival.scored.text if rival else "",
        heard_score=heard.score,
        sentence_score=best.scored.score,
        rival_score=rival.scored.score if rival else None,
        allowance=best.allowance(rule),
        distance=best.distance,
        n_calls=found.n_calls,
    )


def _reason(best: _Candidate, rival: _Candidate | None, rule: AcceptanceRule) -> Reason:
    """The reason for which the best candidate is taken, or is not."""
    allowance = best.allowance(rule)
    cost = best.cost(rule)
    if best.gap >= allowance:
        return Reason.IMPROBABLE
    if best.distance >= rule.farthest or cost >= allowance + rule.distance_allowance:
        return Reason.SOUNDS_DIFFERENT
    if any(reading.domains & rule.protected for reading in best.readings):
        return Reason.PROTECTED
    if rival is not None and rival.cost(rule) - cost < rule.lead:
        return Reason.AMBIGUOUS
    return Reason.CORRECTED


_WHY = {
    Reason.HEARD: "what was heard is a sentence of the home",
    Reason.CORRECTED: "nearly as probable as what was heard, and it sounds alike",
    Reason.NOTHING: "no sentence of the home comes near what was heard",
    Reason.IMPROBABLE: "too improbable compared with what was heard",
    Reason.SOUNDS_DIFFERENT: "it sounds too different from what was heard",
    Reason.AMBIGUOUS: "another sentence, that means something else, is about as probable",
    Reason.PROTECTED: "it acts on what is protected, which no correction reaches",
    Reason.NOT_SEARCHED: "it was not searched for",
}


def explanation(verdict: Decision) -> list[str]:
    """Tell a person why a text is what it is: lines with both candidates, scores and reason."""
    lines = [f"heard: {verdict.heard}{_nats(verdict.heard_score)}"]
    if verdict.sentence:
        lines.append(f"home:  {verdict.sentence}{_nats(verdict.sentence_score)}")
    if verdict.rival:
        lines.append(f"or:    {verdict.rival}{_nats(verdict.rival_score)}")
    bounds = ""
    if verdict.allowance is not None and verdict.distance is not None:
        bounds = f" (margin {verdict.allowance:.1f} nats, distance of sound {verdict.distance:.2f})"
    kept = "taken" if verdict.reason in {Reason.HEARD, Reason.CORRECTED} else "kept what was heard"
    return [*lines, f"{kept}: {_WHY[verdict.reason]}{bounds}"]


def _nats(score: float | None) -> str:
    return "" if score is None else f"  [{score:.1f} nats]"


def explained(verdict: Decision) -> dict[str, object]:
    """The same for a program."""
    numbers = {
        "heard_score": verdict.heard_score,
        "sentence_score": verdict.sentence_score,
        "rival_score": verdict.rival_score,
        "margin": verdict.allowance,
        "distance": verdict.distance,
    }
    return {
        "reason": verdict.reason.value,
        "heard": verdict.heard,
        "sentence": verdict.sentence or None,
        "rival": verdict.rival or None,
        **{key: None if n is None else round(n, 2) for key, n in numbers.items()},
        "decoder_calls": verdict.n_calls,
    }
