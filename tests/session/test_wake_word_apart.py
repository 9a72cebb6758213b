"""What is read with a wake word: nothing that others say before it, all that its speaker says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.fakes import FakeTranscriber, Rig, Scene
from support.scenes import COMMAND, of
from voice_daemon.events import Transcript, TranscriptFinal, TranscriptPartial
from voice_daemon.session.pipeline import PipelineOptions


class Confused(FakeTranscriber):
    """Takes all that follows a wake phrase for a part of it."""

    def finish(self, *, within_s: float = 0) -> Transcript:
        read = super().finish(within_s=within_s)
        return replace(read, text="", words=()) if self.wake_phrases[-1] else read


def test_a_command_of_which_nothing_is_read_behind_the_wake_word_is_read_without_it() -> None:
    scene = Scene().silence(500).wake(late_ms=0).say("five five five five one two").silence(2000)
    events = Rig(scene, transcriber=Confused(words=scene.words)).play()
    (final,) = of(TranscriptFinal, events)
    assert final.text == "five five five five one two"
    assert all(word.start_s <= word.end_s <= 1.6 for word in final.words)


def test_a_wake_word_that_is_drawn_out_is_not_read_again() -> None:
    scene = Scene().silence(500).wake(late_ms=-100).noise(800, percent=90).silence(2000)
    rig = Rig(scene, transcriber=Confused(words=scene.words))
    assert not of(TranscriptFinal, rig.play())
    assert set(rig.transcriber.wake_phrases) == {"Hey Jarvis"}


def first_partial(before: Scene) -> TranscriptPartial:
    scene = before.wake(late_ms=80).say(COMMAND).silence(2000)
    events = Rig(scene, options=PipelineOptions(step_s=0.25)).play()
    (final,) = of(TranscriptFinal, events)
    assert final.text == COMMAND
    return of(TranscriptPartial, events)[0]


def test_what_others_say_before_the_wake_word_is_not_read() -> None:
    alone = first_partial(Scene().silence(4000))
    others = first_partial(Scene().silence(500).say("and that is all of the news for today"))
    assert others.text + others.draft == alone.text + alone.draft
    assert others.audio_ms == pytest.approx(alone.audio_ms, abs=100)


@pytest.mark.parametrize("late_ms", [600, 800, 1000, 1100])
def test_a_wake_word_said_again_and_told_in_the_middle_of_its_command_loses_nothing(
    late_ms: float,
) -> None:
    scene = Scene().silence(2000).wake().silence(700).wake(late_ms=late_ms).silence(150)
    rig = Rig(scene.say("turn on the lamp").silence(3000))
    (final,) = of(TranscriptFinal, rig.play())
    assert final.text == "turn on the lamp"
