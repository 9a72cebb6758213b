from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.endpoint.endpointer import Endpointer, EndpointEvent, Phase, ending_of
from voice_daemon.events import Ending, Transcript
from voice_daemon.session.pipeline import PipelineOptions

FRAME = 160
"""10 ms, so that a list of stretches in milliseconds is exact."""
MS = 16


PLAIN = PipelineOptions(patience_share=1, suspect_ms=250)
"""So that every silence is worth its setting."""


class Hearing:
    """An endpointer that hears stretches of voice probability and notes what it decides."""

    def __init__(
        self, options: PipelineOptions | None = None, *, heard_from_ms: int = 0, wake_ms: int = -1
    ) -> None:
        self.endpointer = Endpointer(
            (options or PLAIN).endpoint(),
            frame_samples=FRAME,
            heard_from=heard_from_ms * MS,
            opened_at=max(0, wake_ms) * MS,
            after_wake=wake_ms >= 0,
        )
        self.signals: list[tuple[EndpointEvent, int]] = []

    def hear(self, probability: float, ms: int) -> Hearing:
        for _ in range(ms // 10):
            signal = self.endpointer.feed(probability)
            if signal is not None:
                self.signals.append((signal, self.endpointer.voice.now // MS))
        return self

    def voice(self, ms: int) -> Hearing:
        return self.hear(0.9, ms)

    def silence(self, ms: int) -> Hearing:
        return self.hear(0.1, ms)


def test_voice_is_speech_once_it_lasts_speech_start_ms() -> None:
    hearing = Hearing().silence(200).voice(90)
    assert not hearing.signals
    hearing.voice(10)
    assert hearing.signals == [(EndpointEvent.STARTED, 300)]
    assert hearing.endpointer.speech_from == 200 * MS


def test_a_click_is_not_speech() -> None:
    hearing = Hearing().silence(200).voice(90).silence(200).voice(90).silence(200)
    assert not hearing.signals


def test_voice_begins_above_one_threshold_and_ends_below_the_other() -> None:
    assert not Hearing().hear(0.45, 500).signals
    hearing = Hearing().voice(200).hear(0.4, 5000)
    assert hearing.signals == [(EndpointEvent.STARTED, 100)]
    assert hearing.endpointer.voice.active
    assert not hearing.hear(0.3, 10).endpointer.voice.active


def test_silence_is_suspected_first_and_ends_the_utterance_later() -> None:
    hearing = Hearing().voice(1000).silence(1000)
    assert hearing.signals == [
        (EndpointEvent.STARTED, 100),
        (EndpointEvent.SUSPECTED, 1250),
        (EndpointEvent.ENDED, 1700),
    ]
    assert hearing.endpointer.phase is Phase.OVER
    assert hearing.endpointer.voice.last == 1000 * MS


def test_a_breath_resumes_and_the_silence_is_counted_anew() -> None:
    hearing = Hearing().voice(500).silence(600).voice(300).silence(700)
    assert hearing.signals == [
        (EndpointEvent.STARTED, 100),
        (EndpointEvent.SUSPECTED, 750),
        (EndpointEvent.RESUMED, 1110),
        (EndpointEvent.SUSPECTED, 1650),
        (EndpointEvent.ENDED, 2100),
    ]


def test_a_silence_setting_under_the_suspicion_ends_without_one() -> None:
    hearing = Hearing(replace(PLAIN, silence_ms=200)).voice(500).silence(300)
    assert hearing.signals == [(EndpointEvent.STARTED, 100), (EndpointEvent.ENDED, 700)]


def test_silence_counts_from_where_the_speakers_own_voice_ended() -> None:
    hearing = Hearing().voice(1000).voice(300)
    for behind_ms in range(200, 700, 10):
        event = hearing.endpointer.feed(0.9, behind_samples=behind_ms * MS)
        if event is not None:
            hearing.signals.append((event, hearing.endpointer.voice.now // MS))
    assert hearing.signals == [
        (EndpointEvent.STARTED, 100),
        (EndpointEvent.SUSPECTED, 1360),
    ]
    assert hearing.endpointer.voice.last == 1110 * MS
    assert hearing.silence(110).signals[-1] == (EndpointEvent.ENDED, 1810)


WHOLE = replace(PLAIN, silence_ms=1000, complete_share=0.5)


def test_a_whole_sentence_ends_after_a_share_of_the_silence() -> None:
    hearing = Hearing(WHOLE).voice(500).silence(250)
    hearing.endpointer.expect(Ending.WHOLE)
    hearing.silence(1000)
    assert hearing.signals[1:] == [(EndpointEvent.SUSPECTED, 750), (EndpointEvent.ENDED, 1000)]


def test_a_reading_that_took_longer_than_the_share_ends_it_at_once() -> None:
    hearing = Hearing(WHOLE).voice(500).silence(700)
    hearing.endpointer.expect(Ending.WHOLE)
    hearing.silence(1000)
    assert hearing.signals[1:] == [(EndpointEvent.SUSPECTED, 750), (EndpointEvent.ENDED, 1210)]


def test_who_speaks_on_after_a_whole_sentence_is_heard_out() -> None:
    hearing = Hearing(WHOLE).voice(500).silence(250)
    hearing.endpointer.expect(Ending.WHOLE)
    hearing.silence(200).voice(500).silence(2000)
    assert hearing.signals[2:] == [
        (EndpointEvent.RESUMED, 960),
        (EndpointEvent.SUSPECTED, 1700),
        (EndpointEvent.ENDED, 2450),
    ]


@given(
    silence_ms=st.integers(300, 3000),
    share=st.floats(0.1, 1),
    patience=st.floats(1, 2),
    ending=st.sampled_from(Ending),
    stretches=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=20),
)
def test_the_end_is_never_later_than_the_patience_nor_sooner_than_the_share(
    *,
    silence_ms: int,
    share: float,
    patience: float,
    ending: Ending,
    stretches: list[tuple[bool, int]],
) -> None:
    options = PipelineOptions(
        silence_ms=silence_ms,
        closed_share=share / 2,
        complete_share=share,
        patience_share=patience,
        max_s=1000,
    )
    hearing = Hearing(options)
    endpointer = hearing.endpointer
    for voiced, n_frames in [(True, 20), *stretches, (False, 601)]:
        for _ in range(n_frames):
            if endpointer.phase is Phase.OVER:
                break
            before = endpointer.phase
            hearing.hear(0.9 if voiced else 0.1, 10)
            if endpointer.phase is Phase.SUSPECTED is not before:
                endpointer.expect(ending)
    assert hearing.signals[-1][0] is EndpointEvent.ENDED
    longest_ms = silence_ms * patience
    shares = {Ending.CLOSED: share / 2, Ending.WHOLE: share, Ending.OPEN: patience}
    shortest_ms = silence_ms * shares[ending]
    assert shortest_ms * MS - 1 <= endpointer.voice.silence < longest_ms * MS + FRAME


def reading(
    *, text: str = "Turn on the lights.", completeness: float = 0.9, ended: bool = True
) -> Transcript:
    return Transcript(
        text=text,
        revised=False,
        language="en",
        words=(),
        confidence=0.9,
        no_speech_prob=0.0,
        ended=ended,
        completeness=completeness,
    )


def test_a_sentence_is_whole_when_the_model_is_sure_of_its_end() -> None:
    assert judged(reading(completeness=0.6)) is Ending.WHOLE
    assert judged(reading(completeness=0.95)) is Ending.CLOSED
    assert judged(reading(completeness=0.5)) is Ending.OPEN
    assert judged(reading(completeness=0.95, ended=False)) is Ending.OPEN
    assert judged(reading(completeness=0.95, text="")) is Ending.OPEN


def judged(transcript: Transcript) -> Ending:
    return ending_of(transcript, whole=0.6, closed=0.9)


def test_the_homes_grammar_decides_on_its_own_sentences() -> None:
    for ending in (Ending.OPEN, Ending.CLOSED):
        for completeness in (0.1, 0.95):
            known = replace(reading(completeness=completeness), ending=ending)
            assert judged(known) is ending
    may_go_on = replace(reading(completeness=0.1), ending=Ending.WHOLE)
    assert judged(may_go_on) is Ending.WHOLE
    assert judged(replace(may_go_on, completeness=0.95)) is Ending.CLOSED


def test_nobody_speaks_until_the_timeout() -> None:
    hearing = Hearing().silence(6000)
    assert hearing.signals == [(EndpointEvent.NO_SPEECH, 5000)]


def test_voice_that_begins_just_before_the_timeout_still_counts() -> None:
    hearing = Hearing().silence(4950).voice(200)
    assert hearing.signals == [(EndpointEvent.STARTED, 5050)]


def test_a_voice_that_never_stops_is_cut_at_the_longest_length() -> None:
    hearing = Hearing().silence(1000).voice(14_000)
    assert hearing.signals == [(EndpointEvent.STARTED, 1100), (EndpointEvent.MAX_LENGTH, 15_000)]


def test_voice_before_a_command_to_listen_does_not_count() -> None:
    hearing = Hearing(heard_from_ms=-500).voice(500)
    assert not hearing.signals
    hearing.silence(4000)
    assert not hearing.signals


def test_voice_that_goes_on_over_a_command_to_listen_starts_with_it() -> None:
    hearing = Hearing(heard_from_ms=-500).voice(600)
    assert hearing.signals == [(EndpointEvent.STARTED, 100)]
    assert hearing.endpointer.speech_from == 0


def after_wake(*, voice_after_ms: int, options: PipelineOptions | None = None) -> Hearing:
    """Silence, a wake word of 800 ms, its detection at 1500 ms, and voice that goes on."""
    hearing = Hearing(options, wake_ms=1500)
    return hearing.silence(700).voice(800 + voice_after_ms)


def test_the_end_of_a_wake_word_is_not_speech() -> None:
    hearing = after_wake(voice_after_ms=90).silence(4000)
    assert not hearing.signals


def test_voice_past_the_wake_tail_is_a_continuous_command() -> None:
    hearing = after_wake(voice_after_ms=500)
    assert hearing.signals == [(EndpointEvent.STARTED, 2000)]
    assert hearing.endpointer.continuous
    assert hearing.endpointer.speech_from == 1500 * MS
    assert hearing.endpointer.voice.run_from == 700 * MS


def test_a_gap_too_short_to_be_a_pause_is_bridged() -> None:
    hearing = after_wake(voice_after_ms=100).silence(200).voice(300)
    assert hearing.signals == [(EndpointEvent.STARTED, 2000)]
    assert hearing.endpointer.continuous
    assert hearing.endpointer.speech_from == 1800 * MS
    assert hearing.endpointer.voice.run_from == 700 * MS


def test_a_pause_is_not_bridged() -> None:
    hearing = Hearing().voice(300).silence(260).voice(200)
    assert hearing.endpointer.voice.run_from == 560 * MS


def test_a_command_after_a_pause_is_not_continuous() -> None:
    hearing = after_wake(voice_after_ms=80).silence(300).voice(200)
    assert hearing.signals == [(EndpointEvent.STARTED, 1980)]
    assert not hearing.endpointer.continuous
    assert hearing.endpointer.speech_from == 1880 * MS
    assert hearing.endpointer.command_from == 1580 * MS


@pytest.mark.parametrize("voice_after_ms", [100, 490])
def test_voice_that_ends_between_wake_word_and_command_is_doubtful(voice_after_ms: int) -> None:
    hearing = after_wake(voice_after_ms=voice_after_ms).silence(2000)
    assert hearing.signals == [(EndpointEvent.AMBIGUOUS, 1750 + voice_after_ms)]


def test_a_doubt_that_is_not_accepted_waits_for_the_command() -> None:
    hearing = after_wake(voice_after_ms=300).silence(600).voice(200)
    assert hearing.signals == [(EndpointEvent.AMBIGUOUS, 2050), (EndpointEvent.STARTED, 2500)]
    assert not hearing.endpointer.continuous
    assert hearing.endpointer.command_from == 1800 * MS


def test_a_doubt_that_is_accepted_ends_like_any_command() -> None:
    hearing = after_wake(voice_after_ms=300).silence(250)
    hearing.endpointer.accept()
    hearing.silence(1000)
    assert hearing.signals == [(EndpointEvent.AMBIGUOUS, 2050), (EndpointEvent.ENDED, 2500)]
    assert hearing.endpointer.continuous


def test_a_doubt_that_is_accepted_may_turn_out_longer() -> None:
    hearing = after_wake(voice_after_ms=300).silence(250)
    hearing.endpointer.accept()
    hearing.silence(100).voice(300).silence(700)
    assert [signal for signal, _ in hearing.signals] == [
        EndpointEvent.AMBIGUOUS,
        EndpointEvent.RESUMED,
        EndpointEvent.SUSPECTED,
        EndpointEvent.ENDED,
    ]


def test_after_a_pause_even_voice_inside_the_wake_tail_is_the_command() -> None:
    hearing = Hearing(wake_ms=1500).silence(500).voice(800).silence(280).voice(200)
    assert hearing.signals == [(EndpointEvent.STARTED, 1680)]
    assert not hearing.endpointer.continuous
    assert hearing.endpointer.command_from == 1500 * MS


def test_a_wake_word_alone_ends_with_nobody_spoke() -> None:
    hearing = after_wake(voice_after_ms=90).silence(6000)
    assert hearing.signals == [(EndpointEvent.NO_SPEECH, 6500)]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 120)), max_size=40), st.integers(-1, 500))
def test_signals_come_in_an_order_that_makes_sense(
    stretches: list[tuple[float, int]], wake_ms: int
) -> None:
    hearing = Hearing(wake_ms=wake_ms)
    for probability, n_frames in stretches:
        hearing.hear(probability, n_frames * 10)
    follows: dict[EndpointEvent | None, set[EndpointEvent]] = {
        None: {EndpointEvent.STARTED, EndpointEvent.AMBIGUOUS, EndpointEvent.NO_SPEECH},
        EndpointEvent.AMBIGUOUS: {EndpointEvent.STARTED, EndpointEvent.NO_SPEECH},
        EndpointEvent.STARTED: {EndpointEvent.SUSPECTED, EndpointEvent.MAX_LENGTH},
        EndpointEvent.SUSPECTED: {
            EndpointEvent.RESUMED,
            EndpointEvent.ENDED,
            EndpointEvent.MAX_LENGTH,
        },
        EndpointEvent.RESUMED: {EndpointEvent.SUSPECTED, EndpointEvent.MAX_LENGTH},
    }
    before = None
    for signal, _ in hearing.signals:
        assert signal in follows[before]
        before = signal
    last_ms = hearing.signals[-1][1] if hearing.signals else 0
    assert last_ms <= max(0, wake_ms) + 15_000 + 10


@pytest.mark.parametrize("wake_ms", [-1, 1500])
def test_a_session_always_ends_by_itself(wake_ms: int) -> None:
    for probability in (0.0, 0.4, 0.6, 1.0):
        hearing = Hearing(wake_ms=wake_ms)
        while hearing.endpointer.phase is not Phase.OVER:
            hearing.hear(probability, 10)
        assert hearing.endpointer.voice.now <= (max(0, wake_ms) + 15_000) * MS
