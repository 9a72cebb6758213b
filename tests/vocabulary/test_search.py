"""The search finds the most probable sentence of a grammar, in few calls, by real audio."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import soundfile as sf

from voice_daemon.asr import WhisperModel
from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.model import CrossKeys
from voice_daemon.asr.sampler import COMMON, UNSEEN
from voice_daemon.asr.streaming import StreamingConfig, StreamingDecoder
from voice_daemon.vocabulary.branches import BranchingDecoder
from voice_daemon.vocabulary.document import read_document
from voice_daemon.vocabulary.frontier import SearchLimits
from voice_daemon.vocabulary.grammar import SentenceGrammar
from voice_daemon.vocabulary.search import Found, SentenceSearch
from voice_daemon.vocabulary.tokens import TokenAutomaton


class Audio:
    """The bundled command, encoded, with what is read in it."""

    def __init__(self, model: WhisperModel, clip: Path) -> None:
        samples, _ = sf.read(clip, dtype="float32")
        decoder = StreamingDecoder(model, StreamingConfig(emit_partial=False))
        decoder.feed(samples)
        self.heard = decoder.finish().tokens
        self.cross: CrossKeys = decoder._window._encoder.cross
        self.opening = model.initial_tokens("en", "transcribe")
        self.logprobs = decoder.logprobs


@pytest.fixture(scope="module")
def audio(tiny: WhisperModel, demo_clip: Path) -> Audio:
    return Audio(tiny, demo_clip)


def automaton_of(model: WhisperModel, *sentences: str, **lists: list[str]) -> TokenAutomaton:
    payload = {"schema": 1, "sentences": sentences, "lists": lists}
    document = read_document(json.dumps(payload).encode())
    assert document.faults == ()
    grammar = at_once(SentenceGrammar.building(document, "en", home_sentences=False))
    return TokenAutomaton(grammar, model.tokenizer.encode)


def search(
    model: WhisperModel,
    audio: Audio,
    automaton: TokenAutomaton,
    reach: float = 8.0,
    **limits: int,
) -> Found:
    branching = BranchingDecoder(model, audio.logprobs)
    searcher = SentenceSearch(branching, model.tokenizer, limits=SearchLimits(**limits))
    return at_once(
        searcher.searching(
            automaton, audio.cross, audio.opening, audio.heard, reach=lambda *_: reach
        )
    )


def forced_score(model: WhisperModel, audio: Audio, text: str) -> float:
    """Teacher-forced log-probability of a text with its end, by the decoder as it is."""
    tokens = [*model.tokenizer.encode(f" {text}"), model.tokenizer.eot]
    out = model.decoder(mx.array([*audio.opening, *tokens[:-1]]), audio.cross)
    logits = model.decoder.logits(out.hidden[:, len(audio.opening) - 1 :])
    logprobs = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    return float(sum(logprobs[at, token] for at, token in enumerate(tokens)))


def test_one_call_for_all_branches_computes_what_the_decoder_does(
    tiny: WhisperModel, audio: Audio
) -> None:
    tree = BranchingDecoder(tiny).read(audio.cross, audio.opening, audio.heard)
    n = tree.n_places
    tree.grow([400, 500, 600], [3, 3, 3])
    # The last one continues a token of the same call.
    grown = tree.grow([700, 800, 900], [n + 2, n, n + 4])
    for row, tail in enumerate(([600, 700], [400, 800], [400, 800, 900])):
        tokens = [*audio.opening, *audio.heard[:3], *tail]
        out = tiny.decoder(mx.array(tokens), audio.cross)
        logits = tiny.decoder.logits(out.hidden[:, -1:])[0]
        alone = np.array(logits - mx.logsumexp(logits))
        assert np.abs(grown[row] - alone).max() < 1e-3
        assert np.abs(tree.logprobs([n + 3 + row])[0] - alone).max() < 1e-3


def test_tokens_that_matter_are_scored_without_the_whole_vocabulary(
    tiny: WhisperModel, audio: Audio
) -> None:
    out = tiny.decoder(mx.array([*audio.opening, *audio.heard]), audio.cross)
    hidden = out.hidden[0, len(audio.opening) :]
    matter = sorted({*audio.heard, tiny.tokenizer.eot})
    whole, among = audio.logprobs(hidden), audio.logprobs(hidden, matter)
    too_probable = (among - whole)[:, matter]
    assert too_probable.min() > -1e-3
    assert too_probable.max() < 0.5
    rare = [token for token in matter if token >= COMMON]
    assert rare
    assert (among > UNSEEN).sum() == (COMMON + len(rare)) * len(hidden)


def test_a_wide_beam_finds_what_trying_every_sentence_finds(
    tiny: WhisperModel, audio: Audio
) -> None:
    verbs, things = ["turn on", "open"], ["lights", "chicken lights", "radio"]
    automaton = automaton_of(
        tiny, "hey jarvis {verb} the [kitchen] {thing}", verb=verbs, thing=things
    )
    found = search(
        tiny, audio, automaton, width=256, reach=1000, rivals=1000, trailing=1000, n_sentences=40
    )
    assert len(found.sentences) == 12
    for sentence in found.sentences[:8]:
        assert sentence.score == pytest.approx(forced_score(tiny, audio, sentence.text), abs=2e-3)
    best_by_trying = max(
        forced_score(tiny, audio, f"{start}{verb} the {room}{thing}{stop}")
        for start in ("hey jarvis ", "Hey Jarvis, ", "Hey Jarvis ", "Hey jarvis ")
        for verb, room, thing, stop in product(verbs, ("", "kitchen "), things, ("", "."))
        if "," not in start
    )
    assert found.sentences[0].score >= best_by_trying - 2e-3


def test_the_narrow_beam_finds_the_sentence_that_was_said(tiny: WhisperModel, audio: Audio) -> None:
    automaton = automaton_of(
        tiny, "hey jarvis (turn|switch) (on|off) the {thing}", thing=["kitchen lights", "TV"]
    )
    found = search(tiny, audio, automaton)
    assert found.sentences[0].text.rstrip(".").lower() == "hey jarvis turn on the kitchen lights"


def test_the_free_reading_is_scored_with_its_end(tiny: WhisperModel, audio: Audio) -> None:
    automaton = automaton_of(tiny, "hey jarvis turn on the kitchen light")
    found = search(tiny, audio, automaton, reach=30)
    assert found.sentences
    text = tiny.tokenizer.decode(audio.heard)
    assert found.heard.score == pytest.approx(forced_score(tiny, audio, text.strip()), abs=5e-3)


def test_what_cannot_be_a_rival_is_not_followed(tiny: WhisperModel, audio: Audio) -> None:
    sentences = [
        f"hey jarvis turn {way} the {thing}"
        for way in ("on", "off", "down")
        for thing in ("kitchen lights", "chicken lights", "kitten light", "kitchen light")
    ]
    automaton = automaton_of(tiny, *sentences)
    every = search(tiny, audio, automaton, reach=30, rivals=30, trailing=30)

    def search_with_floor() -> Found:
        searcher = SentenceSearch(
            BranchingDecoder(tiny, audio.logprobs),
            tiny.tokenizer,
            limits=SearchLimits(rivals=30, trailing=30),
        )
        return at_once(
            searcher.searching(
                automaton,
                audio.cross,
                audio.opening,
                audio.heard,
                reach=lambda *_: 30.0,
                rival_floor=lambda _, score: score - 2.0,
            )
        )

    mattering = search_with_floor()
    best = every.sentences[0]
    assert mattering.sentences[0].text == best.text
    assert len(mattering.sentences) < len(every.sentences)
    assert mattering.n_calls < every.n_calls
    near = [sentence.text for sentence in every.sentences if sentence.score > best.score - 1.5]
    assert near == [sentence.text for sentence in mattering.sentences][: len(near)]


def test_a_search_that_cannot_succeed_ends_at_once(tiny: WhisperModel, audio: Audio) -> None:
    found = search(tiny, audio, automaton_of(tiny, "water the roses", "is it five o'clock"))
    assert found.sentences == ()
    assert found.n_calls <= 3


def test_an_early_end_has_to_be_paid_for(tiny: WhisperModel, audio: Audio) -> None:
    automaton = automaton_of(tiny, "hey jarvis", "hey jarvis turn on the kitchen lights")
    found = search(tiny, audio, automaton, reach=100, rivals=100)
    whole, early = (score.text for score in found.sentences[:2])
    assert "kitchen" in whole
    assert "kitchen" not in early
    assert found.sentences[0].score - found.sentences[1].score > 3


def test_a_search_may_be_given_up_at_any_step(tiny: WhisperModel, audio: Audio) -> None:
    automaton = automaton_of(tiny, "hey (jarvis|marvin) turn (on|off) the (kitchen|chicken) light")
    searcher = SentenceSearch(BranchingDecoder(tiny), tiny.tokenizer)

    def searching() -> Steps[Found]:
        heard, opening = audio.heard, audio.opening
        return searcher.searching(automaton, audio.cross, opening, heard, reach=lambda *_: 9.0)

    for n_steps in range(3):
        steps = searching()
        for _ in range(n_steps):
            next(steps)
        steps.close()
    again = at_once(searching())
    assert again.n_calls > 1


def test_a_wildcard_is_filled_by_the_model(tiny: WhisperModel, audio: Audio) -> None:
    home = read_document(b'{"schema": 1, "entities": ["Shopping List"]}')
    grammar = at_once(SentenceGrammar.building(home, "en"))
    automaton = TokenAutomaton(grammar, tiny.tokenizer.encode)
    found = search(tiny, audio, automaton, reach=60, max_tokens=20)
    assert found.n_calls <= 21
