"""A fault rig for each test of this folder; the ordinary run leaves the folder out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from faults.rig import FaultRig
from rigs.virtual_microphone import VirtualMicrophone, why_not

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.slow)
            needs_microphone = "microphone" in getattr(item, "fixturenames", ())
            if needs_microphone and why_not() is not None:
                item.add_marker(pytest.mark.skip(why_not() or ""))


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    """Run a microphone that the test may hurt."""
    made = VirtualMicrophone().start()
    yield made
    made.stop()


@pytest.fixture
def new_rig(microphone: VirtualMicrophone) -> Iterator[Callable[..., FaultRig]]:
    """Make a rig; the arguments are lines for the broker's configuration."""
    rigs: list[FaultRig] = []

    def make(*broker_settings: str) -> FaultRig:
        rigs.append(FaultRig(microphone, *broker_settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.__exit__()


@pytest.fixture
def rig(new_rig: Callable[..., FaultRig]) -> FaultRig:
    """Make a rig with a broker that takes everybody."""
    return new_rig()


@pytest.fixture
def clip(demo_clip: Path) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = soundfile.read(demo_clip, dtype="int16")[0]
    return samples


@pytest.fixture
def write(tmp_path: Path) -> Callable[[NDArray[Any]], Path]:
    def to_file(samples: NDArray[Any]) -> Path:
        path = tmp_path / "clip.wav"
        soundfile.write(path, samples, 16_000)
        return path

    return to_file


@pytest.fixture
def long_clip(clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]) -> Path:
    """The wake word, and a voice that goes on for ten seconds."""
    return write(np.concatenate([clip[:48_500], *[clip[26_000:48_500]] * 7]))
