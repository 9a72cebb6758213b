"""Correction of real audio by the bundled model: it can only fail into what was heard."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from voice_daemon.asr import WhisperModel
from voice_daemon.asr.cooperative import at_once
from voice_daemon.asr.streaming import StreamingConfig, StreamingDecoder
from voice_daemon.asr.transcriber import WhisperTranscriber, retimed
from voice_daemon.events import Transcript, Word
from voice_daemon.vocabulary.acceptance import Reason
from voice_daemon.vocabulary.correction import Corrector, building_vocabulary
from voice_daemon.vocabulary.document import read_document


class Rig:
    """A transcriber that knows a home, and the bundled command."""

    def __init__(self, model: WhisperModel, clip: Path, **document: object) -> None:
        samples: NDArray[np.int16] = sf.read(clip, dtype="int16")[0]
        config = StreamingConfig(emit_partial=False)
        decoder = StreamingDecoder(model, config)
        self.corrector = Corrector(model, logprobs=decoder.logprobs)
        payload = json.dumps({"schema": 1, **document}).encode()
        self.corrector.home = at_once(
            building_vocabulary(
                read_document(payload), model.tokenizer.encode, language="en", sentences="none"
            )
        )
        self.transcriber = WhisperTranscriber(
            model, config, decoder=decoder, corrector=self.corrector
        )
        # "Hey Jarvis" stays outside: the command alone.
        self.transcriber.start(wake_phrase=None)
        self.transcriber.feed(samples[26_000:])

    def final(self) -> Transcript:
        return at_once(self.transcriber.correcting(self.transcriber.finish()))


def test_a_home_sentence_that_was_heard_costs_no_call_of_the_decoder(
    tiny: WhisperModel, demo_clip: Path
) -> None:
    rig = Rig(tiny, demo_clip, sentences=["turn on the kitchen lights"])
    final = rig.final()
    assert (final.text, final.heard, final.in_vocabulary) == (
        "Turn on the kitchen lights.",
        None,
        True,
    )
    assert rig.corrector.newest is not None
    assert rig.corrector.newest.n_calls == 0


def test_names_are_written_as_the_home_writes_them(tiny: WhisperModel, demo_clip: Path) -> None:
    rig = Rig(
        tiny,
        demo_clip,
        entities=[{"name": "Kitchen-Lights", "spellings": ["kitchen lights"]}],
        sentences=["turn on the {name}"],
    )
    final = rig.final()
    assert final.text == "Turn on the Kitchen-Lights."
    assert final.heard == "Turn on the kitchen lights."
    assert [word.text for word in final.words][-1] == "Kitchen-Lights."
    assert final.words[-1].end_s > final.words[0].start_s


def test_another_home_leaves_the_command_as_it_was_heard(
    tiny: WhisperModel, demo_clip: Path
) -> None:
    rig = Rig(tiny, demo_clip, sentences=["turn on the garden hose", "turn off the lamp"])
    final = rig.final()
    assert (final.text, final.heard, final.in_vocabulary) == (
        "Turn on the kitchen lights.",
        None,
        False,
    )


def test_without_names_nothing_is_said_of_a_vocabulary(tiny: WhisperModel, demo_clip: Path) -> None:
    rig = Rig(tiny, demo_clip, sentences=["turn on the kitchen lights"])
    rig.corrector.home = None
    assert rig.final().in_vocabulary is None


def test_names_in_another_language_are_not_asked(tiny: WhisperModel, demo_clip: Path) -> None:
    rig = Rig(tiny, demo_clip, language="de", sentences=["turn on the kitchen lights"])
    assert rig.final().in_vocabulary is None


def test_a_mistake_in_the_search_leaves_what_was_heard(
    tiny: WhisperModel, demo_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tiny, demo_clip, sentences=["turn on the chicken lights"])

    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("Ottilie")

    monkeypatch.setattr(rig.corrector._search, "searching", fail)
    final = rig.final()
    assert (final.text, final.in_vocabulary) == ("Turn on the kitchen lights.", False)
    assert rig.corrector.newest is not None
    assert rig.corrector.newest.reason is Reason.NOT_SEARCHED


def test_a_correction_may_be_given_up_at_any_step(tiny: WhisperModel, demo_clip: Path) -> None:
    rig = Rig(tiny, demo_clip, sentences=["turn on the chicken lights", "turn on the {name}"])
    heard = rig.transcriber.finish()
    for n_steps in range(4):
        steps = rig.transcriber.correcting(heard)
        for _ in range(n_steps):
            next(steps, None)
        steps.close()
    assert rig.transcriber.finish().text == heard.text


def test_corrected_words_stand_where_the_others_did() -> None:
    heard = (Word("Watch", 0.1, 0.4), Word("the", 0.4, 0.5), Word("E-COB.", 0.6, 1.2))
    one = retimed(heard, "What's the Ecobee?")
    assert [(word.text, word.start_s, word.end_s) for word in one] == [
        ("What's", 0.1, 0.4),
        ("the", 0.4, 0.5),
        ("Ecobee?", 0.6, 1.2),
    ]
    two = retimed(heard, "What is the big Ecobee?")
    assert [word.text for word in two] == ["What", "is", "the", "big", "Ecobee?"]
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(two))
    assert retimed((), "a b")[0].text == "a"
