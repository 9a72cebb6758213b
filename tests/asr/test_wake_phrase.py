from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.asr.transcriber import after_phrase
from voice_daemon.events import Word, last_words


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Hey Jarvis, turn on the lights.", "turn on the lights."),
        ("Hey, Jarvis! Stop.", "Stop."),
        ("Jarvis, stop.", "stop."),
        ("Jervis stop.", "stop."),
        ("Hey Travis. What time is it?", "What time is it?"),
        ("hey jarvis", ""),
        ("Hey, Jarvis...", ""),
        ("Hey Jarvis, it's 20 degrees.", "it's 20 degrees."),
    ],
)
def test_a_wake_phrase_is_left_out_however_it_is_read(text: str, rest: str) -> None:
    assert after_phrase(text, "Hey Jarvis") == rest


@pytest.mark.parametrize("text", ["", "Turn on the lights.", "?!", "What time is it, Jarvis?"])
def test_a_text_that_begins_otherwise_has_no_wake_phrase(text: str) -> None:
    assert after_phrase(text, "Hey Jarvis") is None


def test_a_phrase_of_one_word_may_be_read_as_two() -> None:
    assert after_phrase("A lexa, stop.", "Alexa") == "stop."


@given(st.text(), st.sampled_from(["Hey Jarvis", "Alexa", "Hey Mycroft"]))
def test_what_is_left_is_the_end_of_the_text_and_begins_with_a_word(text: str, phrase: str) -> None:
    rest = after_phrase(text, phrase)
    assert rest is None or text.endswith(rest)
    assert not rest or rest[0].isalnum()


def test_words_are_those_of_the_text_that_is_left() -> None:
    words = tuple(Word(text, 0.0, 1.0) for text in ("Hey,", "Jarvis,", "it's", "twenty-two."))
    assert [word.text for word in last_words(words, "it's twenty-two.")] == ["it's", "twenty-two."]
    assert last_words(words, "") == ()
    assert last_words(words, "Hey, Jarvis, it's twenty-two.") == words
