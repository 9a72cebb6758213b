"""The benchmark of a home's names judges as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tools.bench.home import Judge, mixed
from tools.bench.rivals import rivals_of, speech_to_phrase_home
from voice_daemon.vocabulary.document import read_document
from voice_daemon.vocabulary.store import read_file

DOCUMENTS = Path(__file__).parent / "documents"


@pytest.fixture(scope="module")
def judge() -> Judge:
    home = {"schema": 1, "entities": [{"name": "Bed Light", "domain": "light"}]}
    return Judge(read_document(json.dumps(home).encode()), "en", home_sentences=True)


def test_digits_and_words_are_one_number(judge: Judge) -> None:
    by_digits = judge.meanings("set a timer for 5 minutes")
    assert by_digits
    assert by_digits == judge.meanings("Set a timer for five minutes.")


def test_another_state_is_another_command(judge: Judge) -> None:
    assert judge.meanings("turn on the bed light")
    assert not judge.meanings("turn on the bed light") & judge.meanings("turn off the bed light")
    assert judge.meanings("turn on the red light") == frozenset()


@pytest.mark.parametrize("file", sorted(DOCUMENTS.glob("*.json")), ids=lambda file: file.stem)
def test_the_documents_are_whole(file: Path) -> None:
    assert read_file(file).faults == ()


def test_coffee_orders_are_read_with_their_slots() -> None:
    judge = Judge(read_file(DOCUMENTS / "coffee.json"), "en", home_sentences=False)
    found = judge.meanings("can I get a small dark roast latte with a bit of milk and sugar")
    wanted = {
        ("size", "small"),
        ("roast", "dark roast"),
        ("coffeeDrink", "latte"),
        ("milkAmount", "a bit of milk"),
        ("sugarAmount", "sugar"),
    }
    assert any(set(slots) == wanted for _, slots in found)


def test_noise_is_mixed_in_as_loud_as_it_should_be() -> None:
    generator = np.random.default_rng(1)
    speech = generator.normal(0, 0.1, 32_000).astype(np.float32)
    noise = generator.normal(0, 0.5, 64_000).astype(np.float32)
    loud, soft = (mixed(speech, noise, snr_db=snr_db, seed=1) for snr_db in (0, 24))
    alike = [float(np.corrcoef(speech, noisy)[0, 1]) for noisy in (loud, soft)]
    assert alike[0] < 0.8
    assert alike[1] > 0.99
    assert np.abs(loud).max() == pytest.approx(0.5)


def test_text_snapping_finds_the_sentence_with_the_fewest_changed_letters() -> None:
    document = read_file(DOCUMENTS / "coffee.json")
    snap = rivals_of(document, "en", home_sentences=False)["text snapping"]
    nothing = np.zeros(0, np.float32)
    found = snap.hear(nothing, "Give me a large dark rose lotto with cream.")
    assert found == "give me a large dark roast latte with cream"
    assert snap.hear(nothing, "It was a bright cold day.") == "It was a bright cold day."


def test_rivals_know_the_small_homes_names_by_their_kinds() -> None:
    home = {"schema": 1, "entities": [{"name": "Bed Light", "domain": "light"}, "Ecobee"]}
    small = speech_to_phrase_home(read_document(json.dumps(home).encode()), "en")
    assert small.lists["name_light_switch_fan_media_player_input_boolean"] == ("Bed Light",)
    assert len(small.lists["timer_minutes"]) == 100
    assert "set a timer for {timer_minutes} minute[s]" in small.sentences
