"""The microphone through real PortAudio, ALSA and PulseAudio, in real time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rigs.virtual_microphone import DEVICE, VirtualMicrophone, why_not
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.events import SAMPLE_RATE

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

LISTENER = Path(__file__).parents[1] / "rigs" / "microphone_listener.py"


class Listener:
    """The program that listens, in a process of its own."""

    def __init__(self, microphone: VirtualMicrophone, recording: Path) -> None:
        self.recording = recording
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).parents[1] / "rigs" / "microphone_listener.py"),
                DEVICE,
                str(recording),
            ],
            env=microphone.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        self.tell(line)
        return self.answer()

    def end(self) -> int:
        """Let the program come to its end; its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        status = self._process.wait(timeout=25)
        self._process.stdout.close()
        return status

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.end()


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    microphone = VirtualMicrophone().start()
    yield microphone
    microphone.stop()


@pytest.fixture
def listener(microphone: VirtualMicrophone, tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(microphone, tmp_path / "recording.npy")
    yield listener
    listener.kill()


def find(played: NDArray[np.int16], recorded: NDArray[np.int16]) -> int:
    """Return where in the recording it fits best."""
    size = 1 << (len(played) + len(recorded)).bit_length()
    spectra = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(played, size))
    return int(np.argmax(np.fft.irfft(spectra, size)[: len(recorded)]))


def test_what_is_played_is_recorded_bit_for_bit(
    microphone: VirtualMicrophone, listener: Listener
) -> None:
    assert DEVICE in listener.ask("devices")["devices"]
    assert listener.ask("open") == {"description": f'microphone "{DEVICE}" at 16 kHz'}
    listener.tell("read 5")
    microphone.play(DEMO_CLIP)
    facts = listener.answer()
    assert (facts["gaps"], facts["dropped"]) == (0, 0)
    assert 0 <= facts["median_lag_samples"] < SAMPLE_RATE

    played, _rate_hz = soundfile.read(DEMO_CLIP, dtype="int16")
    recorded = np.load(listener.recording)
    at = find(played, recorded)
    assert np.array_equal(recorded[at : at + len(played)], played)
    assert listener.ask("close") == {}
    assert listener.end() == 0


def test_an_unplugged_microphone_is_lost_and_found_again(
    microphone: VirtualMicrophone, listener: Listener
) -> None:
    listener.ask("open")
    unplugging = threading.Timer(0.3, microphone.unplug)
    unplugging.start()
    assert listener.ask("until_lost") == {"error": "audio.lost"}
    unplugging.join()
    assert listener.ask("close") == {}
    assert listener.ask("open") == {"error": "audio.cannot_open"}
    microphone.plug_in()
    assert "description" in listener.ask("open")
    assert listener.ask("read 0.3")["gaps"] == 0
    assert listener.end() == 0


def test_a_hung_driver_holds_neither_the_program_nor_its_end(
    microphone: VirtualMicrophone, listener: Listener
) -> None:
    listener.ask("open")
    listener.ask("read 0.3")
    microphone.freeze()
    assert listener.ask("close") == {}
    assert listener.end() == 0
