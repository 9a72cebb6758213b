"""The benchmark's figures on cases small enough to check by hand."""

from __future__ import annotations

import pytest

from tools.bench import metrics
from tools.bench.alignment import edits, edits_to_prefix, same_words
from tools.bench.metrics import Latency, TimedWord
from tools.bench.replay import Run, Shown
from tools.bench.text import words_of


def run_of(*steps: tuple[float, float, str, str], final: tuple[float, float, str]) -> Run:
    """Steps as (audio_s, end_s, text, draft); nothing waits."""
    audio_s, end_s, text = final
    shown = tuple(Shown(audio, audio, end, text, draft) for audio, end, text, draft in steps)
    return Run(shown, Shown(audio_s, audio_s, end_s, text))


SPOKEN = (TimedWord("turn", 0.4), TimedWord("it", 0.6), TimedWord("off", 1.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Turn on the kitchen lights.", "turn on the kitchen lights"),
        ("It’s 2:30 p.m.", "it's 2 30 pm"),  # noqa: RUF001 - a curly quote is meant
        ("two hundred and five", "2 100 and 5"),
        ("205", "2 100 5"),
        ("Set it to 25%!", "set it to 20 5 percent"),
        ("twenty-five percent", "20 5 percent"),
        ("100", "1 100"),
        ("in 1462", "in 1462"),
        ("Grüße, Ängström", "grüße ängström"),
        ("電気をつけて", "電 気 を つ け て"),
        (" ...!", ""),
    ],
)
def test_words_are_compared_without_case_signs_and_spelling_of_numbers(
    text: str, words: str
) -> None:
    assert words_of(text) == tuple(words.split())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "whole", "prefix"),
    [
        ("a b c", "a b c", 0, 0),
        ("a b c", "a b", 1, 0),
        ("a b c", "a x", 2, 1),
        ("a b c", "a b c d", 1, 1),
        ("a b c", "b c", 1, 1),
        ("a b c", "", 3, 0),
        ("", "a b", 2, 2),
        ("", "", 0, 0),
    ],
)
def test_edits_count_replaced_added_and_lost_words(
    reference: str, hypothesis: str, whole: int, prefix: int
) -> None:
    assert edits(reference.split(), hypothesis.split()) == whole
    assert edits_to_prefix(reference.split(), hypothesis.split()) == prefix


def test_equal_words_are_paired_in_order() -> None:
    assert same_words(["a", "b", "c", "d"], ["a", "x", "c"]) == ((0, 0), (2, 2))


def test_the_first_of_two_equal_words_is_meant_while_the_text_grows() -> None:
    spoken = ["the", "cat", "and", "the", "dog"]
    assert same_words(spoken, ["the"], whole=False) == ((0, 0),)


def test_a_word_is_late_by_the_wait_for_audio_and_computing() -> None:
    run = run_of((0.5, 0.75, "turn", " it"), (1.0, 1.5, "turn it", ""), final=(1.5, 2.0, "turn it"))
    committed = metrics.latencies(SPOKEN, run, with_draft=False)
    drafted = metrics.latencies(SPOKEN, run, with_draft=True)
    assert committed == (Latency(0.75 - 0.4, 0.5 - 0.4), Latency(1.5 - 0.6, 1.0 - 0.6), None)
    assert drafted == (committed[0], Latency(0.75 - 0.6, 0.5 - 0.6), None)


def test_a_word_that_only_the_final_has_counts_from_the_final() -> None:
    run = run_of((0.5, 0.6, "turn", ""), final=(1.5, 1.75, "turn it off"))
    assert metrics.latencies(SPOKEN, run, with_draft=False)[2] == Latency(0.75, 0.5)


def test_committed_text_that_is_taken_back_is_a_violation() -> None:
    assert metrics.violations(["", "turn", "turn it", "turn it off"]) == 0
    assert metrics.violations(["turn", "turn it", "turned", "turned off"]) == 1


def test_erasure_counts_words_that_were_shown_and_taken_away() -> None:
    shown = [["turn", "if"], ["turn", "it", "of"], ["turn", "it", "off"], ["turn"]]
    assert metrics.erased_words(shown) == 1 + 1 + 2


def test_lagging_is_the_distance_from_an_even_pace() -> None:
    # Two words in 4 s: the ideal says them at 0 and 2 s.
    assert metrics.laal([1.0, 3.0], source_s=4.0, n_reference=2) == pytest.approx(1.0)


def test_lagging_leaves_out_what_waited_for_the_whole_source() -> None:
    # Paces of 1 s: lags 1, 1 and, for the first at the end, 2; the last word does not count.
    delays_s = [1.0, 2.0, 4.0, 4.0]
    assert metrics.laal(delays_s, source_s=4.0, n_reference=4) == pytest.approx(4 / 3)


def test_too_many_words_are_no_way_to_a_smaller_lag() -> None:
    few = metrics.laal([2.0, 4.0], source_s=4.0, n_reference=2)
    many = metrics.laal([2.0, 2.0, 2.0, 4.0], source_s=4.0, n_reference=2)
    assert few is not None
    assert many is not None
    assert many == pytest.approx((2 + 1 + 0 + 1) / 4)
    assert metrics.laal([], source_s=4.0, n_reference=2) is None


def test_each_word_is_delayed_until_the_output_that_brought_it() -> None:
    run = run_of(
        (0.5, 0.6, "turn", " it"), (1.0, 1.1, "turn it", ""), final=(1.5, 1.6, "turn it off")
    )
    assert [shown.audio_s for shown in metrics.word_delays(run)] == [0.5, 1.0, 1.5]


def test_the_first_text_may_be_a_draft() -> None:
    run = run_of((0.5, 0.6, "", "..."), (1.0, 1.1, "", "turn"), final=(1.5, 1.6, "turn"))
    first = metrics.first_text(run)
    assert first is not None
    assert first.audio_s == 1.0
    assert metrics.first_text(run_of(final=(1.0, 1.1, ""))) is None


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("no no no no", True),
        ("no no no", False),
        ("and so my and so my and so my and so my friend", True),
        ("turn it on turn it off turn it on", False),
        ("", False),
    ],
)
def test_a_run_of_words_four_times_over_is_a_loop(text: str, loops: bool) -> None:  # noqa: FBT001
    assert metrics.has_loop(text.split()) is loops


def test_a_slot_is_understood_when_all_its_words_stand_together() -> None:
    slots = {"drink": "house coffee", "milk": " cream", "shots": "double shot"}
    words = words_of("A double house coffee shot, with cream.")
    assert metrics.slots_understood(slots, words) == 2
    assert metrics.slots_understood({"size": "art"}, words_of("start")) == 0


def test_percentiles_are_values_that_occurred() -> None:
    values = [0.4, 0.1, 0.3, 0.2]
    assert metrics.percentile(values, 50) == 0.2
    assert metrics.percentile(values, 95) == 0.4
    assert metrics.percentile([], 50) is None
    assert metrics.mean([]) is None
