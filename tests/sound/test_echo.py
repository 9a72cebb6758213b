"""The echo canceller: over signals that the test makes up, and at its place between two clocks."""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE, AudioBlock
from voice_daemon.sound.echo import BLOCK, EchoCanceller, EchoFilter
from voice_daemon.sound.output import OutputLine

SECONDS = 6


def noise(seed: int, n_samples: int = SECONDS * SAMPLE_RATE) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def room(played: NDArray[np.float32], delay: int) -> NDArray[np.float32]:
    """What a microphone hears of a speaker: late, and with 0.2 s of reverberation."""
    tail = np.random.default_rng(0).standard_normal(3200) * np.exp(-np.arange(3200) / 500)
    path = np.concatenate((np.zeros(delay), tail / np.sqrt((tail**2).sum())))
    n = 1 << (len(played) + len(path)).bit_length()
    heard = np.fft.irfft(np.fft.rfft(played, n) * np.fft.rfft(path, n))[: len(played)]
    return heard.astype(np.float32)


def power(signal: NDArray[Any]) -> float:
    return float(np.mean(np.square(signal, dtype=np.float64)))


def filtered(heard: NDArray[np.float32], played: NDArray[np.float32]) -> NDArray[np.float64]:
    one = EchoFilter()
    return np.concatenate(
        [
            one.feed(heard[at : at + BLOCK], played[at : at + BLOCK])
            for at in range(0, len(heard) - BLOCK, BLOCK)
        ]
    )


def test_an_echo_is_learned_within_two_seconds() -> None:
    played = noise(1)
    heard = room(played, delay=1600)
    rest = filtered(heard, played)[2 * SAMPLE_RATE :]
    assert power(rest) < power(heard) / 10_000


def test_a_voice_beside_the_echo_stays_as_it_is() -> None:
    played, voice = noise(1), noise(2)
    voice[: 3 * SAMPLE_RATE] = 0
    rest = filtered(room(played, delay=800) + voice, played)
    kept, whole = rest[3 * SAMPLE_RATE :], voice[3 * SAMPLE_RATE : len(rest)]
    assert power(kept - whole) < power(whole) / 10


def test_a_loud_voice_does_not_make_it_forget() -> None:
    played, voice = noise(1), 3 * noise(2)
    voice[: 2 * SAMPLE_RATE] = voice[4 * SAMPLE_RATE :] = 0
    heard = room(played, delay=800)
    rest = filtered(heard + voice, played)[round(4.5 * SAMPLE_RATE) :]
    assert power(rest) < power(heard) / 20


class Machine:
    """A microphone and an output whose callbacks come in real order, on one made-up clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.line = OutputLine(SAMPLE_RATE)
        self.mic_sample = 5_000_000
        """Far from the output's own count."""
        self.canceller = EchoCanceller(
            lambda: self.line, self._now_sample, monotonic=lambda: self.now_s
        )

    def _now_sample(self) -> int:
        return self.mic_sample

    def play_and_hear(
        self, played: NDArray[np.int16], heard: NDArray[np.int16]
    ) -> list[AudioBlock]:
        out: list[AudioBlock] = []
        for at in range(0, len(heard), 320):
            buffer = np.zeros((320, 1), np.int16)
            self.line.blocks.append(played[at : at + 320])
            self.line.on_audio(buffer, 320, None, None)
            self.now_s += 0.02
            first, self.mic_sample = self.mic_sample, self.mic_sample + 320
            block = self.canceller.feed(AudioBlock(first, heard[at : at + 320]))
            if block is not None:
                out.append(block)
        return out


def to_int16(signal: NDArray[Any]) -> NDArray[np.int16]:
    scaled: NDArray[np.int16] = np.rint(32_000 * signal).astype(np.int16)
    return scaled


def test_while_nothing_is_played_all_is_passed_on_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    heard = to_int16(noise(3))
    blocks = machine.play_and_hear(np.zeros_like(heard), heard)
    assert np.concatenate([block.samples for block in blocks]).tolist() == heard.tolist()
    assert {block.beside_own_sound for block in blocks[-100:]} == {False}


def test_what_is_played_is_taken_out_and_no_sample_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    played = noise(1)
    played[5 * SAMPLE_RATE :] = 0
    heard = to_int16(room(played, delay=1200))
    blocks = machine.play_and_hear(to_int16(played), heard)
    out = np.concatenate([block.samples for block in blocks])
    ends = [block.first_sample + len(block.samples) for block in blocks]
    assert [block.first_sample for block in blocks[1:]] == ends[:-1]
    assert len(heard) - BLOCK <= len(out) <= len(heard)
    late = slice(3 * SAMPLE_RATE, 5 * SAMPLE_RATE)
    assert power(out[late]) < power(heard[late]) / 100
    assert machine.canceller._held.samples.size < BLOCK
    assert {block.beside_own_sound for block in blocks[50:100]} == {True}


def test_a_gap_in_what_is_heard_drops_no_more_than_what_was_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    played = noise(1)
    machine.play_and_hear(to_int16(played), to_int16(room(played, delay=1200)))
    machine.mic_sample += 8000
    after = machine.play_and_hear(to_int16(played)[:6400], to_int16(played)[:6400])
    assert after[0].first_sample == 5_000_000 + len(played) + 8000
