"""A PortAudio whose devices the test makes up, and a microphone that is open on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.microphone import MicrophoneCapture
from voice_daemon.audio.portaudio import AudioDriver
from voice_daemon.config import AudioSettings
from voice_daemon.events import SAMPLE_RATE, AudioBlock


class MadeUpPortAudioError(Exception):
    pass


@dataclass(frozen=True)
class Device:
    """An input, and the formats that it can be opened with."""

    name: str
    channels: int = 1
    own_rate_hz: int = 48_000
    formats: frozenset[tuple[int, int]] = frozenset({(1, SAMPLE_RATE)})
    """(channels, rate)."""
    output_channels: int = 0


@dataclass
class OutputStream:
    """An open output; `play` is the driver calling back for the next block."""

    samplerate: int
    channels: int
    blocksize: int
    callback: Callable[[NDArray[np.int16], int, Any, bool], None]
    finished_callback: Callable[[], None]
    latency: Any = 0.0
    running: bool = False

    def start(self) -> None:
        self.running = True
        self.latency = 0.0

    def close(self, *, ignore_errors: bool) -> None:
        assert ignore_errors
        self.running = False
        self.finished_callback()

    def play(self) -> NDArray[np.int16]:
        assert self.running
        buffer = np.full((self.blocksize, self.channels), 99, np.int16)
        underflowed = False
        self.callback(buffer, self.blocksize, None, underflowed)
        return buffer


@dataclass
class Stream:
    """An open stream; `deliver` is the driver calling back."""

    blocksize: int
    channels: int
    samplerate: int
    callback: Callable[[NDArray[np.int16], int, Any, bool], None]
    finished_callback: Callable[[], None]
    running: bool = False
    close_waits_for: threading.Event | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self.running = True

    def close(self, *, ignore_errors: bool) -> None:
        assert ignore_errors
        if self.close_waits_for is not None:
            assert self.close_waits_for.wait(30)
        if self.running:
            self.finished_callback()
        self.running = False
        self.closed.set()

    def deliver(self, samples: NDArray[np.int16], *, overflowed: bool = False) -> None:
        assert self.running
        for at in range(0, len(samples), self.blocksize):
            mono = samples[at : at + self.blocksize]
            others = np.full((len(mono), self.channels - 1), -7, np.int16)
            buffer = np.column_stack((mono, others))
            self.callback(buffer, len(mono), None, overflowed)
            buffer[:] = 99  # PortAudio uses it again

    def unplug(self) -> None:
        self.running = False
        self.finished_callback()


class PortAudio:
    """As much of `sounddevice` as is used; sees a new device only when initialised again."""

    PortAudioError = MadeUpPortAudioError

    def __init__(self, *plugged_in: Device, default: int | None = 0) -> None:
        self.plugged_in = plugged_in
        self.listed = plugged_in
        self.default = default
        self.streams: list[Stream] = []
        self.outputs: list[OutputStream] = []
        self.opening_waits_for: threading.Event | None = None
        self.close_waits_for: threading.Event | None = None

    def query_hostapis(self) -> tuple[dict[str, str]]:
        return ({"name": "Core Audio"},)

    def query_devices(self, kind: str | None = None) -> Any:
        rows = [
            {
                "index": index,
                "name": device.name,
                "hostapi": 0,
                "max_input_channels": device.channels,
                "max_output_channels": device.output_channels,
                "default_samplerate": float(device.own_rate_hz),
            }
            for index, device in enumerate(self.listed)
        ]
        if kind is None:
            return rows
        if self.default is None or not rows:
            raise MadeUpPortAudioError("Error querying device -1")
        return rows[self.default]

    def check_input_settings(
        self, *, device: int, channels: int, dtype: str, samplerate: int
    ) -> None:
        assert dtype == "int16"
        if (channels, samplerate) not in self.listed[device].formats:
            raise MadeUpPortAudioError("Invalid sample rate")

    def InputStream(self, *, device: int, dtype: str, **arguments: Any) -> Stream:  # noqa: N802 - sounddevice's name
        assert dtype == "int16"
        if self.opening_waits_for is not None:
            assert self.opening_waits_for.wait(30)
        if self.listed[device] not in self.plugged_in:
            raise MadeUpPortAudioError("Internal PortAudio error")
        self.streams.append(Stream(**arguments, close_waits_for=self.close_waits_for))
        return self.streams[-1]

    def OutputStream(self, *, device: int, dtype: str, **arguments: Any) -> OutputStream:  # noqa: N802 - sounddevice's name
        assert dtype == "int16"
        if self.listed[device] not in self.plugged_in:
            raise MadeUpPortAudioError("Internal PortAudio error")
        self.outputs.append(OutputStream(**arguments))
        return self.outputs[-1]

    def _terminate(self) -> None:
        self.listed = ()

    def _initialize(self) -> None:
        self.listed = self.plugged_in


@dataclass(frozen=True, slots=True)
class Desk:
    """A microphone that is open, and the stream that feeds it."""

    mic: MicrophoneCapture
    portaudio: PortAudio

    @property
    def stream(self) -> Stream:
        return self.portaudio.streams[-1]

    def read_all(self) -> list[AudioBlock]:
        blocks = []
        while (block := self.mic.read(0)) is not None:
            blocks.append(block)
        return blocks


def settings(
    *, device: str = "default", queue_max_ms: int = 5000, gain_db: float = 0
) -> AudioSettings:
    return AudioSettings(device=device, queue_max_ms=queue_max_ms, gain_db=gain_db)


def at_desk(
    device: Device = Device("Anker PowerConf"), *, configured: AudioSettings | None = None
) -> Desk:
    portaudio = PortAudio(device)
    mic = MicrophoneCapture(configured or settings(), driver=AudioDriver(lambda: portaudio))
    mic.start()
    return Desk(mic, portaudio)


def ramp(n_samples: int) -> NDArray[np.int16]:
    return np.arange(n_samples, dtype=np.int16)
