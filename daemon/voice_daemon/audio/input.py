"""The audio input opens a source, notices a stall or that the machine slept, and reopens it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from voice_daemon.audio import AudioSource
from voice_daemon.audio.clock import sleep as clock_sleep
from voice_daemon.audio.level import SilenceMeter, dbfs, power
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import SAMPLE_RATE, AudioBlock

REOPEN_DELAYS_S: Final = (1.0, 2.0, 5.0)
"""Pauses before the attempts to get a lost input back; after the last one it is given up."""
AWAIT_EVERY_S: Final = 3.0
"""Pause between looks for a microphone that has not been there yet."""
AWAITED: Final = frozenset({"audio.no_input", "audio.no_such_device", "audio.cannot_open"})
"""Errors after which the first opening is tried again for ever: somebody may plug it in. A
driver that hangs is not among them: another process may have more luck with it."""
SLEEP_JUMP_S: Final = 2.0
"""Wall clock ahead of the monotonic clock by this much means that the machine slept."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The clocks that an audio input reads; tests pass their own."""

    monotonic: Callable[[], float] = field(default=time.monotonic)
    wall: Callable[[], float] = field(default=time.time)
    sleep: Callable[[float], None] = field(default=clock_sleep)


@dataclass(frozen=True, slots=True)
class InputLost:
    """The input delivers nothing, any more or yet; it is being opened again."""

    message: str
    remedy: str = "it is being reopened; check its cable"


@dataclass(frozen=True, slots=True)
class InputBack:
    """The input was reopened."""

    device: str


class AudioInput:
    """One audio input as an unbroken count of samples, over any number of reopenings.

    `new_source` makes an unopened source, `name_of` names an open one. A source starts
    counting at 0 each time; the input adds what was before and the time without
    sound, so that the loss is a gap.
    """

    def __init__(
        self,
        new_source: Callable[[], AudioSource],
        *,
        stall_timeout_s: float,
        name_of: Callable[[AudioSource], str] = lambda source: source.description,
        clock: SystemClock | None = None,
    ) -> None:
        self.reopens = 0
        self.silence = SilenceMeter()
        self._newest: tuple[AudioBlock, float] | None = None
        self.device = ""
        """The input's name; the last one's while it is lost."""
        self._new_source = new_source
        self._name_of = name_of
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock or SystemClock()
        self._source: AudioSource | None = None
        self._lost_source: AudioSource | None = None
        self._first_sample = 0
        self._end_sample = 0
        self._waiting_since_s: float | None = None
        self._clock_skew_s = self._skew_s()
        self._attempt = 0
        self._attempt_due_s = 0.0
        self._awaited_for = ""
        """The reason for which it has never been open; empty once it was."""

    @property
    def source(self) -> AudioSource | None:
        """The open source; None while it is lost."""
        return self._source

    @property
    def last_block_age_ms(self) -> int | None:
        """Milliseconds since the newest block came; None before the first."""
        newest = self._newest
        return round((self._clock.monotonic() - newest[1]) * 1000) if newest else None

    @property
    def level_dbfs(self) -> float:
        """RMS of the newest block in dB of full scale; minus infinity is digital silence."""
        newest = self._newest
        return -math.inf if newest is None else round(dbfs(power(newest[0].samples)), 1)

    def now_sample(self) -> int:
        """Give the sample that the input would be delivering right now."""
        if self._source is None:
            return self._end_sample
        return max(self._end_sample, self._first_sample + self._source.now_sample())

    def open(self) -> InputLost | None:
        """Open the input for the first time; one that is not there yet is waited for.

        Gives why it is waited for. Raises what the source raises otherwise.
        """
        try:
            self._adopt(self._new_source())
        except AudioDeviceError as error:
            if error.code not in AWAITED:
                raise
            return self._await(error)
        return None

    def reopen(self) -> InputLost | None:
        """Open an input that delivers anew, at once; gives how it was lost where that fails.

        Silence goes on: a new stream alone is no sound.
        """
        silence = self.silence
        self.close()
        try:
            self._adopt(self._new_source())
        except AudioDeviceError as error:
            return self._lose(error.message)
        self.silence = silence
        self._count_reopening()
        return None

    def read(
        self, timeout_s: float, *, wanted_sample: int = 0
    ) -> AudioBlock | InputLost | InputBack | None:
        """Wait at most `timeout_s` for what comes next; None when nothing did.

        Nothing is needed before `wanted_sample`, so that a block may hold all until there.

        Raises `AudioDeviceError` when an input that was there once could not be had back.
        """
        if self._source is None:
            return self._recover(timeout_s)
        # Compared with the read before, so that the clocks' own drift never adds up to a sleep.
        slept_s = self._skew_s() - self._clock_skew_s
        self._clock_skew_s += slept_s
        if slept_s > SLEEP_JUMP_S:
            return self._lose(f"the machine slept for about {slept_s:.0f} s")
        started_s = self._clock.monotonic()
        self._source.wanted_sample = wanted_sample - self._first_sample
        try:
            block = self._source.read(timeout_s)
        except AudioDeviceError as error:
            return self._lose(error.message)
        if block is not None:
            return self._counted(block)
        if self._waiting_since_s is None:
            self._waiting_since_s = started_s
        waited_s = self._clock.monotonic() - self._waiting_since_s
        if waited_s >= self._stall_timeout_s and not self._source.exhausted:
            return self._lose(f"{self._source.description} delivered nothing for {waited_s:.1f} s")
        return None

    def close(self) -> None:
        """Close the input, if it is open."""
        for source in (self._source, self._lost_source):
            if source is not None:
                source.stop()
        self._source = self._lost_source = None

    def _counted(self, block: AudioBlock) -> AudioBlock:
        block = AudioBlock(self._first_sample + block.first_sample, block.samples)
        self._end_sample = block.first_sample + len(block.samples)
        self._waiting_since_s = None
        self._newest = (block, self._clock.monotonic())
        self.silence.feed(block.samples)
        return block

    def _adopt(self, source: AudioSource) -> None:
        """Open a source and take it into use."""
        source.start()
        self._source = source
        self.device = self._name_of(source)
        self._waiting_since_s = None
        self._clock_skew_s = self._skew_s()
        self.silence = SilenceMeter()

    def _lose(self, message: str) -> InputLost:
        # Closed later: a hung driver takes its time, and the loss must be told at once.
        self._lost_source, self._source = self._source, None
        self._attempt = 0
        self._attempt_due_s = self._clock.monotonic() + REOPEN_DELAYS_S[0]
        return InputLost(message)

    def _await(self, error: AudioDeviceError) -> InputLost | None:
        """Wait for an input that has never been there; tells again when the reason is another."""
        self._attempt_due_s = self._clock.monotonic() + AWAIT_EVERY_S
        before, self._awaited_for = self._awaited_for, error.message
        return None if before == error.message else InputLost(error.message, error.remedy)

    def _count_reopening(self) -> None:
        """Leave a gap in the samples as long as the time without sound."""
        self.reopens += 1
        if self._newest is not None:
            gap_s = self._clock.monotonic() - self._newest[1]
            self._first_sample = self._end_sample + round(gap_s * SAMPLE_RATE)

    def _recover(self, timeout_s: float) -> InputBack | InputLost | None:
        """Open again when it is time to; raises when that was the last attempt."""
        self.close()
        now_s = self._clock.monotonic()
        if now_s < self._attempt_due_s:
            self._clock.sleep(min(timeout_s, self._attempt_due_s - now_s))
            return None
        source = self._new_source()
        try:
            self._adopt(source)
        except AudioDeviceError as error:
            if self._awaited_for and error.code in AWAITED:
                return self._await(error)
            self._attempt += 1
            if self._attempt == len(REOPEN_DELAYS_S):
                raise
            self._attempt_due_s = self._clock.monotonic() + REOPEN_DELAYS_S[self._attempt]
            return None
        if self._awaited_for:
            self._awaited_for = ""
        else:
            self._count_reopening()
        return InputBack(self.device)

    def _skew_s(self) -> float:
        return self._clock.wall() - self._clock.monotonic()
