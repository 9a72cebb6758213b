"""Takes the speaker's sound out of what the microphone hears, by an adaptive filter.

The filter learns the way from speaker to microphone and subtracts what came along it. A voice
beside it stays as it is; what is left where there is none is made softer still.

It is a partitioned frequency-domain Kalman filter (Enzner and Vary, "Frequency-domain adaptive
Kalman filter for acoustic echo control", Signal Processing 86, 2006; partitioned as by Kuech,
Mabande and Enzner, ICASSP 2014), which needs no detector of double talk: the louder the rest, the
less it learns. Knows nothing of devices: time is a sample index.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.clock import LiveClock
from voice_daemon.audio.microphone import CallbackQueue
from voice_daemon.audio.resample import BlockConverter, to_float, to_int16
from voice_daemon.audio.ring import RingBuffer
from voice_daemon.events import SAMPLE_RATE, AudioBlock
from voice_daemon.sound.output import OutputLine

BLOCK: Final = 512
"""Samples that the filter takes at a time: 32 ms."""
PARTITIONS: Final = 12
"""Blocks that an echo may last, its way through both devices included: 384 ms."""
_KEPT: Final = 0.998
"""Share of the path that lasts from block to block."""
_SMOOTHING: Final = 0.8
"""Of the power of what is not echo."""
_WORSE: Final = 1.2
"""The rest has this times the power of what was heard: the path is another than was learned."""
_WORSE_BLOCKS: Final = 8
_RESIDUE: Final = 0.1
"""A rest below this share of the echo's power is no voice: a loudspeaker bends what it plays, and
the filter cannot learn that."""
_SOFTER: Final = 0.1
"""Multiplies such a rest. Without it 4 sessions opened in half an hour of own sound."""
_SHARE_SMOOTHING: Final = 0.5
_RING_SAMPLES: Final = 10 * SAMPLE_RATE
_REALIGN_SAMPLES: Final = SAMPLE_RATE // 25
"""The clocks' word is taken anew where it differs by more than this; each time the way from
speaker to microphone has to be learned again."""


class EchoFilter:
    """The way from speaker to microphone, learned block by block of `BLOCK` samples."""

    def __init__(self) -> None:
        self.forget()
        self.forget_sound()

    def forget(self) -> None:
        """Take it that nothing is known of the way."""
        n_bins = BLOCK + 1
        self._path = np.zeros((PARTITIONS, n_bins), np.complex128)
        # A Kalman filter's variance: how unsure each part of the way still is.
        self._doubt = np.ones((PARTITIONS, n_bins))
        self._rest = np.zeros(n_bins)
        self._n_worse = 0
        self._gain = 1.0
        self._powers = np.zeros(2)
        """Of the rest and of the echo, over the last blocks."""

    def forget_sound(self) -> None:
        """Take it that nothing was played until now; the way is kept."""
        self._played = np.zeros_like(self._path)
        self._last = np.zeros(BLOCK)

    def feed(self, heard: NDArray[np.float32], played: NDArray[np.float32]) -> NDArray[np.floating]:
        """Take (`BLOCK`,) of both in [-1, 1]; return what was heard without the echo."""
        spectrum = np.fft.rfft(np.concatenate((self._last, played)))
        self._played = np.concatenate((spectrum[np.newaxis], self._played[:-1]))
        self._last = played.astype(np.float64)
        # Overlap and save: the first half of the transform wraps around.
        echo = np.fft.irfft((self._played * self._path).sum(axis=0))[BLOCK:]
        rest: NDArray[np.float64] = heard - echo
        error = np.fft.rfft(np.concatenate((np.zeros(BLOCK), rest)))
        self._rest = _SMOOTHING * self._rest + (1 - _SMOOTHING) * np.abs(error) ** 2
        power = np.abs(self._played) ** 2
        # Twice the rest, and below half the gain: a block fills half of its transform.
        expected = (power * self._doubt).sum(axis=0) + 2 * self._rest + 1e-9
        gain = self._doubt / expected
        change = np.fft.irfft(gain * np.conj(self._played) * error, axis=1)
        change[:, BLOCK:] = 0  # a block of an echo is no longer than that
        self._path += np.fft.rfft(change, axis=1)
        lasting = _KEPT**2
        self._doubt *= lasting * (1 - 0.5 * gain * power)
        self._doubt += (1 - lasting) * np.abs(self._path) ** 2
        return self._better(heard, self._softened(rest, echo))

    def _softened(
        self, rest: NDArray[np.float64], echo: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Make a rest softer that is only residue, from block to block without a step."""
        newest = np.array((np.square(rest).sum(), np.square(echo).sum()))
        self._powers = _SHARE_SMOOTHING * self._powers + (1 - _SHARE_SMOOTHING) * newest
        before = self._gain
        self._gain = _SOFTER if self._powers[0] < _RESIDUE * self._powers[1] else 1.0
        return rest * np.linspace(before, self._gain, BLOCK)

    def _better(
        self, heard: NDArray[np.float32], rest: NDArray[np.float64]
    ) -> NDArray[np.floating]:
        """Give the rest, or what was heard where the rest is louder; begin anew if that lasts.

        An output that ran dry plays on later, and with it the whole way is another.
        """
        if np.square(rest).sum() <= _WORSE * np.square(heard, dtype=np.float64).sum():
            self._n_worse = 0
            return rest
        self._n_worse += 1
        if self._n_worse == _WORSE_BLOCKS:
            self.forget()
        return heard


class Reference:
    """The sound of an output's stream, in samples of the microphone's time."""

    def __init__(self, line: OutputLine, now_sample: Callable[[], int], clock: LiveClock) -> None:
        self.line = line
        self._now_sample = now_sample
        self._played: CallbackQueue = line.played
        self._converter = BlockConverter(rate_hz=line.rate_hz, gain_db=0)
        self._clock = clock
        self._ring = RingBuffer(_RING_SAMPLES)
        self._ahead = 0
        self._sound_to = -1
        """One past the newest sample that is not silence, in the ring's count."""

    def follow(self) -> bool:
        """Take in what was played; True where the microphone's time had to be found anew."""
        while (captured := self._played.take(0)) is not None:
            end = captured.first_sample + len(captured.samples)
            self._clock.observe(
                self._converter.at_output_rate(end), arrived_at_s=captured.arrived_at_s
            )
            block = self._converter.feed(captured.first_sample, captured.samples)
            if block is not None and block.first_sample >= self._ring.end_sample:
                self._ring.push(block)
                if block.samples.any():
                    self._sound_to = self._ring.end_sample
        ahead = self._clock.now_sample() - self._now_sample()
        # Both clocks are estimates that waver; more than that is an output that ran dry.
        if abs(ahead - self._ahead) <= _REALIGN_SAMPLES:
            return False
        self._ahead = ahead
        return True

    def is_silent(self, first_sample: int) -> bool:
        """True when no echo can be left at a sample of the microphone."""
        return first_sample + self._ahead > self._sound_to + (PARTITIONS + 1) * BLOCK

    def is_ready(self, first_sample: int) -> bool:
        """True when it is known what is played in the block that begins at a sample."""
        return first_sample + self._ahead + BLOCK <= self._ring.end_sample

    def read(self, first_sample: int) -> NDArray[np.float32]:
        """Give what was played in the block that begins at a sample of the microphone."""
        first = first_sample + self._ahead
        played = np.zeros(BLOCK, np.float32)
        samples = to_float(self._ring.read(first, first + BLOCK))
        offset = max(0, self._ring.first_sample - first)
        played[offset : offset + len(samples)] = samples
        return played


class EchoCanceller:
    """Cleans a microphone's blocks while something is played, and passes them on otherwise.

    `line`: the output's, None while it is not in use. `now_sample`: the sample that the
    microphone is delivering right now. To be called on one thread.
    """

    def __init__(
        self,
        line: Callable[[], OutputLine | None],
        now_sample: Callable[[], int],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._line = line
        self._now_sample = now_sample
        self._filter = EchoFilter()
        self._reference: Reference | None = None
        self._held = AudioBlock(0, np.zeros(0, np.int16))

    def feed(self, block: AudioBlock) -> AudioBlock | None:
        """Take the next block; return what is ready, in order. None: all of it is held back."""
        block = self._with_held(block)
        reference = self._follow()
        if reference is None or reference.is_silent(block.first_sample):
            self._filter.forget_sound()
            return block
        cleaned, done = [], 0
        while done + BLOCK <= len(block.samples) and reference.is_ready(block.first_sample + done):
            heard = to_float(block.samples[done : done + BLOCK])
            played = reference.read(block.first_sample + done)
            cleaned.append(self._filter.feed(heard, played))
            done += BLOCK
        self._held = AudioBlock(block.first_sample + done, block.samples[done:])
        if not cleaned:
            return None
        samples = to_int16(np.concatenate(cleaned).astype(np.float32))
        return AudioBlock(block.first_sample, samples, beside_own_sound=True)

    def _with_held(self, block: AudioBlock) -> AudioBlock:
        """Put what was held back before a block that continues it; after a gap it is lost."""
        held, self._held = self._held, AudioBlock(0, np.zeros(0, np.int16))
        if held.first_sample + len(held.samples) != block.first_sample or not len(held.samples):
            return block
        return AudioBlock(held.first_sample, np.concatenate((held.samples, block.samples)))

    def _follow(self) -> Reference | None:
        """Give the reference of the stream in use, or of the last while its echo may last."""
        line = self._line()
        if line is not None and (self._reference is None or self._reference.line is not line):
            clock = LiveClock(self._monotonic)
            self._reference = Reference(line, self._now_sample, clock)
            self._filter = EchoFilter()
        if self._reference is not None and self._reference.follow():
            self._filter = EchoFilter()
        return self._reference
