"""Calls into PortAudio: the lists of devices, and no waiting for a driver that hangs.

PortAudio blocks for half a minute or for ever when a driver hangs, and its calls must not run
beside one another. So one thread of the process makes every call, and whoever wants one waits
only as long as it said.
"""

import atexit
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeVar

from voice_daemon._lib.names import name_key
from voice_daemon.errors import AudioDeviceError

_Result = TypeVar("_Result")

DEFAULT_DEVICE: Final = "default"
Direction = Literal["input", "output"]
_LIST_TIMEOUT_S: Final = 10.0
_EXIT_TIMEOUT_S: Final = 1.0
_NO_OUTPUT_REMEDY: Final = 'connect a speaker, or set audio.output = "none"'


@dataclass(frozen=True, slots=True)
class AudioDevice:
    """An audio input or output as PortAudio lists it."""

    index: int
    name: str
    host_api: str
    """The operating system's audio interface: "Core Audio", "ALSA"."""
    channels: int
    rate_hz: int
    """The device's own sample rate."""
    is_default: bool


InputDevice = AudioDevice
"""The name under which programs outside this project make one for `find_device`."""


class AudioDriver:
    """PortAudio on a thread of its own. A daemon thread, as a call may never return.

    `load` returns the `sounddevice` module. It is loaded on the first call, on that thread,
    because loading it asks the system for its devices.
    """

    def __init__(self, load: Callable[[], Any] | None = None) -> None:
        self._load = load or _load_sounddevice
        self._portaudio: Any = None
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="portaudio", daemon=True).start()

    def call(
        self,
        work: Callable[[Any], _Result],
        *,
        timeout_s: float,
        too_late: Callable[[_Result], None] | None = None,
    ) -> _Result:
        """Run `work(sounddevice)` and return what it returns, or raise what it raises.

        Raises `AudioDeviceError` when it takes longer than `timeout_s`; what it returns
        afterwards goes to `too_late`, on the driver's thread.
        """
        future: Future[_Result] = Future()
        self._work.put(lambda: self._do(work, future))
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            if not future.cancel() and too_late is not None:
                future.add_done_callback(lambda late: late.exception() or too_late(late.result()))
            raise AudioDeviceError(
                "audio.driver_hung",
                f"the audio system did not answer within {timeout_s:g} s",
                remedy="replug the microphone, or restart the daemon",
            ) from error

    def _do(self, work: Callable[[Any], _Result], future: Future[_Result]) -> None:
        # Whoever asked has given up by now.
        if not future.set_running_or_notify_cancel():
            return
        try:
            if self._portaudio is None:
                self._portaudio = self._load()
                atexit.register(self._terminate)
            future.set_result(work(self._portaudio))
        except Exception as error:  # noqa: BLE001 - raised again where the result is awaited
            future.set_exception(error)

    def _terminate(self) -> None:
        """End PortAudio before the interpreter goes, unless it hangs."""
        with suppress(AudioDeviceError, self._portaudio.PortAudioError):
            self.call(lambda portaudio: portaudio._terminate(), timeout_s=_EXIT_TIMEOUT_S)  # noqa: SLF001 - see `refresh`

    def _run(self) -> None:
        while True:
            self._work.get()()


@cache
def process_driver() -> AudioDriver:
    """Return the driver of this process: PortAudio is one per process, so is its thread."""
    return AudioDriver()


def list_devices(
    driver: AudioDriver | None = None, *, direction: Direction = "input"
) -> tuple[AudioDevice, ...]:
    """List the inputs or outputs there are now, perhaps none; raises `AudioDeviceError`."""
    return (driver or process_driver()).call(
        lambda portaudio: devices_of(portaudio, direction), timeout_s=_LIST_TIMEOUT_S
    )


def refresh(portaudio: Any) -> None:
    """Make PortAudio look for devices again, which it does only when it is initialised.

    Closes every stream. sounddevice offers nothing but these two functions for it.
    """
    portaudio._terminate()  # noqa: SLF001 - see above
    portaudio._initialize()  # noqa: SLF001 - see above


def start_stream(kind: Callable[..., Any], **options: Any) -> Any:
    """Open a stream of a kind and start it; one that does not start is closed again.

    Raises the binding's `PortAudioError`.
    """
    stream = kind(**options)
    try:
        stream.start()
    except Exception:
        stream.close(ignore_errors=True)
        raise
    return stream


def devices_of(portaudio: Any, direction: Direction = "input") -> tuple[AudioDevice, ...]:
    """List the inputs or outputs that PortAudio found when it was initialised."""
    host_apis = portaudio.query_hostapis()
    try:
        default_index = portaudio.query_devices(kind=direction)["index"]
    except (ValueError, portaudio.PortAudioError):
        default_index = None
    return tuple(
        AudioDevice(
            index=device["index"],
            name=device["name"],
            host_api=host_apis[device["hostapi"]]["name"],
            channels=device[f"max_{direction}_channels"],
            rate_hz=round(device["default_samplerate"]),
            is_default=device["index"] == default_index,
        )
        for device in portaudio.query_devices()
        if device[f"max_{direction}_channels"] > 0
    )


def selectable_names(devices: Sequence[AudioDevice]) -> tuple[str, ...]:
    """Return a name for each input that `find_device` finds it by: the second "Mic" is "Mic#2"."""
    keys = [name_key(device.name) for device in devices]
    return tuple(
        f"{device.name}#{keys[: place + 1].count(key)}" if keys.count(key) > 1 else device.name
        for place, (device, key) in enumerate(zip(devices, keys, strict=True))
    )


def find_device(
    wanted: str, devices: Sequence[AudioDevice], *, direction: Direction = "input"
) -> AudioDevice:
    """Return what `audio.device` or `audio.output` names; raises `AudioDeviceError`.

    "default" is the system's default. Any other value is a name of `selectable_names`, a
    device's number, or a part of exactly one device's name; in any spelling of `name_key`.
    """
    if not devices:
        remedy = _no_input_remedy() if direction == "input" else _NO_OUTPUT_REMEDY
        raise AudioDeviceError(
            f"audio.no_{direction}", f"there is no audio {direction}", remedy=remedy
        )
    key = name_key(wanted)
    if key == DEFAULT_DEVICE:
        found = [device for device in devices if device.is_default]
        problem = f"the system has no default audio {direction}"
    else:
        found = _named(key, devices)
        problem = f'{len(found) or "no"} audio {direction}s are named like "{wanted}"'
    if len(found) != 1:
        names = ", ".join(f'"{name}"' for name in selectable_names(devices))
        setting = "audio.device" if direction == "input" else "audio.output"
        raise AudioDeviceError(
            "audio.no_such_device", problem, remedy=f"set {setting} to one of {names}"
        )
    return found[0]


def _named(key: str, devices: Sequence[AudioDevice]) -> list[AudioDevice]:
    """Find inputs by the most exact rule that finds any."""
    selectable = zip(selectable_names(devices), devices, strict=True)
    rules = (
        [device for device in devices if name_key(device.name) == key],
        [device for name, device in selectable if name_key(name) == key],
        # After the names: one may be all digits.
        [device for device in devices if str(device.index) == key],
        [device for device in devices if key and key in name_key(device.name)],
    )
    return next((found for found in rules if found), [])


def _no_input_remedy() -> str:
    if sys.platform == "darwin":
        return "connect a microphone (a Mac mini has none built in), then run `daemonctl devices`"
    return "connect a microphone, then run `daemonctl devices`"


def _load_sounddevice() -> Any:
    try:
        # Loading it opens the system's audio: only for those who want a microphone.
        import sounddevice  # noqa: PLC0415 - see above
    except OSError as error:
        raise AudioDeviceError(
            "audio.no_portaudio",
            f"PortAudio cannot be loaded: {error}",
            remedy="Debian: apt-get install libportaudio2; "
            "macOS: pip install --force-reinstall sounddevice",
        ) from error
    # Its own handler waits for a hung driver, and the process with it.
    atexit.unregister(sounddevice._exit_handler)  # noqa: SLF001 - there is no other way
    return sounddevice
