"""The speaker, on a PortAudio whose driver the test plays; the real one: tests/faults."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from rigs.fake_portaudio import Device, PortAudio
from voice_daemon.audio.portaudio import AudioDriver
from voice_daemon.sound.output import BLOCK_MS, Feed, Loudspeaker, Sound

RATE_HZ = 16_000
BLOCK = RATE_HZ * BLOCK_MS // 1000
SPEAKER = Device("Desk speaker", channels=0, own_rate_hz=RATE_HZ, output_channels=2)
PATIENCE_S = 10.0


class Desk:
    """A speaker, the driver that calls it back, and what came out of it."""

    def __init__(self, *devices: Device, name: str = "default", volume: float = 1.0) -> None:
        self.portaudio = PortAudio(*devices)
        self.speaker = Loudspeaker(name, driver=AudioDriver(load=lambda: self.portaudio))
        self.speaker.volume = volume
        self.speaker.start()
        self.ended: list[bool] = []
        self.over = threading.Event()

    def done(self, completed: bool) -> None:  # noqa: FBT001 - the speaker's signature
        self.ended.append(completed)
        self.over.set()

    def note(self) -> str:
        problem = self.speaker.problem
        return f"{problem.message}; {problem.remedy}" if problem else ""

    def until(self, condition: Callable[[], object]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up_s
            time.sleep(0.001)

    def heard(self) -> NDArray[np.int16]:
        """Play until the sound is over; give what came, without silence around it."""
        blocks = []
        self.until(lambda: self.portaudio.outputs or self.over.is_set())
        while not self.over.is_set():
            blocks.append(self.portaudio.outputs[-1].play())
            time.sleep(0.001)
        out = np.concatenate(blocks)
        assert (out[:, 0] == out[:, -1]).all()
        return np.trim_zeros(out[:, 0])


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver take its time: the test plays it."""
    monkeypatch.setattr("voice_daemon.sound.output.STALL_S", PATIENCE_S)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(SPEAKER)
    yield made
    made.speaker.stop(PATIENCE_S)


def ramp(n_samples: int) -> NDArray[np.int16]:
    return np.arange(1, n_samples + 1, dtype=np.int16)


def test_a_sound_comes_out_whole_on_all_channels(desk: Desk) -> None:
    desk.speaker.play((Sound(ramp(1000), RATE_HZ),), done=desk.done)
    assert desk.heard().tolist() == ramp(1000).tolist()
    assert desk.ended == [True]


def test_sound_that_is_still_coming_is_played_as_it_comes(desk: Desk) -> None:
    feed = Feed(RATE_HZ)
    desk.speaker.play(feed, done=desk.done)
    feed.feed(ramp(700))
    desk.until(lambda: desk.portaudio.outputs)
    desk.until(lambda: desk.portaudio.outputs[-1].play().any())
    assert not desk.ended
    feed.feed(ramp(300))
    feed.finish()
    assert desk.heard().any()
    assert desk.ended == [True]


def test_sounds_of_another_rate_are_as_long_as_they_were(desk: Desk) -> None:
    tone = np.sin(np.arange(22_050) / 10)
    desk.speaker.play((Sound((9000 * tone).astype(np.int16), 22_050),), done=desk.done)
    assert len(desk.heard()) == pytest.approx(RATE_HZ, abs=50)


def test_the_volume_is_applied() -> None:
    desk = Desk(SPEAKER, volume=0.25)
    desk.speaker.play((Sound(np.full(500, 8000, np.int16), RATE_HZ),), done=desk.done)
    assert set(desk.heard()) == {2000}
    desk.speaker.stop(PATIENCE_S)


def test_what_is_silenced_ends_within_a_block_and_what_waits_is_never_played(desk: Desk) -> None:
    desk.speaker.play((Sound(np.full(10 * RATE_HZ, 5, np.int16), RATE_HZ),), done=desk.done)
    desk.speaker.play((Sound(np.full(RATE_HZ, 7, np.int16), RATE_HZ),), done=desk.done)
    desk.until(lambda: desk.portaudio.outputs)
    desk.until(lambda: desk.portaudio.outputs[-1].play().any())
    desk.speaker.silence()
    desk.until(lambda: len(desk.ended) == 2)
    assert desk.ended == [False, False]
    rest = np.concatenate([desk.portaudio.outputs[-1].play() for _ in range(20)])
    assert np.count_nonzero(rest[:, 0]) <= BLOCK
    desk.over.clear()
    desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
    assert desk.heard()[-100:].tolist() == ramp(100).tolist()


def test_without_an_output_there_is_one_line_a_note_and_no_waiting() -> None:
    desk = Desk()
    with capture_logs() as logs:
        for _ in range(3):
            desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
        desk.until(lambda: len(desk.ended) == 3)
    assert desk.ended == [False] * 3
    assert [entry["event"] for entry in logs] == ["output.unavailable"]
    assert "connect a speaker" in desk.note()
    desk.portaudio.plugged_in = desk.portaudio.listed = (SPEAKER,)
    desk.over.clear()
    desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
    assert desk.heard().any()
    assert desk.note() == ""
    desk.speaker.stop(PATIENCE_S)


def test_a_name_that_no_output_has_is_told_with_those_that_there_are() -> None:
    desk = Desk(SPEAKER, name="Headphones")
    desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
    desk.until(lambda: desk.ended)
    assert '"Headphones"' in desk.note()
    assert 'audio.output to one of "Desk speaker"' in desk.note()
    desk.speaker.stop(PATIENCE_S)


def test_an_output_that_goes_ends_the_sound_and_the_next_opens_it_again(desk: Desk) -> None:
    desk.speaker.play((Sound(np.full(10 * RATE_HZ, 5, np.int16), RATE_HZ),), done=desk.done)
    desk.until(lambda: desk.portaudio.outputs)
    desk.until(lambda: desk.portaudio.outputs[-1].play().any())
    desk.portaudio.outputs[-1].finished_callback()
    desk.until(lambda: desk.ended)
    assert desk.ended == [False]
    desk.over.clear()
    desk.until(lambda: desk.speaker.line is None)
    desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
    desk.until(lambda: len(desk.portaudio.outputs) == 2)
    assert desk.heard().any()


def test_a_device_that_asks_for_nothing_any_more_is_left_and_opened_anew(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_daemon.sound.output.STALL_S", 0.1)
    desk.speaker.play((Sound(ramp(1000), RATE_HZ),), done=desk.done)
    desk.until(lambda: desk.ended)
    assert desk.ended == [False]
    assert desk.portaudio.outputs[0].running
    monkeypatch.setattr("voice_daemon.sound.output.STALL_S", PATIENCE_S)
    desk.over.clear()
    desk.speaker.play((Sound(ramp(1000), RATE_HZ),), done=desk.done)
    desk.until(lambda: len(desk.portaudio.outputs) == 2)
    assert desk.heard().tolist() == ramp(1000).tolist()


def test_who_wanted_to_know_the_end_and_fails_stops_nobody(desk: Desk) -> None:
    def fail(completed: bool) -> None:  # noqa: FBT001 - the speaker's signature
        raise RuntimeError(completed)

    with capture_logs() as logs:
        desk.speaker.play((), done=fail)
        desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
        assert desk.heard().any()
    assert "output.failed" in [entry["event"] for entry in logs]


def test_a_sound_that_cannot_be_made_leaves_the_speaker_at_work(desk: Desk) -> None:
    def broken() -> Iterator[Sound]:
        yield Sound(ramp(0), RATE_HZ)
        raise ValueError("no sound")

    with capture_logs() as logs:
        desk.speaker.play(broken(), done=desk.done)
        desk.until(lambda: desk.ended)
    assert "output.failed" in [entry["event"] for entry in logs]
    desk.over.clear()
    desk.speaker.play((Sound(ramp(100), RATE_HZ),), done=desk.done)
    assert desk.heard().any()


def test_a_sender_that_never_ends_is_cut() -> None:
    feed = Feed(1)
    for _ in range(3):
        feed.feed(np.ones(400, np.int16))
    feed.finish()
    assert sum(len(sound.samples) for sound in feed) == 600
