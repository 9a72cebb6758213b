"""What the benchmark decides by itself: where long audio is cut, which settings are swept."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench.curves import DEFAULT_SWEEPS, Sweep, value_of, with_value
from tools.bench.systems.offline import windows
from voice_daemon.asr import StreamingConfig
from voice_daemon.errors import UsageError

SECOND = 16_000


def test_long_audio_is_cut_where_it_is_quietest() -> None:
    loud = np.ones(40 * SECOND, np.float32)
    loud[23 * SECOND : 24 * SECOND] = 0.001
    first, second = windows(loud)
    assert 23 * SECOND < len(first) < 24 * SECOND
    assert len(first) + len(second) == len(loud)


def test_audio_that_fits_is_not_cut() -> None:
    (whole,) = windows(np.ones(30 * SECOND, np.float32))
    assert len(whole) == 30 * SECOND


def test_a_dotted_setting_is_changed_inside() -> None:
    config = with_value(StreamingConfig(), "rules.least_frames", 7)
    assert value_of(config, "rules.least_frames") == 7
    assert with_value(StreamingConfig(), "refresh_s", 2.5).refresh_s == 2.5
    assert value_of(StreamingConfig(), "rules.nothing") is None


def test_every_default_sweep_names_a_setting() -> None:
    for text in DEFAULT_SWEEPS:
        assert Sweep.parse(text).values


def test_whole_numbers_stay_whole() -> None:
    values = Sweep.parse("frame_threshold=5,25").values
    assert all(isinstance(value, int) for value in values)


@pytest.mark.parametrize("text", ["nothing=1", "language=1", "refresh_s=", "refresh_s=a,b"])
def test_what_cannot_be_swept_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        Sweep.parse(text)
