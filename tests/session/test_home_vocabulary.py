"""A home's vocabulary in a session: searched in the pause, and never waited for."""

from __future__ import annotations

from dataclasses import replace

from support.fakes import FakeTranscriber, Rig, Scene
from support.scenes import continuous, of, paused, reasons
from voice_daemon.events import Ending, EndReason, TranscriptFinal
from voice_daemon.session.pipeline import PipelineOptions

HEARD = "turn on the lied"
MEANT = "turn on the light"


def rig_of(scene: Scene, *, search_steps: int = 3, cost_ms: float = 0) -> Rig:
    transcriber = FakeTranscriber(
        words=scene.words, corrections={HEARD: MEANT}, search_steps=search_steps
    )
    transcriber.cost_ms = cost_ms
    return Rig(scene, transcriber=transcriber)


def final_of(rig: Rig) -> TranscriptFinal:
    (final,) = of(TranscriptFinal, rig.play())
    return final


def test_the_final_is_the_homes_sentence_and_keeps_what_was_heard() -> None:
    for scene in (continuous(HEARD), paused(HEARD)):
        final = final_of(rig_of(scene))
        assert (final.text, final.heard, final.in_vocabulary) == (MEANT, HEARD, True)


def test_what_is_no_sentence_of_the_home_stays_and_is_marked() -> None:
    final = final_of(rig_of(continuous("water the roses")))
    assert (final.text, final.heard, final.in_vocabulary) == ("water the roses", None, False)


def test_without_a_vocabulary_nothing_is_said_of_one() -> None:
    scene = continuous(HEARD)
    final = final_of(Rig(scene, transcriber=FakeTranscriber(words=scene.words)))
    assert (final.text, final.heard, final.in_vocabulary) == (HEARD, None, None)


def test_a_search_that_takes_too_long_delays_nothing_and_what_was_heard_stands() -> None:
    plain = final_of(Rig(continuous(HEARD)))
    slow = final_of(rig_of(continuous(HEARD), search_steps=10_000))
    assert slow.text == HEARD
    assert slow.timing.finalize_ms <= plain.timing.finalize_ms


def test_costly_steps_are_spread_over_the_pause_and_the_final_is_in_time() -> None:
    free = rig_of(continuous("water the roses"), search_steps=0, cost_ms=40)
    searched = rig_of(continuous(HEARD), search_steps=5, cost_ms=40)
    first, second = final_of(free), final_of(searched)
    assert second.text == MEANT
    # One step of the search may be under way when the pause ends.
    assert second.timing.finalize_ms <= first.timing.finalize_ms + 40 + 40


def test_a_search_is_dropped_when_the_speaker_goes_on() -> None:
    scene = Scene().silence(500).wake().say(HEARD).silence(400).say("and the radio").silence(2000)
    rig = rig_of(scene)
    final = final_of(rig)
    assert final.text == f"{HEARD} and the radio"
    assert final.heard is None


def test_nothing_is_searched_at_the_longest_length() -> None:
    scene = Scene().silence(500).wake().say(HEARD + " one two" * 20)
    rig = rig_of(scene)
    rig = Rig(scene, transcriber=rig.transcriber, options=PipelineOptions(max_s=3))
    events = rig.play()
    assert reasons(events) == [(EndReason.MAX_LENGTH, 1)]
    assert "search" not in rig.transcriber.calls


def test_a_search_that_fails_is_a_fault_of_the_recogniser() -> None:
    scene = continuous(HEARD)
    transcriber = replace(rig_of(scene).transcriber, fails_at=("search", 1))
    events = Rig(scene, transcriber=transcriber).play()
    assert not of(TranscriptFinal, events)


def waited_ms(text: str, ending: Ending | None, *, completeness: float = 0.99) -> int:
    scene = continuous(text)
    transcriber = FakeTranscriber(words=scene.words, completeness=(completeness,))
    transcriber.endings = {} if ending is None else {text: ending}
    return final_of(Rig(scene, transcriber=transcriber)).timing.finalize_ms


def test_the_homes_grammar_says_how_long_to_wait_for_more() -> None:
    options = PipelineOptions()
    closed_ms = waited_ms("skip on the radio", Ending.CLOSED, completeness=0.1)
    whole_ms = waited_ms("turn on the light", Ending.WHOLE, completeness=0.1)
    open_ms = waited_ms("turn on the bed", Ending.OPEN)
    assert closed_ms < whole_ms - 100 < open_ms - 200
    assert open_ms >= options.silence_ms * options.patience_share - 32
    assert waited_ms("turn on the light", None) == closed_ms


def test_a_sentence_that_is_searched_for_is_given_its_time() -> None:
    scene = continuous(HEARD)
    rig = rig_of(scene, search_steps=12)
    rig.transcriber.completeness = (0.99,)
    final = final_of(rig)
    assert final.text == MEANT
