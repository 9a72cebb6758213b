"""The microphone, on a PortAudio whose devices the test makes up; the real one has its own file."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from voice_daemon.audio.mic import SILENCE_DBFS, MicrophoneCapture
from voice_daemon.audio.portaudio import AudioDriver, InputDevice, find_device, list_devices
from voice_daemon.config import AudioSettings
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from voice_daemon.events import AudioBlock


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
        self.opening_waits_for: threading.Event | None = None
        self.close_waits_for: threading.Event | None = None

    def query_hostapis(self) -> tuple[dict[str, str]]:
        return ({"name": "Core Audio"},)

    def query_devices(self, kind: str | None = None) -> Any:  # noqa: ANN401 - as sounddevice does
        rows = [
            {
                "index": index,
                "name": device.name,
                "hostapi": 0,
                "max_input_channels": device.channels,
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

    def InputStream(self, *, device: int, dtype: str, **arguments: Any) -> Stream:  # noqa: ANN401, N802 - sounddevice's name
        assert dtype == "int16"
        if self.opening_waits_for is not None:
            assert self.opening_waits_for.wait(30)
        if self.listed[device] not in self.plugged_in:
            raise MadeUpPortAudioError("Internal PortAudio error")
        self.streams.append(Stream(**arguments, close_waits_for=self.close_waits_for))
        return self.streams[-1]

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


def test_blocks_come_in_order_and_bit_for_bit() -> None:
    desk = at_desk()
    desk.stream.deliver(ramp(960))
    blocks = desk.read_all()
    assert [block.first_sample for block in blocks] == [0, 320, 640]
    assert np.concatenate([block.samples for block in blocks]).tolist() == list(range(960))
    assert desk.mic.dropped_samples == 0


def test_the_first_of_many_channels_is_taken() -> None:
    array = Device("Array", channels=6, formats=frozenset({(6, SAMPLE_RATE)}))
    desk = at_desk(array)
    assert desk.stream.channels == 6
    desk.stream.deliver(ramp(320))
    assert desk.read_all()[0].samples.tolist() == list(range(320))


def test_a_device_that_cannot_do_our_rate_is_resampled_in_place() -> None:
    desk = at_desk(Device("Old USB", own_rate_hz=48_000, formats=frozenset({(1, 48_000)})))
    assert desk.mic.description == 'microphone "Old USB" at 48 kHz'
    times_s = np.arange(48_000) / 48_000
    desk.stream.deliver((8000 * np.sin(2 * np.pi * 200 * times_s)).astype(np.int16))
    out = np.concatenate([block.samples for block in desk.read_all()])
    expected = 8000 * np.sin(2 * np.pi * 200 * np.arange(len(out)) / SAMPLE_RATE)
    assert len(out) > 0.9 * SAMPLE_RATE
    assert np.abs(out[1000:-1000] - expected[1000:-1000]).max() < 3
    # The live clock counts what was delivered, though the resampler still holds some of it.
    assert desk.mic.clock.now_sample() >= SAMPLE_RATE


def test_what_does_not_fit_the_queue_is_dropped_and_leaves_a_gap() -> None:
    desk = at_desk(configured=settings(queue_max_ms=500))
    desk.stream.deliver(ramp(16_000))
    kept = desk.read_all()
    assert desk.mic.dropped_samples == 8000
    assert sum(len(block.samples) for block in kept) == 8000
    desk.stream.deliver(ramp(320))
    assert [block.first_sample for block in desk.read_all()] == [16_000]


def test_overflows_that_portaudio_reports_are_counted() -> None:
    desk = at_desk()
    desk.stream.deliver(ramp(320), overflowed=True)
    desk.stream.deliver(ramp(320))
    assert desk.mic.overflows == 1


def test_a_lost_device_is_told_after_the_last_block_was_read() -> None:
    desk = at_desk()
    desk.stream.deliver(ramp(640))
    desk.stream.unplug()
    assert desk.mic.lost
    assert [desk.mic.read(0), desk.mic.read(0)] != [None, None]
    with pytest.raises(AudioDeviceError, match=r"Anker PowerConf.* stopped delivering") as caught:
        desk.mic.read(0)
    assert caught.value.code == "audio.lost"


def test_a_reader_that_waits_learns_of_the_loss_at_once() -> None:
    desk = at_desk()
    threading.Timer(0.05, desk.stream.unplug).start()
    with pytest.raises(AudioDeviceError, match="stopped delivering"):
        desk.mic.read(60)


def test_closing_is_no_loss() -> None:
    desk = at_desk()
    desk.mic.stop()
    assert desk.stream.closed.is_set()
    assert not desk.mic.lost
    assert desk.mic.read(0) is None
    desk.mic.stop()


def test_it_counts_from_0_when_it_is_opened_again() -> None:
    desk = at_desk()
    desk.stream.deliver(ramp(320))
    desk.mic.start()
    assert desk.portaudio.streams[0].closed.is_set()
    desk.stream.deliver(ramp(320))
    assert [block.first_sample for block in desk.read_all()] == [0]


def test_a_late_callback_of_a_closed_stream_reaches_nobody() -> None:
    desk = at_desk()
    old = desk.stream
    desk.mic.start()
    old.running = True
    old.deliver(ramp(320))
    assert desk.read_all() == []


def test_the_level_is_relative_to_full_scale() -> None:
    desk = at_desk()
    assert desk.mic.level_dbfs == SILENCE_DBFS
    desk.stream.deliver(np.full(6400, 16_384, np.int16))
    desk.read_all()
    assert desk.mic.level_dbfs == pytest.approx(-6.02, abs=0.01)
    desk.stream.deliver(np.zeros(6400, np.int16))
    desk.read_all()
    assert desk.mic.level_dbfs == SILENCE_DBFS


def test_the_age_of_the_last_block_starts_over_with_every_block() -> None:
    desk = at_desk()
    waited_s = desk.mic.last_block_age_s
    while desk.mic.last_block_age_s <= waited_s + 0.01:
        pass
    before_s = desk.mic.last_block_age_s
    desk.stream.deliver(ramp(320))
    assert desk.mic.last_block_age_s < before_s
    desk.mic.stop()
    assert desk.mic.last_block_age_s == 0.0


def test_gain_is_applied() -> None:
    desk = at_desk(configured=settings(gain_db=20))
    desk.stream.deliver(np.full(320, 100, np.int16))
    assert set(desk.read_all()[0].samples.tolist()) == {1000}


def test_a_device_that_appears_later_is_found() -> None:
    portaudio = PortAudio()
    mic = MicrophoneCapture(settings(device="anker"), driver=AudioDriver(lambda: portaudio))
    with pytest.raises(AudioDeviceError, match="there is no audio input"):
        mic.start()
    portaudio.plugged_in = (Device("Anker PowerConf"),)
    mic.start()
    assert mic.device_name == "Anker PowerConf"


def test_a_device_that_came_back_is_opened_though_the_old_one_is_still_listed() -> None:
    desk = at_desk(configured=settings(device="anker"))
    desk.stream.unplug()
    desk.portaudio.plugged_in = (Device("Webcam"), Device("Anker PowerConf", own_rate_hz=44_100))
    desk.mic.start()
    desk.stream.deliver(ramp(320))
    assert len(desk.read_all()) == 1


def test_a_device_that_cannot_be_opened_says_what_to_do() -> None:
    portaudio = PortAudio(Device("Anker"))
    portaudio._initialize = lambda: None  # type: ignore[method-assign] # the list stays stale
    portaudio._terminate = lambda: None  # type: ignore[method-assign]
    portaudio.plugged_in = ()
    mic = MicrophoneCapture(settings(), driver=AudioDriver(lambda: portaudio))
    with pytest.raises(AudioDeviceError, match='"Anker" cannot be opened: Internal') as caught:
        mic.start()
    assert "programs that may hold it" in caught.value.remedy


def test_a_hung_close_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.audio.mic._CLOSE_TIMEOUT_S", 0.05)
    desk = at_desk()
    thaw = threading.Event()
    desk.stream.close_waits_for = thaw
    desk.mic.stop()
    assert not desk.stream.closed.is_set()
    thaw.set()
    assert desk.stream.closed.wait(30)


def test_nothing_else_is_asked_of_a_hung_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.audio.mic._CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("voice_daemon.audio.mic._OPEN_TIMEOUT_S", 0.05)
    desk = at_desk()
    thaw = threading.Event()
    desk.stream.close_waits_for = thaw
    desk.mic.stop()
    with pytest.raises(AudioDeviceError, match=r"did not answer within 0\.05 s") as caught:
        desk.mic.start()
    assert caught.value.code == "audio.driver_hung"
    thaw.set()
    monkeypatch.undo()
    desk.mic.start()
    assert len(desk.portaudio.streams) == 2


def test_a_stream_that_opens_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.audio.mic._OPEN_TIMEOUT_S", 0.05)
    portaudio = PortAudio(Device("Anker"))
    portaudio.opening_waits_for = threading.Event()
    driver = AudioDriver(lambda: portaudio)
    mic = MicrophoneCapture(settings(), driver=driver)
    with pytest.raises(AudioDeviceError, match="did not answer"):
        mic.start()
    portaudio.opening_waits_for.set()
    driver.call(lambda _portaudio: None, timeout_s=30)
    assert [stream.closed.is_set() for stream in portaudio.streams] == [True]


def test_a_missing_portaudio_says_how_to_get_it() -> None:
    def load() -> None:
        raise AudioDeviceError("audio.no_portaudio", "not there", remedy="install it")

    with pytest.raises(AudioDeviceError, match="not there"):
        list_devices(AudioDriver(load))


def test_inputs_are_listed_with_the_default() -> None:
    portaudio = PortAudio(
        Device("Speakers", channels=0), Device("Anker", channels=2), Device("Webcam"), default=2
    )
    assert list_devices(AudioDriver(lambda: portaudio)) == (
        InputDevice(1, "Anker", "Core Audio", channels=2, rate_hz=48_000, is_default=False),
        InputDevice(2, "Webcam", "Core Audio", channels=1, rate_hz=48_000, is_default=True),
    )


def inputs(*names: str, default: str = "") -> tuple[InputDevice, ...]:
    return tuple(
        InputDevice(index, name, "Core Audio", 1, 48_000, is_default=name == default)
        for index, name in enumerate(names)
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("default", "Webcam"),
        ("DEFAULT", "Webcam"),
        ("anker", "Anker PowerConf"),
        ("PowerConf", "Anker PowerConf"),
        ("usb mic", "USB Mic"),
    ],
)
def test_a_name_finds_one_input(wanted: str, found: str) -> None:
    there = inputs("Anker PowerConf", "Webcam", "USB Mic", "USB Mic 2", default="Webcam")
    assert find_device(wanted, there).name == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("usb", '2 audio inputs are named like "usb"'),
        ("Jabra", 'no audio inputs are named like "Jabra"'),
        ("default", "no default"),
    ],
)
def test_a_name_that_finds_not_one_input_lists_them_all(wanted: str, message: str) -> None:
    with pytest.raises(AudioDeviceError, match=message) as caught:
        find_device(wanted, inputs("USB Mic", "USB Mic 2"))
    assert '"USB Mic", "USB Mic 2"' in caught.value.remedy


def test_a_mac_without_a_microphone_is_told_that_it_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(AudioDeviceError, match="Mac mini has none built in"):
        find_device("default", ())
