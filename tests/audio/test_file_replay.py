"""A file in the place of a microphone: its end, the silence after it, and its clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from voice_daemon.audio.file import MIN_SILENCE_S, SILENCE_BLOCK_SAMPLES, FileReplay
from voice_daemon.events import AudioBlock

SECOND = 16_000


@dataclass(slots=True)
class HandTime:
    """Monotonic time that moves when somebody sleeps."""

    now_s: float = 50.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(slots=True)
class PlainFile:
    """A second of ones in two blocks; its clock is ahead of it by `ahead`."""

    ahead: int = 0
    description: str = "ones.wav"
    wanted_sample: int = 0
    dropped_samples: int = 0
    calls: list[str] = field(default_factory=list)
    _read: int = 0

    @property
    def exhausted(self) -> bool:
        return self._read == SECOND

    def now_sample(self) -> int:
        return self._read + self.ahead

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def read(self, timeout_s: float) -> AudioBlock | None:
        assert timeout_s > 0
        block = AudioBlock(self._read, np.ones(SECOND // 2, np.int16))
        self._read += SECOND // 2
        return block


def replay(file: PlainFile, time: HandTime, *, realtime: bool) -> FileReplay:
    return FileReplay(file, realtime=realtime, max_silence_s=10, monotonic=time, sleep=time.sleep)


def read_samples(source: FileReplay, n_samples: int) -> list[AudioBlock]:
    """Read blocks until they cover the samples up to `n_samples`."""
    blocks: list[AudioBlock] = []
    while not blocks or blocks[-1].first_sample + len(blocks[-1].samples) < n_samples:
        block = source.read(0.5)
        if block is not None:
            blocks.append(block)
    return blocks


@pytest.mark.parametrize("realtime", [True, False])
def test_silence_follows_the_file_without_a_gap(realtime: bool) -> None:  # noqa: FBT001 - a parameter
    blocks = read_samples(replay(PlainFile(), HandTime(), realtime=realtime), 3 * SECOND)
    ends = [block.first_sample + len(block.samples) for block in blocks]
    assert [block.first_sample for block in blocks] == [0, *ends[:-1]]
    samples = np.concatenate([block.samples for block in blocks])
    assert samples[:SECOND].all()
    assert not samples[SECOND:].any()


def test_in_real_time_the_silence_lasts_as_long_as_it_is() -> None:
    time = HandTime()
    source = replay(PlainFile(), time, realtime=True)
    read_samples(source, SECOND)
    before_s = time.now_s
    read_samples(source, 3 * SECOND)
    assert time.now_s - before_s == pytest.approx(2.0, abs=0.01)


def test_fast_silence_takes_no_time() -> None:
    time = HandTime()
    read_samples(replay(PlainFile(), time, realtime=False), 3 * SECOND)
    assert time.now_s == 50.0


def test_the_clock_goes_on_past_the_file_and_never_back() -> None:
    time = HandTime()
    source = replay(PlainFile(ahead=4000), time, realtime=True)
    read_samples(source, SECOND)
    seen = [source.now_sample()]
    for _ in range(30):
        source.read(0.03)
        seen.append(source.now_sample())
    assert seen[0] == SECOND + 4000
    assert seen == sorted(seen)
    assert seen[-1] > SECOND + 4000


def test_a_fast_clock_is_where_the_reading_is() -> None:
    source = replay(PlainFile(), HandTime(), realtime=False)
    read_samples(source, 2 * SECOND)
    assert source.now_sample() >= 2 * SECOND
    assert source.now_sample() % SILENCE_BLOCK_SAMPLES == SECOND % SILENCE_BLOCK_SAMPLES


def test_a_wait_is_never_longer_than_asked_for() -> None:
    time = HandTime()
    source = replay(PlainFile(), time, realtime=True)
    read_samples(source, SECOND)
    source.read(0.5)
    before_s = time.now_s
    assert source.read(0.01) is None
    assert time.now_s - before_s == pytest.approx(0.01)


def test_it_is_over_after_a_little_silence_unless_a_session_is_open() -> None:
    source = replay(PlainFile(), HandTime(), realtime=False)
    read_samples(source, SECOND)
    assert not source.is_over(session_open=False)
    read_samples(source, SECOND + round(MIN_SILENCE_S * SECOND))
    assert source.is_over(session_open=False)
    assert not source.is_over(session_open=True)
    read_samples(source, 11 * SECOND)
    assert source.is_over(session_open=True)


def test_it_opens_and_closes_its_file() -> None:
    file = PlainFile()
    source = replay(file, HandTime(), realtime=False)
    source.start()
    source.stop()
    assert file.calls == ["start", "stop"]
    assert source.description == "ones.wav"
