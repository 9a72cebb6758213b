"""A wake word's own network in a file: written, read, found by name, and refused when damaged."""

import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from voice_daemon.config import WakeSettings
from voice_daemon.errors import ModelError
from voice_daemon.wake.detector import OpenWakeWord, WakeDetector
from voice_daemon.wake.head import WakeHead, load_head, save_head
from voice_daemon.wake.models import own_file, wake_choices, wake_thresholds


def head(*, threshold: float = 0.93) -> WakeHead:
    rng = np.random.default_rng(7)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.02, shape).astype(np.float32)

    return WakeHead(some(1536, 12), some(12), some(3, 4), some(3), threshold, "okay house")


@pytest.fixture
def own_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    save_head(head(), own_file("okay_house"))
    return own_file("okay_house")


def test_a_head_scores_the_same_from_its_file(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(0, 20, (5, 16, 96)).astype(np.float32)
    save_head(head(), tmp_path / "own" / "word.npz")
    read = load_head(tmp_path / "own" / "word.npz")
    assert (read.threshold, read.phrase) == (0.93, "okay house")
    np.testing.assert_array_equal(read.run(x), head().run(x))
    assert ((read.run(x) > 0) & (read.run(x) < 1)).all()
    assert [float(read.run(one[np.newaxis])[0]) for one in x] == pytest.approx(read.run(x).tolist())


def test_a_word_of_ones_own_is_had_by_its_name_and_counts_from_its_own_threshold(
    own_word: Path,
) -> None:
    assert own_word.is_file()
    assert wake_choices(["alexa"])["okay_house"] == ("okay_house",)
    listening = WakeDetector.from_settings(WakeSettings(models=("Okay House", "alexa")))
    assert listening.thresholds == {"okay_house": 0.93, "alexa": 0.5}
    assert OpenWakeWord(("okay_house", "alexa")).own_words == {"okay_house"}
    listening.feed(np.zeros(16_000, np.int16))
    assert 0 < listening.last_scores["okay_house"] < 1
    given = WakeSettings(models=("okay_house",), thresholds={"Okay House": 0.7})
    assert wake_thresholds(given, given.models) == {"okay_house": 0.7}


def test_a_file_that_is_no_head_is_refused_by_name(own_word: Path) -> None:
    whole = own_word.read_bytes()
    odd = [replace(head(), threshold=7.0), replace(head(), bias=np.full(12, np.nan, np.float32))]
    odd += [replace(head(), out_bias=np.zeros(4, np.float32)), replace(head(), phrase="a\x1bb")]
    files = [b"", b"no archive", whole[: len(whole) // 2]]
    for each in odd:
        save_head(each, own_word)
        files.append(own_word.read_bytes())
    bomb = BytesIO()
    np.savez_compressed(bomb, weights=np.zeros((1536, 2000), np.float32))
    files.append(bomb.getvalue())
    for file in files:
        own_word.write_bytes(file)
        with pytest.raises(ModelError, match=r"okay_house\.npz") as caught:
            load_head(own_word)
        assert "wake train" in caught.value.remedy
        # The configuration can still be read: what is wrong is said where it is loaded.
        settings = WakeSettings(models=("okay_house",))
        assert wake_thresholds(settings, settings.models) == {"okay_house": 0.5}


def test_a_pipe_in_the_place_of_a_head_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "word.npz")
    with pytest.raises(ModelError, match=r"word\.npz"):
        load_head(tmp_path / "word.npz")
