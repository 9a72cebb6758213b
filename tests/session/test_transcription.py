"""One utterance behind a VAD: its partials, its final, and silence where nobody spoke."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fakes import FakeTranscriber, FakeVad, Scene
from voice_daemon.session.interfaces import TranscriberError
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.transcription import Transcription

TEXT = "please turn on the lights in the kitchen and close the door"


def transcribed(
    scene: Scene, transcriber: FakeTranscriber | None = None, *, samples: int = 8000
) -> tuple[list[str], str, bool]:
    """Give what was committed after each step, the final text, and whether it is revised."""
    transcription = Transcription(
        transcriber or FakeTranscriber(words=scene.words), FakeVad(), PipelineOptions()
    )
    shown = []
    for first in range(0, scene.now, samples):
        transcription.feed(scene.samples[first : first + samples])
        shown.append(transcription.step())
    final = transcription.finish()
    return shown, final.text, final.revised


def test_text_grows_word_by_word_and_the_final_is_all_of_it() -> None:
    shown, text, revised = transcribed(Scene().silence(500).say(TEXT).silence(800))
    assert all(after.startswith(before) for before, after in pairwise(shown))
    assert len(set(shown)) > 3
    assert (text, revised) == (TEXT, False)


def test_speech_from_the_first_to_the_last_sample_is_whole() -> None:
    _, text, _ = transcribed(Scene().say(TEXT))
    assert text == TEXT


def test_silence_gives_no_text_and_never_asks_the_recogniser() -> None:
    scene = Scene().silence(4000)
    transcriber = FakeTranscriber(words=scene.words)
    assert transcribed(scene, transcriber) == ([""] * 8, "", False)
    assert transcriber.calls == ["start"]


def test_nothing_at_all_gives_no_text() -> None:
    assert transcribed(Scene()) == ([], "", False)


def test_text_that_was_probably_not_spoken_is_not_shown() -> None:
    scene = Scene().silence(500).noise(2000, percent=60).silence(500)
    unsure = FakeTranscriber(words=["you"], revise=lambda _: "Thank you.", no_speech_prob=0.9)
    assert transcribed(scene, unsure)[1:] == ("", False)


def test_pauses_of_any_length_are_bridged() -> None:
    scene = Scene().say("turn on").silence(5000).say("the lights").silence(300)
    assert transcribed(scene)[1] == "turn on the lights"


def test_in_a_pause_the_final_is_made_ready() -> None:
    scene = Scene().silence(300).say(TEXT).silence(1500)
    transcriber = FakeTranscriber(words=scene.words)
    transcription = Transcription(transcriber, FakeVad(), PipelineOptions())
    transcription.feed(scene.samples)
    transcription.step()
    assert transcriber.calls == ["start", "finish"]
    assert transcription.finish().text == TEXT
    assert transcriber.calls == ["start", "finish"]


def test_a_final_made_ready_in_vain_is_dropped() -> None:
    scene = Scene().say("turn on").silence(700).say("the lights").silence(700)
    transcriber = FakeTranscriber(words=scene.words)
    _, text, _ = transcribed(scene, transcriber, samples=1600)
    assert text == "turn on the lights"
    assert transcriber.calls.count("finish") == 2


def test_a_recogniser_that_takes_text_back_does_not_take_it_from_the_reader() -> None:
    scene = Scene().say(TEXT).silence(500)
    forgetful = FakeTranscriber(words=scene.words, forgets_at=4)
    shown, text, _ = transcribed(scene, forgetful)
    assert all(after.startswith(before) for before, after in pairwise(shown))
    assert text == TEXT


def test_a_final_that_differs_says_so() -> None:
    scene = Scene().say(TEXT).silence(500)
    shown, text, revised = transcribed(
        scene, FakeTranscriber(words=scene.words, revise=lambda text: text.upper())
    )
    assert shown[-1]
    assert (text, revised) == (TEXT.upper(), True)


def test_a_failing_recogniser_is_told_apart_from_other_faults() -> None:
    scene = Scene().say(TEXT)
    with pytest.raises(TranscriberError):
        transcribed(scene, FakeTranscriber(words=scene.words, fails_at=("step", 2)))


@given(st.integers(400, 32_000))
def test_the_final_is_the_same_for_any_splitting(samples: int) -> None:
    scene = Scene().silence(300).say("turn on").silence(1500).say("the lights").silence(100)
    assert transcribed(scene, samples=samples)[1] == "turn on the lights"
