"""The pipeline's rules for sessions, one a test, on scenes that say what is in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from support.fakes import FakeTranscriber, Rig, Scene, blocks
from support.scenes import COMMAND, continuous, in_speech, of, paused, reasons, states
from voice_daemon.endpoint.speaker_level import COMMAND_MARGIN_DB
from voice_daemon.events import (
    EndReason,
    ErrorRaised,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    ms_to_samples,
)
from voice_daemon.session.pipeline import PipelineOptions
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES

# --- a session that goes well ---------------------------------------------------------------


def test_a_command_without_a_pause_keeps_its_first_word_and_loses_the_wake_word() -> None:
    rig = Rig(continuous())
    (final,) = of(TranscriptFinal, rig.play())
    assert final.text == COMMAND
    assert rig.transcriber.wake_phrases == ["Hey Jarvis"]


def test_a_command_after_a_pause_is_read_without_the_wake_word() -> None:
    rig = Rig(paused())
    (final,) = of(TranscriptFinal, rig.play())
    assert final.text == COMMAND
    assert rig.transcriber.wake_phrases == [None]


@pytest.mark.parametrize("pause_ms", [0, 100, 200, 280, 350, 500, 1000, 4000])
@pytest.mark.parametrize("late_ms", [-160, 0, 160, 240])
def test_no_pause_and_no_late_detection_costs_a_word_or_adds_the_wake_word(
    pause_ms: float, late_ms: float
) -> None:
    scene = Scene().silence(900).wake(late_ms=late_ms).silence(pause_ms).say(COMMAND).silence(1500)
    (final,) = of(TranscriptFinal, Rig(scene).play())
    assert final.text == COMMAND


def test_a_short_command_right_after_the_wake_word_is_not_taken_for_its_end() -> None:
    rig = Rig(continuous("stop"))
    events = rig.play()
    assert [f.text for f in of(TranscriptFinal, events)] == ["stop"]
    assert states(events) == [State.LISTENING, State.TRANSCRIBING, State.IDLE]
    read = [call for call in rig.transcriber.calls if call != "step"]
    assert read == ["start", "finish", "reset"]


def test_a_long_end_of_the_wake_word_is_not_taken_for_a_command() -> None:
    rig = Rig(Scene().silence(500).wake(late_ms=-250).silence(400).say("stop").silence(1200))
    events = rig.play()
    assert [f.text for f in of(TranscriptFinal, events)] == ["stop"]
    assert rig.transcriber.wake_phrases == ["Hey Jarvis", None]


def test_the_events_of_a_session_come_in_order() -> None:
    events = Rig(paused("stop that")).play()
    kinds = [type(event) for event in events if not isinstance(event, TranscriptPartial)]
    assert kinds == [
        WakeDetected,
        SessionStarted,
        StateChanged,
        SpeechStarted,
        StateChanged,
        SpeechEnded,
        TranscriptFinal,
        SessionEnded,
        StateChanged,
    ]
    assert states(events) == [State.LISTENING, State.TRANSCRIBING, State.IDLE]


def test_partials_grow_into_the_final() -> None:
    rig = Rig(continuous(), options=PipelineOptions(step_s=0.25))
    events = rig.play()
    partials = of(TranscriptPartial, events)
    assert len(partials) >= 3
    assert partials[-1].text.startswith("turn on")
    assert [p.seq for p in partials] == list(range(1, len(partials) + 1))
    assert of(TranscriptFinal, events)[0].seq == len(partials) + 1


def after_wake(scene: Scene, ms: float) -> int:
    return scene.wakes[0] + ms_to_samples(ms)


def test_a_word_behind_the_wake_word_shows_while_it_may_still_be_its_tail() -> None:
    rig = Rig(continuous())
    events = rig.play(until=after_wake(rig.scene, 300))
    (partial,) = of(TranscriptPartial, events)
    assert (partial.text + partial.draft).startswith("turn")
    assert states(events) == [State.LISTENING, State.TRANSCRIBING]


@pytest.mark.parametrize("order", ["mute", "cancel"])
def test_an_order_in_the_wake_words_tail_shows_nothing_of_what_was_read(order: str) -> None:
    rig = Rig(continuous())
    rig.play(until=after_wake(rig.scene, 200))
    events = getattr(rig.pipeline, order)() + rig.play()
    assert not of(TranscriptPartial, events)
    assert not rig.transcriber.holds_audio


@pytest.mark.parametrize("tail_ms", [150, 300, 450])
def test_a_wake_word_that_is_misread_shows_no_text(tail_ms: float) -> None:
    scene = Scene().silence(1000).wake(late_ms=-tail_ms).silence(6000)
    transcriber = FakeTranscriber(words=["Hey", "Travis"])
    events = Rig(scene, transcriber=transcriber, options=PipelineOptions(step_s=0.1)).play()
    assert not of(TranscriptPartial, events)


def test_the_final_says_when_it_differs_from_what_was_committed() -> None:
    scene = continuous()
    transcriber = FakeTranscriber(words=scene.words, revise=lambda text: text.capitalize() + ".")
    (final,) = of(TranscriptFinal, Rig(scene, transcriber=transcriber).play())
    assert (final.text, final.revised) == ("Turn on the kitchen lights.", True)


def test_steps_fall_every_step_s_of_audio_from_the_start_of_speech() -> None:
    rig = Rig(paused(), options=PipelineOptions(step_s=0.25))
    events = rig.play()
    lead_ms = 300
    heard_ms = [partial.audio_ms - lead_ms for partial in of(TranscriptPartial, events)]
    late_ms = [ms - round(ms / 250) * 250 for ms in heard_ms]
    assert len(heard_ms) >= 4
    # The voice detector's frame places speech, the frame of the input the step.
    assert all(-32 <= ms <= 32 for ms in late_ms)


def test_without_partials_there_is_only_the_final() -> None:
    rig = Rig(continuous(), options=PipelineOptions(partials=False))
    events = rig.play()
    assert not of(TranscriptPartial, events)
    assert of(TranscriptFinal, events)[0].seq == 1
    assert "step" not in rig.transcriber.calls


def test_the_final_is_ready_before_the_hangover_ends() -> None:
    rig = Rig(continuous(), options=PipelineOptions(silence_ms=700, patience_share=1))
    rig.transcriber.cost_ms = 200
    (final,) = of(TranscriptFinal, rig.play())
    assert rig.transcriber.calls.count("finish") == 1
    assert final.timing.finalize_ms < 700 + 100


def silence_before_the_end(scene: Scene, *, completeness: float) -> int:
    """Play a scene to its final; the milliseconds from the end of speech to that."""
    transcriber = FakeTranscriber(words=scene.words, completeness=(completeness,))
    events = Rig(scene, transcriber=transcriber).play()
    assert reasons(events) == [(EndReason.SILENCE, 1)]
    return of(TranscriptFinal, events)[0].timing.finalize_ms


@pytest.mark.parametrize("scene", [continuous(), paused()])
def test_a_whole_sentence_is_published_sooner_than_half_a_one(scene: Scene) -> None:
    options = PipelineOptions()
    closed_ms = silence_before_the_end(scene, completeness=0.95)
    whole_ms = silence_before_the_end(scene, completeness=0.8)
    half_ms = silence_before_the_end(scene, completeness=0.1)
    assert options.closed_share * options.silence_ms <= closed_ms < whole_ms - 100
    assert half_ms >= options.silence_ms
    assert options.complete_share * options.silence_ms <= whole_ms < half_ms - 100


@pytest.mark.parametrize("text", ["begin", "add milk", "please turn on"])
def test_a_text_that_more_may_follow_waits_the_whole_silence(text: str) -> None:
    options = PipelineOptions()
    waited_ms = silence_before_the_end(continuous(text), completeness=0.9)
    assert waited_ms >= options.silence_ms * options.patience_share - 32


def test_a_whole_sentence_that_goes_on_is_not_cut_after_what_follows() -> None:
    scene = Scene().silence(500).wake().say("turn it on").silence(400).say("and").silence(3000)
    transcriber = FakeTranscriber(words=scene.words, completeness=(0.8, 0.1))
    (final,) = of(TranscriptFinal, Rig(scene, transcriber=transcriber).play())
    assert final.text == "turn it on and"
    assert final.timing.finalize_ms >= PipelineOptions().silence_ms


@pytest.mark.parametrize("pause_ms", [0, 100, 500])
def test_a_much_fainter_voice_behind_the_command_neither_holds_it_open_nor_is_read(
    pause_ms: float,
) -> None:
    scene = Scene().silence(500).wake(late_ms=80).say(COMMAND).silence(pause_ms)
    loudest = np.abs(scene.samples).max()
    behind = scene.noise(8000, percent=90)
    assert 20 * np.log10(90 / loudest) < -COMMAND_MARGIN_DB
    rig = Rig(behind)
    events = rig.play()
    (final,) = of(TranscriptFinal, events)
    assert (final.text, reasons(events)) == (COMMAND, [(EndReason.SILENCE, 1)])
    assert final.timing.finalize_ms < 1500


def test_a_speaker_goes_on_after_a_pause_in_which_a_fainter_voice_is_heard() -> None:
    scene = Scene().silence(500).wake(late_ms=80).say("turn on the").noise(700, percent=80)
    scene.say("kitchen lights").silence(2000)
    (final,) = of(TranscriptFinal, Rig(scene).play())
    assert final.text == COMMAND


def test_a_final_prepared_too_early_is_dropped_when_speech_resumes() -> None:
    scene = Scene().silence(500).wake().say("turn on").silence(500).say("the lights").silence(1200)
    rig = Rig(scene)
    (final,) = of(TranscriptFinal, rig.play())
    assert final.text == "turn on the lights"
    assert rig.transcriber.calls.count("finish") == 2


def test_a_final_prepared_before_more_was_said_is_never_used() -> None:
    scene = Scene().silence(500).wake().say("turn on").silence(400).say("one two " * 10)
    events = Rig(scene, options=PipelineOptions(max_s=3)).play()
    (final,) = of(TranscriptFinal, events)
    assert final.end_reason is EndReason.MAX_LENGTH
    assert final.text.startswith("turn on one two")


def test_no_step_is_taken_while_silence_is_suspected() -> None:
    rig = Rig(continuous(), options=PipelineOptions(silence_ms=1900, patience_share=1))
    rig.play()
    assert rig.transcriber.calls.index("finish") == len(rig.transcriber.calls) - 2


def test_times_of_a_final_lie_within_the_speech() -> None:
    scene = paused()
    events = Rig(scene).play()
    (final,) = of(TranscriptFinal, events)
    (started,) = of(SpeechStarted, events)
    (ended,) = of(SpeechEnded, events)
    assert final.duration_ms == pytest.approx(5 * 240, abs=64)
    assert ended.at_sample - started.at_sample == ms_to_samples(final.duration_ms)
    assert [w.start_s for w in final.words] == pytest.approx([0, 0.24, 0.48, 0.72, 0.96], abs=0.04)


def test_a_command_to_listen_opens_a_session_without_a_wake_word() -> None:
    scene = Scene().silence(1000).silence(400).say("stop").silence(1000)
    rig = Rig(scene)
    events = rig.play(until=16_000) + rig.pipeline.listen() + rig.play()
    assert not of(WakeDetected, events)
    assert [s.wake_word for s in of(SessionStarted, events)] == [None]
    assert [f.text for f in of(TranscriptFinal, events)] == ["stop"]
    assert rig.transcriber.wake_phrases == [None]


def test_a_word_begun_just_before_the_command_to_listen_is_kept() -> None:
    scene = Scene().silence(1000).say("stop that").silence(1000)
    rig = Rig(scene)
    rig.play(until=ms_to_samples(1200))
    events = rig.pipeline.listen() + rig.play()
    assert [f.text for f in of(TranscriptFinal, events)] == ["stop that"]


def test_the_wake_word_before_a_pause_stays_outside_however_long_the_lead() -> None:
    scene = Scene().silence(500).wake(late_ms=-200).silence(300).say(COMMAND).silence(1000)
    events = Rig(scene, options=PipelineOptions(speech_lead_ms=800)).play()
    assert [f.text for f in of(TranscriptFinal, events)] == [COMMAND]


def test_every_session_starts_with_a_fresh_voice_detector() -> None:
    rig = Rig(continuous("lights on").wake().say("lights off").silence(2000))
    rig.play()
    assert rig.vad.resets == 2


def test_the_recogniser_holds_no_audio_between_sessions() -> None:
    rig = Rig(continuous())
    rig.play()
    assert not rig.transcriber.holds_audio


def test_a_second_command_is_heard_after_the_first() -> None:
    scene = continuous("lights on").wake().say("lights off").silence(2000)
    events = Rig(scene).play()
    assert [f.text for f in of(TranscriptFinal, events)] == ["lights on", "lights off"]
    assert [s.session_id for s in of(SessionEnded, events)] == ["session-1", "session-2"]


# --- sessions without a final ----------------------------------------------------------------


def test_a_wake_word_alone_ends_as_no_speech_and_never_reaches_the_recogniser() -> None:
    rig = Rig(Scene().silence(1000).wake(late_ms=80).silence(6000))
    events = rig.play()
    assert reasons(events) == [(EndReason.NO_SPEECH, 0)]
    assert states(events) == [State.LISTENING, State.IDLE]
    assert not of(TranscriptPartial, events)
    assert "start" not in rig.transcriber.calls


def test_voice_without_words_ends_as_no_speech() -> None:
    scene = Scene().silence(1000).wake().silence(400).noise(800, percent=90).silence(1000)
    events = Rig(scene).play()
    assert reasons(events) == [(EndReason.NO_SPEECH, 0)]
    assert not of(ErrorRaised, events)


@pytest.mark.parametrize(
    ("no_speech_prob", "confidence", "finals"), [(0.9, 0.2, 0), (0.9, 0.8, 1), (0.1, 0.2, 1)]
)
def test_text_that_nobody_said_with_confidence_is_no_final(
    no_speech_prob: float, confidence: float, finals: int
) -> None:
    scene = continuous()
    transcriber = FakeTranscriber(
        words=scene.words, no_speech_prob=no_speech_prob, confidence=confidence
    )
    reason = EndReason.SILENCE if finals else EndReason.NO_SPEECH
    assert reasons(Rig(scene, transcriber=transcriber).play()) == [(reason, finals)]


def test_a_speaker_who_never_stops_gets_a_final_at_the_longest_length() -> None:
    scene = Scene().silence(1000).wake().say(" ".join(["more"] * 60), word_ms=300)
    events = Rig(scene, options=PipelineOptions(max_s=6)).play(until=8 * 16_000)
    (final,) = of(TranscriptFinal, events)
    assert final.end_reason is EndReason.MAX_LENGTH
    assert reasons(events) == [(EndReason.MAX_LENGTH, 1)]


def test_cancel_drops_the_command_without_complaint() -> None:
    rig = Rig(continuous())
    in_speech(rig)
    events = rig.pipeline.cancel()
    assert reasons(events) == [(EndReason.CANCELLED, 0)]
    assert states(events) == [State.IDLE]
    assert not of(ErrorRaised, events)
    assert not of(TranscriptFinal, rig.play())


@pytest.mark.parametrize("command", ["cancel", "shutdown", "lose_input", "unmute"])
def test_commands_say_nothing_when_there_is_nothing_to_do(command: str) -> None:
    rig = Rig(continuous())
    rig.play(until=16_000)
    assert getattr(rig.pipeline, command)() == []


def test_listening_again_in_a_session_changes_nothing() -> None:
    rig = Rig(continuous())
    in_speech(rig)
    assert rig.pipeline.listen() == []
    assert rig.pipeline.session_id == "session-1"


def test_listening_without_an_input_is_refused_with_a_remedy() -> None:
    rig = Rig(continuous())
    (error,) = of(ErrorRaised, rig.pipeline.listen())
    assert error.code == "session.no_input"
    assert rig.pipeline.state is State.IDLE


@pytest.mark.parametrize(
    ("command", "reason"),
    [("lose_input", EndReason.MIC_LOST), ("shutdown", EndReason.SHUTDOWN)],
)
def test_a_command_cut_off_against_the_speakers_will_is_reported_as_lost(
    command: str, reason: EndReason
) -> None:
    rig = Rig(continuous())
    in_speech(rig)
    events = getattr(rig.pipeline, command)()
    assert reasons(events) == [(reason, 0)]
    assert [e.code for e in of(ErrorRaised, events)] == ["session.command_lost"]
    assert isinstance(events[-2], SessionEnded)


@pytest.mark.parametrize("command", ["lose_input", "shutdown"])
def test_nothing_is_reported_as_lost_before_anybody_spoke(command: str) -> None:
    rig = Rig(paused(pause_ms=2000))
    rig.play(until=rig.scene.wakes[0] + 16_000)
    assert rig.pipeline.state is State.LISTENING
    assert not of(ErrorRaised, getattr(rig.pipeline, command)())


def test_shutdown_in_the_hangover_publishes_what_was_said() -> None:
    rig = Rig(continuous())
    rig.play(until=rig.scene.now - ms_to_samples(2000 - 400))
    events = rig.pipeline.shutdown()
    (final,) = of(TranscriptFinal, events)
    assert (final.text, final.end_reason) == (COMMAND, EndReason.SHUTDOWN)
    assert reasons(events) == [(EndReason.SHUTDOWN, 1)]
    assert not of(ErrorRaised, events)


def test_a_wake_in_a_session_opens_no_other() -> None:
    scene = Scene().silence(500).wake().silence(500).wake().say("stop").silence(900)
    rig = Rig(scene)
    events = rig.play()
    assert len(of(WakeDetected, events)) == 1


@pytest.mark.parametrize("pause_ms", [0, 100, 400])
@pytest.mark.parametrize("before", ["", "turn off the light", "turn off the light in the hall"])
def test_a_wake_word_said_again_begins_the_command_anew(before: str, pause_ms: float) -> None:
    scene = Scene().silence(1000).wake(late_ms=80).say(before).silence(300)
    scene.wake(late_ms=80).silence(pause_ms).say("turn on the kitchen fan").silence(2000)
    events = Rig(scene).play()
    (final,) = of(TranscriptFinal, events)
    assert final.text == "turn on the kitchen fan"
    assert reasons(events) == [(EndReason.SILENCE, 1)]


def test_partials_of_a_command_begun_anew_keep_what_was_committed() -> None:
    scene = Scene().silence(1000).wake(late_ms=80).say("turn off the light in the hall")
    scene.silence(300).wake(late_ms=80).say("turn on the kitchen fan now please").silence(2000)
    events = Rig(scene, options=PipelineOptions(step_s=0.25)).play()
    partials, (final,) = of(TranscriptPartial, events), of(TranscriptFinal, events)
    texts = [partial.text for partial in partials]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert texts[-1].startswith("turn off")
    assert " turn on the kitchen" in partials[-1].draft
    seqs = [*(partial.seq for partial in partials), final.seq]
    assert seqs == list(range(1, len(seqs) + 1))
    assert final.revised


def test_a_wake_word_said_again_and_nothing_after_it_is_no_speech() -> None:
    scene = Scene().silence(1000).wake(late_ms=80).say("turn off the light").silence(300)
    scene.wake(late_ms=80).silence(6000)
    events = Rig(scene).play()
    assert reasons(events) == [(EndReason.NO_SPEECH, 0)]
    assert states(events)[-1] is State.IDLE


def test_a_repeat_opens_no_session() -> None:
    rig = Rig(continuous())
    rig.wake.is_repeat = True
    assert rig.play() == []


# --- the rest --------------------------------------------------------------------------------


def test_the_wake_threshold_can_be_set_at_any_time() -> None:
    rig = Rig(continuous())
    assert rig.pipeline.set_thresholds({"hey_jarvis": 0.8}) == []
    assert rig.wake.thresholds == {"hey_jarvis": 0.8}


def test_the_wake_detector_hears_everything_once() -> None:
    rig = Rig(continuous())
    rig.play()
    # At rest, as here at the end, whole wake frames.
    assert rig.wake.heard == rig.scene.now - rig.scene.now % WAKE_FRAME_SAMPLES


def test_three_minutes_in_one_block_are_heard_like_three_minutes_in_many() -> None:
    scene = Scene()
    for _ in range(4):
        scene.silence(20_000).wake().say(COMMAND).silence(24_000)
    whole, split = Rig(scene), Rig(scene)
    events = [e for b in blocks(scene.samples, scene.now) for e in whole.pipeline.feed(b)]
    assert scene.now > 3 * 60 * 16_000
    assert events == [e for b in blocks(scene.samples, 320) for e in split.pipeline.feed(b)]
    assert [f.text for f in of(TranscriptFinal, events)] == [COMMAND] * 4


def test_blocks_that_come_only_when_they_are_wanted_change_no_message() -> None:
    expected = Rig(continuous()).play()
    rig, heard, sizes = Rig(continuous()), [], set()
    while (first := rig.played) < rig.scene.now:
        until = max(first + ms_to_samples(20), rig.pipeline.wanted_sample)
        heard += rig.play(until=until, block_ms=1000)
        sizes.add(rig.played - first)
    assert heard == expected
    assert {ms_to_samples(20), WAKE_FRAME_SAMPLES} <= sizes
