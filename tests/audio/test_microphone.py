"""The microphone, on a PortAudio whose devices the test makes up; the real one has its own file."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from structlog.testing import capture_logs

from rigs.fake_portaudio import Device, PortAudio, at_desk, ramp, settings
from voice_daemon.audio.level import SILENCE_DBFS
from voice_daemon.audio.microphone import MicrophoneCapture
from voice_daemon.audio.portaudio import AudioDriver
from voice_daemon.config import AudioSettings
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import SAMPLE_RATE


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
    assert desk.mic.now_sample() >= SAMPLE_RATE


def test_what_does_not_fit_the_queue_is_dropped_and_leaves_a_gap() -> None:
    desk = at_desk(configured=settings(queue_max_ms=500))
    desk.stream.deliver(ramp(16_000))
    kept = desk.read_all()
    assert desk.mic.dropped_samples == 8000
    assert sum(len(block.samples) for block in kept) == 8000
    desk.stream.deliver(ramp(320))
    assert [block.first_sample for block in desk.read_all()] == [16_000]


def test_blocks_come_together_up_to_the_sample_that_is_wanted() -> None:
    desk = at_desk(configured=settings(queue_max_ms=500))
    desk.mic.wanted_sample = 1280
    assert desk.mic.read(0) is None
    desk.stream.deliver(ramp(960))
    assert desk.mic.read(0) is None
    desk.stream.deliver(ramp(640))
    blocks = desk.read_all()
    assert [block.first_sample for block in blocks] == [0, 1280]
    assert blocks[0].samples.tolist() == [*range(960), *range(320)]
    assert len(blocks[1].samples) == 320


def test_nothing_is_held_for_longer_than_a_tenth_of_a_second() -> None:
    desk = at_desk(configured=settings(queue_max_ms=500))
    desk.mic.wanted_sample = 10 * SAMPLE_RATE
    desk.mic.read(0)
    desk.stream.deliver(ramp(SAMPLE_RATE))
    blocks = desk.read_all()
    assert [len(block.samples) for block in blocks] == [1600] * 5
    # What is held takes up the queue's room like everything else.
    assert desk.mic.dropped_samples == SAMPLE_RATE // 2


def test_what_is_held_when_the_device_goes_is_not_lost() -> None:
    desk = at_desk()
    desk.mic.wanted_sample = 1280
    desk.mic.read(0)
    desk.stream.deliver(ramp(640))
    desk.stream.unplug()
    block = desk.mic.read(0)
    assert block is not None
    assert len(block.samples) == 640


def test_overflows_that_portaudio_reports_are_counted() -> None:
    desk = at_desk()
    desk.stream.deliver(ramp(320), overflowed=True)
    desk.stream.deliver(ramp(320))
    assert desk.mic.overflows == 1


def test_overflows_are_told_in_the_log_ever_more_rarely() -> None:
    desk = at_desk()
    with capture_logs() as logs:
        for _ in range(10):
            desk.stream.deliver(ramp(320), overflowed=True)
            desk.read_all()
    assert [entry["so_far"] for entry in logs if entry["event"] == "mic.overflow"] == [1, 2, 4, 8]


@pytest.mark.parametrize("stood_still_s", [2.0, 33.0])
def test_audio_from_after_a_standstill_does_not_go_on_where_it_ended(
    stood_still_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a SIGSTOP, whose audio PortAudio does not count."""
    desk, real_s = at_desk(), time.monotonic
    desk.stream.deliver(ramp(640))
    monkeypatch.setattr(time, "monotonic", lambda: real_s() + stood_still_s)
    desk.stream.deliver(ramp(640))
    assert [desk.mic.read(0), desk.mic.read(0)] != [None, None]
    if stood_still_s < AudioSettings().stall_timeout_s:
        assert desk.mic.read(0) is not None
    else:
        with pytest.raises(AudioDeviceError, match=r"delivered nothing for 33\.\d s") as caught:
            desk.mic.read(0)
        assert caught.value.code == "audio.stood_still"


def test_a_reader_that_slept_finds_no_standstill_in_what_did_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, real_s, slept_s = at_desk(configured=settings(queue_max_ms=500)), time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real_s() + slept_s)
    for _ in range(10):
        desk.stream.deliver(ramp(16_000))
        slept_s += 1
    kept = desk.read_all()
    desk.stream.deliver(ramp(320))
    assert len(kept) == 25
    assert len(desk.read_all()) == 1


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
    monkeypatch.setattr("voice_daemon.audio.microphone._CLOSE_TIMEOUT_S", 0.05)
    desk = at_desk()
    thaw = threading.Event()
    desk.stream.close_waits_for = thaw
    desk.mic.stop()
    assert not desk.stream.closed.is_set()
    thaw.set()
    assert desk.stream.closed.wait(30)


def test_nothing_else_is_asked_of_a_hung_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.audio.microphone._CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("voice_daemon.audio.microphone._OPEN_TIMEOUT_S", 0.05)
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
    monkeypatch.setattr("voice_daemon.audio.microphone._OPEN_TIMEOUT_S", 0.05)
    portaudio = PortAudio(Device("Anker"))
    portaudio.opening_waits_for = threading.Event()
    driver = AudioDriver(lambda: portaudio)
    mic = MicrophoneCapture(settings(), driver=driver)
    with pytest.raises(AudioDeviceError, match="did not answer"):
        mic.start()
    portaudio.opening_waits_for.set()
    driver.call(lambda _portaudio: None, timeout_s=30)
    assert [stream.closed.is_set() for stream in portaudio.streams] == [True]
