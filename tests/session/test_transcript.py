from __future__ import annotations

import pytest

from voice_daemon.events import EndReason, Hypothesis, Timing, Transcript, Word
from voice_daemon.session.transcript import (
    TranscriptBuilder,
    after_last_phrase,
    before_phrase_start,
)

SECOND = 16_000


def utterance() -> TranscriptBuilder:
    """Speech from 2.0 s; the recogniser's audio begins at 1.7 s."""
    return TranscriptBuilder(
        "s", wake_word="alexa", audio_from=SECOND * 17 // 10, speech_from=SECOND * 2
    )


def hypothesis(text: str, draft: str = "") -> Hypothesis:
    return Hypothesis(text=text, draft=draft, language="en")


def transcript(text: str, *, revised: bool = False, words: tuple[Word, ...] = ()) -> Transcript:
    return Transcript(
        text=text,
        revised=revised,
        language="en",
        words=words,
        confidence=0.8,
        no_speech_prob=0.1,
    )


def test_a_partial_says_how_much_audio_it_has_heard_and_how_late_it_is() -> None:
    partial = utterance().partial(
        hypothesis("turn", " on"), heard_to=SECOND * 3, now=SECOND * 3 + 1600
    )
    assert partial is not None
    assert (partial.seq, partial.audio_ms, partial.lag_ms) == (1, 1300, 100)
    assert (partial.text, partial.draft) == ("turn", " on")


def test_only_a_change_of_text_or_draft_is_published() -> None:
    said = utterance()
    assert said.partial(hypothesis(""), heard_to=0, now=0) is None
    assert said.partial(hypothesis("", "turn"), heard_to=0, now=0) is not None
    assert said.partial(hypothesis("", "turn"), heard_to=0, now=0) is None
    assert said.partial(hypothesis("turn"), heard_to=0, now=0) is not None
    final = said.final(transcript("turn"), EndReason.SILENCE, speech_to=0, now=0)
    assert final.seq == 3


@pytest.mark.parametrize("text", ["", "turn", "turn off", "Turn on the"])
def test_committed_text_that_is_taken_back_stays_published(text: str) -> None:
    said = utterance()
    said.partial(hypothesis("turn on", " the"), heard_to=0, now=0)
    assert said.retracts(hypothesis(text, " x"))
    partial = said.partial(hypothesis(text, " x"), heard_to=0, now=0)
    assert partial is not None
    assert (partial.text, partial.draft) == ("turn on", "")


def test_a_final_is_revised_when_it_does_not_extend_what_was_published() -> None:
    said = utterance()
    said.partial(hypothesis("turn on"), heard_to=0, now=0)
    finals = [
        said.final(t, EndReason.SILENCE, speech_to=0, now=0).revised
        for t in (
            transcript("turn on the light"),
            transcript("Turn on the light."),
            transcript("turn on", revised=True),
        )
    ]
    assert finals == [False, True, True]


def test_word_times_count_from_the_start_of_speech() -> None:
    final = utterance().final(
        transcript("turn on", words=(Word("turn", 0.25, 0.5), Word("on", 0.5, 0.75))),
        EndReason.MAX_LENGTH,
        speech_to=SECOND * 4,
        now=SECOND * 5,
    )
    assert [w.text for w in final.words] == ["turn", "on"]
    assert [w.start_s for w in final.words] == pytest.approx([0.0, 0.2])
    assert [w.end_s for w in final.words] == pytest.approx([0.2, 0.45])
    assert (final.duration_ms, final.end_reason) == (2000, EndReason.MAX_LENGTH)
    assert final.wake_word == "alexa"


def test_latencies_count_from_speech_on_the_live_clock() -> None:
    said = utterance()
    said.partial(hypothesis("", "turn"), heard_to=0, now=SECOND * 2 + 6400)
    said.partial(hypothesis("turn"), heard_to=0, now=SECOND * 2 + 9600)
    said.partial(hypothesis("turn on"), heard_to=0, now=SECOND * 3)
    final = said.final(transcript("turn on"), EndReason.SILENCE, speech_to=SECOND * 4, now=72_000)
    assert final.timing == Timing(first_draft_ms=400, first_committed_ms=600, finalize_ms=500)


def test_what_never_happened_has_no_latency() -> None:
    final = utterance().final(transcript("on"), EndReason.SILENCE, speech_to=SECOND * 3, now=0)
    assert final.timing == Timing(first_draft_ms=None, first_committed_ms=None, finalize_ms=0)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Hey Jarvis. Turn on the light.", "Turn on the light."),
        ("Turn off the light. Hey, Jarvis! Turn on the fan.", "Turn on the fan."),
        ("Jarvis, turn on the light.", "turn on the light."),
        ("Hey Javis, turn on the light.", "turn on the light."),
        ("Hey Jarvis, hey Jarvis, stop.", "stop."),
        ("Hey Jarvis.", ""),
        ("Turn on the light.", None),
        ("Play the service bell.", None),
    ],
)
def test_a_wake_phrase_said_again_is_cut_with_what_comes_before(
    text: str, rest: str | None
) -> None:
    assert after_last_phrase(text, "Hey Jarvis") == rest


def test_a_wake_phrase_of_one_word_may_be_a_word_of_the_command() -> None:
    assert after_last_phrase("Turn on the computer.", "Computer") is None
    assert after_last_phrase("Computer, turn on the light.", "Computer") == "turn on the light."


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Turn on the kitchen. Alexa, turn off the fan.", "turn off the fan."),
        ("Turn on the kitchen. Alexa turn off the fan.", "turn off the fan."),
        ("Turn on the kit, Alexa, turn off the fan.", "turn off the fan."),
        ("Turn on the kit... Alexa. Alexa. Turn off the fan.", "Turn off the fan."),
        ("Play Hello. By Alexa.", None),
        ("Turn off the light. Alexa.", None),
        ("Call Anna, Alexa and Tom.", None),
        ("Call Alexa, Anna and Tom.", None),
    ],
)
def test_a_wake_word_set_apart_in_the_middle_is_one_said_again(text: str, rest: str | None) -> None:
    assert after_last_phrase(text, "Alexa") == rest


def test_a_draft_does_not_show_the_beginning_of_a_wake_phrase() -> None:
    assert before_phrase_start(" the light. Hey", "Hey Jarvis") == " the light."
    assert before_phrase_start(" the light", "Hey Jarvis") == " the light"
    assert before_phrase_start(" hey", "Alexa") == " hey"
