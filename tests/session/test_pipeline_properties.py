"""What the pipeline promises whatever it hears and whatever it is told, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from support.fakes import FakeTranscriber, Rig, Scene
from voice_daemon.events import (
    AudioBlock,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    StateChanged,
    TranscriptFinal,
    TranscriptPartial,
)
from voice_daemon.session.pipeline import PipelineOptions

COMMANDS = ("listen", "cancel", "mute", "unmute", "lose_input", "shutdown")
OPTIONS = PipelineOptions(max_s=4, no_speech_timeout_s=2, step_s=0.3, queue_max_ms=1500)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a scene."""

    kind: str
    ms: int
    words: int = 0

    def add_to(self, scene: Scene) -> None:
        if self.kind == "wake":
            scene.wake(late_ms=self.ms % 400 - 100)
        elif self.kind == "say":
            scene.say(" ".join(f"w{len(scene.words) + n}" for n in range(self.words)))
        elif self.kind == "noise":
            scene.noise(self.ms, percent=self.ms % 101)
        else:
            scene.silence(self.ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What happens to a pipeline, by sample, but not in which blocks its audio comes."""

    parts: list[Part]
    recogniser: dict[str, object]
    told: dict[int, str]
    lost: dict[int, int]
    """Samples that are never delivered, by where they begin."""

    def perform(self, block_sizes: list[int]) -> list[Event]:
        """Return the events of the play, in blocks of the sizes given, in turn."""
        scene = Scene()
        for part in self.parts:
            part.add_to(scene)
        transcriber = FakeTranscriber(words=scene.words, **self.recogniser)  # type: ignore[arg-type]
        rig = Rig(scene, options=OPTIONS, transcriber=transcriber)
        samples = scene.samples
        sizes = cycle(block_sizes)
        events: list[Event] = []
        at = 0
        for stop in sorted({*self.told, *self.lost, samples.size}):
            while at < min(stop, samples.size):
                block = AudioBlock(at, samples[at : min(stop, at + next(sizes))])
                at += block.samples.size
                events += rig.pipeline.feed(block)
            events += getattr(rig.pipeline, self.told[stop])() if stop in self.told else []
            at += self.lost.get(stop, 0)
        return events + rig.pipeline.shutdown()


plays = st.builds(
    Play,
    parts=st.lists(
        st.builds(
            Part,
            kind=st.sampled_from(("silence", "silence", "wake", "wake", "say", "say", "noise")),
            ms=st.integers(1, 1500),
            words=st.integers(1, 8),
        ),
        min_size=1,
        max_size=12,
    ),
    recogniser=st.fixed_dictionaries(
        {
            "cost_ms": st.sampled_from((0, 0, 100, 700, 2500)),
            "fails_at": st.sampled_from(
                (None, None, ("start", 1), ("step", 2), ("finish", 1), ("reset", 1))
            ),
            "forgets_at": st.sampled_from((None, None, 2, 3)),
            "revise": st.sampled_from((str, str.upper)),
        }
    ),
    told=st.dictionaries(st.integers(0, 160_000), st.sampled_from(COMMANDS), max_size=10),
    lost=st.dictionaries(st.integers(0, 160_000), st.integers(1, 40_000), max_size=3),
)
# One size is not small, or a play of ten seconds would be 160 000 blocks.
block_sizes = st.lists(st.integers(1, 6000), max_size=6).map(lambda sizes: [*sizes, 4096])


@settings(max_examples=100, deadline=None)
@given(plays, block_sizes, block_sizes)
def test_any_splitting_into_blocks_gives_the_same_events(
    play: Play, one: list[int], other: list[int]
) -> None:
    assert play.perform(one) == play.perform(other)


@settings(max_examples=200, deadline=None)
@given(plays, block_sizes)
def test_every_promise_to_subscribers_is_kept(play: Play, sizes: list[int]) -> None:
    events = play.perform(sizes)
    check_sessions_open_and_close_in_turn(events)
    check_states_only_change(events)
    for session_id in {e.session_id for e in events if isinstance(e, SessionStarted)}:
        check_transcripts([e for e in events if getattr(e, "session_id", None) == session_id])


def check_sessions_open_and_close_in_turn(events: list[Event]) -> None:
    """Each `started` has one `ended`, and all that names a session lies between the two."""
    open_id: str | None = None
    seen: set[str] = set()
    muted = False
    for event in events:
        if isinstance(event, StateChanged):
            muted = event.state is State.MUTED
            continue
        assert not muted
        if isinstance(event, SessionStarted):
            assert open_id is None
            assert event.session_id not in seen
            open_id = event.session_id
            seen.add(open_id)
        elif isinstance(event, SessionEnded):
            assert event.session_id == open_id
            open_id = None
        elif isinstance(event, TranscriptPartial | TranscriptFinal):
            assert event.session_id == open_id
    assert open_id is None


def check_states_only_change(events: list[Event]) -> None:
    states = [State.IDLE, *(e.state for e in events if isinstance(e, StateChanged))]
    assert all(before is not after for before, after in pairwise(states))


def check_transcripts(session: list[Event]) -> None:
    """`seq` has no holes, committed text only grows, and there is one final at most."""
    partials = [e for e in session if isinstance(e, TranscriptPartial)]
    finals = [e for e in session if isinstance(e, TranscriptFinal)]
    (ended,) = (e for e in session if isinstance(e, SessionEnded))
    seqs = [e.seq for e in session if isinstance(e, TranscriptPartial | TranscriptFinal)]
    assert seqs == list(range(1, len(seqs) + 1))
    for before, after in pairwise(partials):
        assert after.text.startswith(before.text)
        assert (after.text, after.draft) != (before.text, before.draft)
    assert len(finals) == ended.finals <= 1
    assert session[-1] is ended
    for final in finals:
        assert final.text
        assert final.end_reason is ended.reason
        last = partials[-1].text if partials else ""
        assert final.revised or final.text.startswith(last)
        assert all(0 <= w.start_s <= w.end_s for w in final.words)
    assert all(e.lag_ms >= 0 and e.audio_ms > 0 for e in partials)


@given(st.integers(0, 1500), st.integers(-160, 240), st.integers(2, 8), st.integers(0, 3000))
@settings(max_examples=80, deadline=None)
def test_a_command_keeps_every_word_whatever_pause_follows_the_wake_word(
    pause_ms: int, late_ms: int, n_words: int, before_ms: int
) -> None:
    command = " ".join(f"word{n}" for n in range(n_words))
    scene = Scene().silence(before_ms).wake(late_ms=late_ms)
    scene.silence(pause_ms).say(command).silence(1000)
    rig = Rig(scene)
    finals = [e for e in rig.play() if isinstance(e, TranscriptFinal)]
    assert [final.text for final in finals] == [command]
