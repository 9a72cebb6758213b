"""The decision between what was heard and a sentence of the home, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voice_daemon.vocabulary.acceptance import (
    AcceptanceRule,
    Decision,
    Reason,
    as_heard,
    decide,
    explained,
    explanation,
)
from voice_daemon.vocabulary.reading import Reader
from voice_daemon.vocabulary.search import Found, ScoredSentence

RULE = AcceptanceRule()


def decided(
    reader: Reader,
    heard: str,
    *sentences: tuple[str, float],
    score: float = -3.0,
    rule: AcceptanceRule = RULE,
) -> Decision:
    """`sentences`: how much less probable than what was heard each is, in nats."""
    found = Found(
        ScoredSentence(heard, score),
        tuple(ScoredSentence(text, score - gap) for text, gap in sentences),
        5,
    )
    return decide(found, reader.read, rule, language="en")


@pytest.mark.parametrize(
    ("heard", "sentences", "text"),
    [
        (
            "What's the temperature of the E-COBY?",
            [("What's the temperature of the ecobee?", 1.9), ("What's the temperature", 2.2)],
            "What's the temperature of the EcoBee?",
        ),
        ("Look the front door.", [("Is the front door locked", 9.0)], "Look the front door."),
        ("Turn on the bad light.", [("Turn on the bed light.", 2.5)], "Turn on the Bed Light."),
        (
            "Turn off the standing lied.",
            [("turn off standing light", 0.4)],
            "turn off Standing Light",
        ),
        (
            "and eggs to my shopping list.",
            [("add eggs to my shopping list", 0.7)],
            "add eggs to my shopping list",
        ),
        ("Close the garbage door.", [("Close the garage door.", -1.0)], "Close the Garage Door."),
    ],
)
def test_a_misheard_command_becomes_the_homes(
    heard: str, sentences: list[tuple[str, float]], text: str, reader: Reader
) -> None:
    verdict = decided(reader, heard, *sentences)
    assert verdict.text == text
    assert verdict.in_vocabulary is (text != heard)
    assert verdict.heard == heard


def test_what_is_too_improbable_is_not_taken(reader: Reader) -> None:
    verdict = decided(reader, "Turn on the shed light.", ("Turn on the bed light.", 5.3))
    assert (verdict.reason, verdict.text) == (Reason.IMPROBABLE, "Turn on the shed light.")


def test_what_is_doubted_may_be_changed_into_what_is_less_probable(reader: Reader) -> None:
    case = ("Turn on the bad light.", ("Turn on the bed light.", 9.0))
    assert decided(reader, *case, score=-3.0).reason is Reason.IMPROBABLE
    assert decided(reader, *case, score=-8.0).reason is Reason.CORRECTED
    cautious = replace(RULE, margin=2)
    assert decided(reader, *case, score=-8.0, rule=cautious).reason is Reason.IMPROBABLE


def test_what_was_heard_for_certain_is_not_changed(reader: Reader) -> None:
    heard, sentence = "Turn on the red light.", ("Turn on the bed light.", 3.5)
    assert decided(reader, heard, sentence, score=-0.7).reason is Reason.IMPROBABLE
    assert decided(reader, heard, sentence, score=-4.0).reason is Reason.CORRECTED


@pytest.mark.parametrize(
    ("heard", "sentence"),
    [
        ("He hoped there would be stew for dinner.", "Pause"),
        ("Can I have a medium double shot americano?", "Pause the TV"),
        ("What's the temperature of the incubator in the barn?", "What's the temperature"),
        ("Close the whole big old window.", "Close the window."),
        ("and the first one is the U of V.", "What is the time?"),
    ],
)
def test_other_speech_stays_to_the_letter_however_probable_a_sentence_is(
    heard: str, sentence: str, reader: Reader
) -> None:
    verdict = decided(reader, heard, (sentence, 0.5))
    assert (verdict.text, verdict.in_vocabulary) == (heard, False)
    assert verdict.reason is Reason.SOUNDS_DIFFERENT


def test_two_commands_that_are_as_probable_are_left_to_the_speaker(reader: Reader) -> None:
    verdict = decided(
        reader,
        "Turn the bed light of.",
        ("Turn the bed light off.", 1.0),
        ("Turn the bed light on.", 1.2),
    )
    assert verdict.reason is Reason.AMBIGUOUS
    assert verdict.rival == "Turn the bed light on."


def test_two_ways_to_say_the_same_are_no_rivals(reader: Reader) -> None:
    verdict = decided(
        reader,
        "Turn of the bed lied.",
        ("Turn off the bed light.", 1.0),
        ("Turn off bed light", 1.1),
    )
    assert verdict.reason is Reason.CORRECTED


@pytest.mark.parametrize("sentence", ["Unlock the front door.", "Lock the front door."])
def test_no_correction_reaches_a_lock(sentence: str, reader: Reader) -> None:
    heard = sentence.replace("door", "dough")
    verdict = decided(reader, heard, (sentence, 0.2))
    assert (verdict.reason, verdict.text) == (Reason.PROTECTED, heard)
    open_to_all = replace(RULE, protected=frozenset())
    assert decided(reader, heard, (sentence, 0.2), rule=open_to_all).text != heard


def test_nothing_is_corrected_inside_a_wildcard(reader: Reader) -> None:
    heard = "Add old milk to my shopping lift."
    kept = decided(reader, heard, ("Add oat milk to my shopping list.", 0.3))
    assert kept.text == heard
    mended = decided(reader, heard, ("Add old milk to my shopping list.", 0.3))
    assert mended.text == "Add old milk to my shopping list."


def test_a_sentence_that_takes_in_anything_needs_to_be_nearer(reader: Reader) -> None:
    heard, sentence = "and old milk to my shopping list.", "add old milk to my shopping list."
    assert decided(reader, heard, (sentence, 1.3)).reason is Reason.CORRECTED
    assert decided(reader, heard, (sentence, 3.9)).reason is Reason.IMPROBABLE
    as_any_other = replace(RULE, share_of_open=1)
    assert decided(reader, heard, (sentence, 3.9), rule=as_any_other).reason is Reason.CORRECTED


def test_a_margin_of_nothing_corrects_nothing(reader: Reader) -> None:
    rule = replace(RULE, margin=0)
    assert decided(reader, "Turn on the bad light.", ("Turn on the bed light.", -1), rule=rule).text
    assert rule.reach(-3.0, 5) == 0
    verdict = decided(reader, "Turn on the bad light.", ("Turn on the bed light.", 0.1), rule=rule)
    assert verdict.reason is Reason.IMPROBABLE


def test_what_is_a_sentence_of_the_home_stays_with_the_homes_spelling(reader: Reader) -> None:
    verdict = as_heard(
        "Set the eco bee to 20 degrees.", reader.read("Set the eco bee to 20 degrees.")
    )
    assert verdict.text == "Set the EcoBee to 20 degrees."
    assert (verdict.reason, verdict.in_vocabulary) == (Reason.HEARD, True)


def test_every_verdict_is_explained_with_both_candidates(reader: Reader) -> None:
    verdict = decided(
        reader,
        "Turn the bed light of.",
        ("Turn the bed light off.", 1.0),
        ("Turn the bed light on.", 1.2),
    )
    told = "\n".join(explanation(verdict))
    for part in (
        "light of.",
        "light off.",
        "light on.",
        "-3.0 nats",
        "-4.0 nats",
        "about as probable",
    ):
        assert part.lower() in told.lower()
    document = explained(verdict)
    assert document["reason"] == "ambiguous"
    assert document["sentence_score"] == -4.0
    for reason in Reason:
        assert explanation(Decision("a", reason, in_vocabulary=False, heard="a"))
