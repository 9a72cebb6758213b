"""Texts after which more may follow."""

from __future__ import annotations

import pytest

from voice_daemon.endpoint.unfinished import (
    OPEN_WORDS,
    SHORT_COMMANDS,
    is_short_command,
    is_unfinished,
)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Turn on.", "en"),
        ("Add milk.", "en"),
        ("Please turn on.", "en"),
        ("Skip to", "en"),
        ("Cancel the", "en"),
        ("Set the temperature to", "en"),
        ("Could you play?", "en"),
        ("Set a timer.", "en"),
        ("What is the", "en"),
        ("Schalte bitte an.", "de"),
        ("Öffne und schließe", "de"),
        ("Allume la lumière de la", "fr"),
        ("", "en"),
        ("Lichten", "xx"),
    ],
)
def test_more_may_follow(text: str, language: str) -> None:
    assert is_unfinished(text, language)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Turn on the kitchen lights.", "en"),
        ("Set the temperature to 21 degrees.", "en"),
        ("What time is it?", "en"),
        ("Schalte das Licht in der Küche.", "de"),
        ("Allume la lumière du salon.", "fr"),
        ("Turn on the", "xx"),
        ("Please turn it on.", "en"),
        ("Turn on the kitchen lights, please.", "en"),
        ("Turn the bedroom light off.", "en"),
        ("Schalte bitte das Licht an.", "de"),
        ("Cancel timer.", "en"),
        ("Stop the alarm.", "en"),
        ("Next!", "en"),
        ("Never mind.", "en"),
    ],
)
def test_a_whole_sentence_is_finished(text: str, language: str) -> None:
    assert not is_unfinished(text, language)


def test_open_words_are_written_as_they_are_compared() -> None:
    for language, words in OPEN_WORDS.items():
        assert all(word == word.casefold() for word in words), language


def test_short_commands_are_few_words_as_they_are_compared() -> None:
    for language, texts in SHORT_COMMANDS.items():
        assert all(is_short_command(f"{text.capitalize()}.", language) for text in texts), language
