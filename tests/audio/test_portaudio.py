"""Which inputs there are, which one a name finds, and a driver that is missing."""

from __future__ import annotations

import pytest

from rigs.fake_portaudio import Device, PortAudio
from voice_daemon.audio.portaudio import AudioDevice, AudioDriver, find_device, list_devices
from voice_daemon.errors import AudioDeviceError


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
        AudioDevice(1, "Anker", "Core Audio", channels=2, rate_hz=48_000, is_default=False),
        AudioDevice(2, "Webcam", "Core Audio", channels=1, rate_hz=48_000, is_default=True),
    )


def inputs(*names: str, default: str = "") -> tuple[AudioDevice, ...]:
    return tuple(
        AudioDevice(index, name, "Core Audio", 1, 48_000, is_default=name == default)
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


@pytest.mark.parametrize("wanted", ["USB Mic#2", "usb mic#2", "2"])
def test_of_two_inputs_of_one_name_either_can_be_chosen(wanted: str) -> None:
    assert find_device(wanted, inputs("USB Mic", "Webcam", "USB Mic")).index == 2


def test_a_name_of_two_inputs_is_refused_with_a_name_for_each() -> None:
    with pytest.raises(AudioDeviceError, match="2 audio inputs") as caught:
        find_device("USB Mic", inputs("USB Mic", "Webcam", "USB Mic"))
    assert '"USB Mic#1", "Webcam", "USB Mic#2"' in caught.value.remedy


@pytest.mark.parametrize(
    "wanted",
    [
        "Zoe\u0308\u2019s MIC",
        "Zo\u00eb's mic",
        "ZO\u00cb'S  mic",
        "zoe\u0308's",
        "Zo\u00eb's\u00a0Mic#1",
    ],
)
def test_a_name_is_found_in_any_spelling(wanted: str) -> None:
    there = inputs("Webcam", "Zo\u00eb\u2019s Mic")
    more = inputs("Webcam", "Zo\u00eb\u2019s Mic", "Zoe\u0308's MIC")
    assert find_device(wanted, more if "#" in wanted else there).index == 1


def test_a_name_of_digits_goes_before_a_number() -> None:
    assert find_device("0", inputs("Webcam", "0")).index == 1
