"""The microphone: PortAudio's callback, a bounded queue, and blocks at `SAMPLE_RATE`.

The callback, on PortAudio's own thread, copies, puts and counts; the rest happens in `read`.
"""

import math
import queue
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.audio import BLOCK_SAMPLES, MAX_BLOCKS_TOGETHER
from voice_daemon.audio.clock import LiveClock
from voice_daemon.audio.level import SILENCE_DBFS, dbfs, power
from voice_daemon.audio.portaudio import (
    AudioDevice,
    AudioDriver,
    devices_of,
    find_device,
    list_devices,
    process_driver,
    refresh,
    start_stream,
)
from voice_daemon.audio.resample import BlockConverter
from voice_daemon.config import AudioSettings
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import SAMPLE_RATE, AudioBlock


@dataclass(frozen=True, slots=True)
class CapturedBlock:
    """Audio of one callback or of some; samples are counted at the device's own rate."""

    first_sample: int
    samples: NDArray[np.int16]
    arrived_at_s: float
    after_s: float
    """The longest time since the callback before: the device stood still, or this process."""


class CallbackQueue:
    """Between the callback of one stream and its reader.

    Every stream gets its own, so that a late callback of an old one reaches nobody. A reader that
    is woken for every callback spends most of its time waking up, so it may say in `wanted_sample`
    that it needs nothing before that many samples were delivered: what comes earlier is held,
    0.1 s at most, and handed over with the rest.
    """

    def __init__(self, max_blocks: int) -> None:
        self.queue: queue.SimpleQueue[CapturedBlock | None] = queue.SimpleQueue()
        self.wanted_sample = 0
        self.delivered_samples = 0
        self.taken_samples = 0
        """Written by the reader alone."""
        self.dropped_samples = 0
        self.overflows = 0
        self.arrived_at_s = time.monotonic()
        self.lost = False
        self._max_blocks = max_blocks
        self._held: list[NDArray[np.int16]] = []
        self._after_s = 0.0

    def on_audio(self, audio: NDArray[np.int16], n_frames: int, _times: Any, status: Any) -> None:
        """Take (n_frames, n_channels): the first channel counts, others may be references."""
        before_s, self.arrived_at_s = self.arrived_at_s, time.monotonic()
        # Until the first block the device was starting, which is no standstill.
        if self.delivered_samples:
            self._after_s = max(self._after_s, self.arrived_at_s - before_s)
        if status:
            self.overflows += 1
        waiting = self.delivered_samples - self.dropped_samples - self.taken_samples
        if waiting + n_frames > self._max_blocks * n_frames:
            # Waiting for room here would lose the next block as well.
            self._hand_over()
            self.dropped_samples += n_frames
            self.delivered_samples += n_frames
            return
        # PortAudio fills this buffer again as soon as the callback returns.
        self._held.append(audio[:, 0].copy())
        self.delivered_samples += n_frames
        if self.delivered_samples >= self.wanted_sample or len(self._held) == MAX_BLOCKS_TOGETHER:
            self._hand_over()

    def on_finished(self) -> None:
        """Take note that the stream ended; wakes a reader that waits."""
        self._hand_over()
        self.lost = True
        self.queue.put(None)

    def take(self, timeout_s: float) -> CapturedBlock | None:
        """Wait at most `timeout_s` for the next block; None: there is none, or never again."""
        try:
            captured = self.queue.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        if captured is not None:
            self.taken_samples += len(captured.samples)
        return captured

    def _hand_over(self) -> None:
        """Put what is held; on PortAudio's threads, of which one runs at a time."""
        if self._held:
            samples = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
            first_sample = self.delivered_samples - len(samples)
            self.queue.put(CapturedBlock(first_sample, samples, self.arrived_at_s, self._after_s))
            self._held, self._after_s = [], 0.0


__all__ = ["AudioDevice", "MicrophoneCapture", "list_devices"]

log = structlog.get_logger()

_BLOCK_MS: Final = 20
_LEVEL_BLOCKS: Final = 20
"""The level is that of the last 0.4 s."""
_OVERFLOW_REMEDY: Final = "words may be missing: the machine is too busy, or the device is at fault"
_OPEN_TIMEOUT_S: Final = 8.0
"""A Bluetooth microphone takes a few seconds."""
_CLOSE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Opened:
    """An input stream that runs."""

    stream: Any
    device: AudioDevice
    rate_hz: int


class MicrophoneCapture:
    """An audio input as an `AudioSource`: by default the system's own, with the default settings.

    `driver`: tests bring their own.
    """

    def __init__(
        self, settings: AudioSettings | None = None, *, driver: AudioDriver | None = None
    ) -> None:
        self.wanted_sample = 0
        self._settings = settings or AudioSettings()
        self._driver = driver or process_driver()
        self._opened: _Opened | None = None
        self._callbacks = CallbackQueue(1)
        self._converter = BlockConverter(rate_hz=SAMPLE_RATE, gain_db=0)
        self._clock = LiveClock()
        self._powers: deque[float] = deque(maxlen=_LEVEL_BLOCKS)
        self._overflows_to_tell = 1

    @property
    def description(self) -> str:
        """The device with its sample rate."""
        if self._opened is None:
            return f'microphone "{self._settings.device}"'
        return f'microphone "{self._opened.device.name}" at {self._opened.rate_hz / 1000:g} kHz'

    @property
    def device_name(self) -> str:
        """The device's full name; the configured one while it is not open."""
        return self._settings.device if self._opened is None else self._opened.device.name

    @property
    def exhausted(self) -> bool:
        """False: there is always more."""
        return False

    @property
    def dropped_samples(self) -> int:
        """Samples at `SAMPLE_RATE` that came while the queue was full, since `start`."""
        return self._converter.at_output_rate(self._callbacks.dropped_samples)

    @property
    def overflows(self) -> int:
        """Times that PortAudio said that it lost audio; it does not say how much."""
        return self._callbacks.overflows

    @property
    def lost(self) -> bool:
        """True when the device ended the stream, as by being unplugged."""
        return self._opened is not None and self._callbacks.lost

    @property
    def level_dbfs(self) -> float:
        """Root mean square of the last 0.4 s read, in dB below full scale; -120 is silence."""
        powers = tuple(self._powers)
        mean = sum(powers) / len(powers) if powers else 0.0
        return dbfs(mean, floor=SILENCE_DBFS)

    def start(self) -> None:
        """Open the device, counting from 0; raises `AudioDeviceError`."""
        self.stop()
        self._callbacks = CallbackQueue(max(1, math.ceil(self._settings.queue_max_ms / _BLOCK_MS)))
        self._clock = LiveClock()
        self._powers.clear()
        self._overflows_to_tell = 1
        opened = self._driver.call(
            lambda portaudio: _open(portaudio, self._settings.device, self._callbacks),
            timeout_s=_OPEN_TIMEOUT_S,
            too_late=_close,
        )
        self._converter = BlockConverter(rate_hz=opened.rate_hz, gain_db=self._settings.gain_db)
        self._opened = opened
        log.info("mic.opened", device=opened.device.name, rate_hz=opened.rate_hz)

    def read(self, timeout_s: float) -> AudioBlock | None:
        """Wait at most `timeout_s` for the next block; None when none came.

        It has about 20 ms, and up to 100 where nothing is needed before `wanted_sample`.

        Raises `AudioDeviceError` once the device is gone and all that it delivered was read, and
        where it stood still: what comes afterwards does not go on where the audio ended.
        """
        deadline_s = time.monotonic() + timeout_s
        self._callbacks.wanted_sample = self._wanted_at_device_rate()
        while (captured := self._next_block(deadline_s)) is not None:
            self._refuse_a_standstill(captured)
            end_at_device_rate = captured.first_sample + len(captured.samples)
            end_sample = self._converter.at_output_rate(end_at_device_rate)
            self._clock.observe(end_sample, arrived_at_s=captured.arrived_at_s)
            block = self._converter.feed(captured.first_sample, captured.samples)
            if block is not None:
                self._tell_of_overflows()
                n_blocks = max(1, len(block.samples) // BLOCK_SAMPLES)
                self._powers.extend([power(block.samples)] * n_blocks)
                return block
        return None

    def now_sample(self) -> int:
        """Return the sample that the microphone is delivering right now."""
        return self._clock.now_sample()

    def stop(self) -> None:
        """Close the device, or leave a hung one behind after 2 s."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            self._driver.call(lambda _portaudio: _close(opened), timeout_s=_CLOSE_TIMEOUT_S)
        except AudioDeviceError as error:
            log.warning("mic.close_failed", device=opened.device.name, reason=error.message)

    def _wanted_at_device_rate(self) -> int:
        opened = self._opened
        return 0 if opened is None else self.wanted_sample * opened.rate_hz // SAMPLE_RATE

    def _refuse_a_standstill(self, captured: CapturedBlock) -> None:
        """Raise when nothing came for longer than a stall, without anybody waiting for it.

        So it is when this process was stopped: nobody counts the audio of that time, and a command
        from before it would go on after it as if nothing had been.
        """
        if captured.after_s >= self._settings.stall_timeout_s:
            raise AudioDeviceError(
                "audio.stood_still",
                f"{self.description} delivered nothing for {captured.after_s:.1f} s",
                remedy="it is opened again; the device or the machine stood still",
            )

    def _tell_of_overflows(self) -> None:
        """Log that PortAudio lost audio; of many times the 1st, 2nd, 4th and so on."""
        so_far = self._callbacks.overflows
        if so_far >= self._overflows_to_tell:
            self._overflows_to_tell = 2 * so_far
            log.warning("mic.overflow", so_far=so_far, remedy=_OVERFLOW_REMEDY)

    def _next_block(self, deadline_s: float) -> CapturedBlock | None:
        captured = self._callbacks.take(deadline_s - time.monotonic())
        if captured is None and self.lost and self._callbacks.queue.empty():
            raise AudioDeviceError(
                "audio.lost",
                f"{self.description} stopped delivering audio",
                remedy="check that it is plugged in; it is opened again when it is back",
            )
        return captured


def _open(portaudio: Any, wanted: str, callbacks: CallbackQueue) -> _Opened:
    """Open an input and start it; if that fails, once more after looking for devices again."""
    try:
        return _open_once(portaudio, wanted, callbacks)
    except AudioDeviceError:
        refresh(portaudio)
    return _open_once(portaudio, wanted, callbacks)


def _open_once(portaudio: Any, wanted: str, callbacks: CallbackQueue) -> _Opened:
    device = find_device(wanted, devices_of(portaudio))
    try:
        channels, rate_hz = _choose_format(portaudio, device)
        stream = start_stream(
            portaudio.InputStream,
            device=device.index,
            samplerate=rate_hz,
            channels=channels,
            dtype="int16",
            blocksize=rate_hz * _BLOCK_MS // 1000,
            callback=callbacks.on_audio,
            finished_callback=callbacks.on_finished,
        )
    except portaudio.PortAudioError as error:
        raise AudioDeviceError(
            "audio.cannot_open",
            f'the audio input "{device.name}" cannot be opened: {error}',
            remedy=_cannot_open_remedy(),
        ) from error
    return _Opened(stream, device, rate_hz)


def _choose_format(portaudio: Any, device: AudioDevice) -> tuple[int, int]:
    """Return channels and rate: mono at `SAMPLE_RATE` if the device does it, else its own."""
    # Some drivers open a device with all of its channels or not at all.
    for channels in (1, device.channels):
        for rate_hz in (SAMPLE_RATE, device.rate_hz):
            with suppress(portaudio.PortAudioError):
                portaudio.check_input_settings(
                    device=device.index, channels=channels, dtype="int16", samplerate=rate_hz
                )
                return channels, rate_hz
    # Opening it will say why it cannot be had.
    return 1, device.rate_hz


def _close(opened: _Opened) -> None:
    opened.stream.close(ignore_errors=True)


def _cannot_open_remedy() -> str:
    if sys.platform == "darwin":
        return (
            "allow it in System Settings > Privacy & Security > Microphone, "
            "and close programs that may hold it"
        )
    return "close programs that may hold it, or choose another: `daemonctl devices`"
