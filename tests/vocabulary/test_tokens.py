"""The token automaton accepts what the grammar says, as the model's tokenizer writes it."""

from __future__ import annotations

import random

import pytest

from vocabulary.test_grammar import walked
from voice_daemon.asr import WhisperModel
from voice_daemon.asr.cooperative import at_once
from voice_daemon.vocabulary import tokens as tokens_module
from voice_daemon.vocabulary.grammar import SentenceGrammar
from voice_daemon.vocabulary.tokens import TokenAutomaton


def test_every_sentence_of_the_grammar_is_accepted_in_each_case(
    grammar: SentenceGrammar, automaton: TokenAutomaton, tiny: WhisperModel
) -> None:
    chance = random.Random(3)  # noqa: S311 - no secret
    sentences = [text for _ in range(200) if (text := walked(grammar, chance))]
    assert len(sentences) > 80
    for text in sentences:
        for form in (text, text.lower(), text[:1].upper() + text[1:], text.title()):
            if form == text.title() and not form.replace(" ", "").isalpha():
                continue  # capitals inside words: nobody writes "Isn'T"
            assert automaton.accepts(tiny.tokenizer.encode(f" {form}")), form


@pytest.mark.parametrize(
    "text", ["turn on the", "turn on the bed", "bed", "Turn on the shed light"]
)
def test_the_beginning_of_a_sentence_is_none(
    text: str, automaton: TokenAutomaton, tiny: WhisperModel
) -> None:
    assert not automaton.accepts(tiny.tokenizer.encode(f" {text}"))


def test_random_tokens_are_refused(automaton: TokenAutomaton) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    for _ in range(300):
        assert not automaton.accepts([chance.randrange(50_000) for _ in range(3)])


def test_a_wildcard_takes_any_words_and_goes_on_behind_them(
    automaton: TokenAutomaton, tiny: WhisperModel
) -> None:
    encode = tiny.tokenizer.encode
    assert automaton.accepts(encode(" Add purple dinosaur juice to my shopping list"))
    assert not automaton.accepts(encode(" Add purple dinosaur juice to my"))
    assert not automaton.accepts(encode(" Purple dinosaur juice"))


def test_nodes_are_forgotten_between_utterances_once_there_are_too_many(
    grammar: SentenceGrammar, tiny: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "MAX_NODES", 20)
    automaton = TokenAutomaton(grammar, tiny.tokenizer.encode)
    sentence = tiny.tokenizer.encode(" Turn on the bed light")
    assert automaton.accepts(sentence)
    assert automaton.n_nodes > 20
    automaton.tidy()
    assert automaton.n_nodes == 1
    assert automaton.accepts(sentence)


def test_warming_leaves_little_to_do(grammar: SentenceGrammar, tiny: WhisperModel) -> None:
    automaton = TokenAutomaton(grammar, tiny.tokenizer.encode)
    at_once(automaton.warming())
    warm = automaton.n_nodes
    assert automaton.accepts(tiny.tokenizer.encode(" Turn on the bed light"))
    assert automaton.n_nodes - warm < warm
