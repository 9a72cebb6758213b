"""The loudspeaker: one thread owns the output's stream and plays what it is handed, in order.

Whoever has something to play hands it an iterable of `Sound`s; it is taken on the speaker's own
thread, so it may wait there for what comes over a network. PortAudio's callback copies, puts and
counts, and nothing else. Without an output nothing is played, and `problem` says why.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.audio.microphone import CallbackQueue
from voice_daemon.audio.portaudio import (
    AudioDriver,
    devices_of,
    find_device,
    process_driver,
    start_stream,
)
from voice_daemon.audio.resample import StreamResampler, to_float, to_int16
from voice_daemon.errors import AudioDeviceError, Problem, SpeechError, VoiceDaemonError

log = structlog.get_logger()

BLOCK_MS: Final = 20
AHEAD_BLOCKS: Final = 10
"""Handed to the callback ahead of time; what is stopped ends within a block all the same."""
LATENCY_S: Final = 0.1
"""Asked of the device: the callback may have to wait for the interpreter."""
IDLE_S: Final = 30.0
"""The device is let go when nothing was played for so long."""
POLL_S: Final = 0.01
STALL_S: Final = 3.0
"""A device that asks for nothing for so long is gone."""
MAX_FEED_S: Final = 600.0
"""Longest sound that is taken from a sender; it may send faster than it is played."""
_PLAYED_BLOCKS: Final = 250
"""5 s of what was played may wait for its reader."""
_MAX_LATENCY_S: Final = 0.5
_OPEN_TIMEOUT_S: Final = 8.0
_CLOSE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sound:
    """Something to play: (n,) int16 mono."""

    samples: NDArray[np.int16]
    rate_hz: int


class Feed:
    """Sound that is still coming: one thread feeds it, the speaker's takes it."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._blocks: queue.SimpleQueue[NDArray[np.int16] | None] = queue.SimpleQueue()
        self._room = round(MAX_FEED_S * rate_hz)
        self.is_whole = False
        """True once its sender has said so."""

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples; beyond `MAX_FEED_S` they are dropped."""
        kept = samples[: self._room]
        self._room -= len(kept)
        self._blocks.put(kept)

    def finish(self, *, whole: bool = True) -> None:
        """Say that there will be no more; not `whole`: its sender has gone."""
        self.is_whole = whole
        self._blocks.put(None)

    def __iter__(self) -> Iterator[Sound]:
        """Give what there is, and nothing of no length while there is none."""
        while True:
            try:
                samples = self._blocks.get(timeout=POLL_S)
            except queue.Empty:
                samples = np.zeros(0, np.int16)
            if samples is None:
                return
            yield Sound(samples, self._rate_hz)


@dataclass(frozen=True, slots=True)
class _Order:
    """Something to play, and who wants to know when that is over."""

    sounds: Iterable[Sound]
    done: Callable[[bool], None]
    failed: Callable[[VoiceDaemonError], None]
    turn: int
    """Orders of an earlier turn were stopped."""


class OutputLine:
    """Between the speaker's thread and the callback of one stream."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.blocks: deque[NDArray[np.int16]] = deque()
        self.played = CallbackQueue(_PLAYED_BLOCKS)
        """Copies of what the device was given, silence too: the reference of what it plays."""
        self.lost = False

    @property
    def is_dead(self) -> bool:
        """True when the stream has ended, or PortAudio has: then it must not be touched again."""
        return self.lost or time.monotonic() - self.played.arrived_at_s > STALL_S

    def on_audio(self, out: NDArray[np.int16], n_frames: int, times: Any, status: Any) -> None:
        """Fill (n_frames, n_channels), all alike."""
        # PortAudio's own thread: it waits for nobody, so the blocks come without a lock.
        filled = 0
        while filled < n_frames and self.blocks:
            try:
                block = self.blocks.popleft()
            except IndexError:  # stopped just now
                break
            part = block[: n_frames - filled]
            out[filled : filled + len(part)] = part[:, np.newaxis]
            filled += len(part)
            if len(part) < len(block):
                self.blocks.appendleft(block[len(part) :])
        out[filled:] = 0
        self.played.on_audio(out, n_frames, times, status)

    def on_finished(self) -> None:
        """Take note that the stream ended."""
        self.lost = True


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream that runs."""

    stream: Any
    line: OutputLine
    name: str
    latency_s: float
    """From the callback to the air."""


class Loudspeaker:
    """Plays on the output named `device`; any thread may call it."""

    def __init__(self, device: str, *, driver: AudioDriver | None = None) -> None:
        self.volume = 1.0
        """Multiplies every sample, 0..1; may be set at any time."""
        self.problem: Problem | None = None
        """The reason why nothing can be played; None as far as is known."""
        self._device = device
        self._driver = driver
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._turn = 0
        self._opened: _Opened | None = None
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)

    @property
    def line(self) -> OutputLine | None:
        """The open stream's line; None while the device is not in use."""
        opened = self._opened
        return None if opened is None else opened.line

    def start(self) -> None:
        """Start the thread; the device is opened when there is something to play."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Fall silent, let the device go and end the thread."""
        self.silence()
        self._orders.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def play(
        self,
        sounds: Iterable[Sound],
        *,
        done: Callable[[bool], None] = lambda _: None,
        failed: Callable[[VoiceDaemonError], None] = lambda _: None,
    ) -> None:
        """Play in its turn, on the speaker's thread.

        `done` is told whether it was to the end, and before that `failed` why it cannot be played.
        """
        self._orders.put(_Order(sounds, done, failed, self._turn))

    def silence(self) -> None:
        """Stop what is being played, and drop what waits for its turn."""
        self._turn += 1

    def _run(self) -> None:
        while True:
            try:
                order = self._orders.get(timeout=IDLE_S)
            except queue.Empty:
                self._close()
                continue
            if order is None:
                self._close()
                return
            try:
                order.done(self._carry_out(order))
            except Exception:  # whoever wanted to know has failed; others have their turn
                log.exception("output.failed")

    def _carry_out(self, order: _Order) -> bool:
        """Play an order; False when it was stopped, or could not be played."""
        try:
            opened = self._open()
            completed = self._play(order, opened.line)
        except AudioDeviceError as error:
            if self.problem is None:
                log.warning("output.unavailable", reason=error.message, remedy=error.remedy)
            self.problem = Problem("output", error.message, error.remedy)
            order.failed(error)
            return False
        except SpeechError as error:
            log.warning(error.code, reason=error.message, remedy=error.remedy)
            order.failed(error)
            return False
        except Exception:  # whatever is wrong with a sound or a device, the next may be played
            log.exception("output.failed")
            return False
        self.problem = None
        if opened.line.is_dead:
            log.warning("output.lost", device=opened.name)
            self._close()
        elif completed:
            # What the device was given is still on its way to the air.
            threading.Event().wait(opened.latency_s)
        return completed

    def _play(self, order: _Order, line: OutputLine) -> bool:
        resampler, rate_hz = StreamResampler(line.rate_hz, to_hz=line.rate_hz), line.rate_hz
        for sound in order.sounds:
            if sound.rate_hz != rate_hz:
                self._put(resampler.finish(), line)
                rate_hz = sound.rate_hz
                resampler = StreamResampler(rate_hz, to_hz=line.rate_hz)
            self._put(resampler.feed(to_float(sound.samples)), line)
            if not self._wait(order, line, down_to=AHEAD_BLOCKS):
                return False
        self._put(resampler.finish(), line)
        return self._wait(order, line, down_to=0)

    def _put(self, samples: NDArray[np.float32], line: OutputLine) -> None:
        step = line.rate_hz * BLOCK_MS // 1000
        louder = to_int16(samples * np.float32(self.volume))
        line.blocks.extend(louder[at : at + step] for at in range(0, len(louder), step))

    def _wait(self, order: _Order, line: OutputLine, *, down_to: int) -> bool:
        """Wait until no more blocks are left; False, and silence, when it is to end before."""
        pause = threading.Event()
        while not line.is_dead and order.turn == self._turn:
            if len(line.blocks) <= down_to:
                return True
            pause.wait(POLL_S)
        line.blocks.clear()
        return False

    def _open(self) -> _Opened:
        if self._opened is None or self._opened.line.is_dead:
            driver = self._driver or process_driver()
            self._opened = _open(self._device, driver)
            log.info("output.opened", device=self._opened.name)
        return self._opened

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and not opened.line.is_dead:
            try:
                driver = self._driver or process_driver()
                driver.call(lambda _: _close_stream(opened), timeout_s=_CLOSE_TIMEOUT_S)
            except AudioDeviceError as error:
                log.warning("output.close_failed", device=opened.name, reason=error.message)


def try_output(wanted: str, *, driver: AudioDriver | None = None) -> str:
    """Open what `audio.output` names, and close it; return its name or raise `AudioDeviceError`."""
    driver = driver or process_driver()
    opened = _open(wanted, driver)
    driver.call(lambda _: _close_stream(opened), timeout_s=_CLOSE_TIMEOUT_S)
    return opened.name


def _open(wanted: str, driver: AudioDriver) -> _Opened:
    return driver.call(
        lambda portaudio: _open_stream(portaudio, wanted),
        timeout_s=_OPEN_TIMEOUT_S,
        too_late=_close_stream,
    )


def _open_stream(portaudio: Any, wanted: str) -> _Opened:
    """Open an output. Devices are not looked for anew: that would close the microphone."""
    device = find_device(wanted, devices_of(portaudio, "output"), direction="output")
    line = OutputLine(device.rate_hz)
    try:
        stream = start_stream(
            portaudio.OutputStream,
            device=device.index,
            samplerate=device.rate_hz,
            channels=min(2, device.channels),
            dtype="int16",
            blocksize=device.rate_hz * BLOCK_MS // 1000,
            latency=LATENCY_S,
            callback=line.on_audio,
            finished_callback=line.on_finished,
        )
    except portaudio.PortAudioError as error:
        raise AudioDeviceError(
            "audio.cannot_open_output",
            f'the audio output "{device.name}" cannot be opened: {error}',
            remedy="choose another audio.output: `daemonctl devices`",
        ) from error
    return _Opened(stream, line, device.name, min(float(stream.latency), _MAX_LATENCY_S))


def _close_stream(opened: _Opened) -> None:
    opened.stream.close(ignore_errors=True)
