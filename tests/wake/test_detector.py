"""The wake word: the gate over made-up scores, the detector over real models and audio."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import WakeSettings
from voice_daemon.errors import ModelError
from voice_daemon.events import WakeDetection, ms_to_samples
from voice_daemon.wake.detector import (
    OpenWakeWord,
    WakeDetector,
    WakeGate,
    choose_backend,
    self_test,
)
from voice_daemon.wake.models import (
    EVERY,
    bundled_folder,
    bundled_wake_words,
    find_wake_model,
    wake_choices,
)
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES

CLIP = to_int16(load_audio(DEMO_CLIP))
WAKE_WORD_ENDS = ms_to_samples(1620)
"""In the clip, about: the command follows 0.1 s later."""

FRAME = WAKE_FRAME_SAMPLES


def gate(*, threshold: float = 0.5, trigger_level: int = 1, refractory_frames: int = 0) -> WakeGate:
    return WakeGate(
        threshold=threshold,
        trigger_level=trigger_level,
        refractory_samples=refractory_frames * FRAME,
    )


def wakes(gate: WakeGate, scores: list[float]) -> list[int]:
    """Feed a score a frame; return the numbers of the frames that woke."""
    found = []
    for number, score in enumerate(scores):
        if gate.feed({"word": score}, at_sample=(number + 1) * FRAME) is not None:
            found.append(number)
    return found


def test_a_score_at_the_threshold_wakes() -> None:
    assert wakes(gate(), [0.1, 0.49, 0.5, 0.1]) == [2]


def test_a_long_run_of_high_scores_wakes_once() -> None:
    assert wakes(gate(), [0.9] * 100) == [0]


def test_a_second_run_wakes_again() -> None:
    assert wakes(gate(), [0.9, 0.9, 0.1, 0.9]) == [0, 3]


def test_refractory_blocks_a_second_wake() -> None:
    scores = [0.9, 0.1, 0.1, 0.1, 0.1] * 6
    assert wakes(gate(refractory_frames=5), scores) == [0, 5, 10, 15, 20, 25]
    assert wakes(gate(refractory_frames=6), scores) == [0, 15]  # 5 repeats, and 10 is its flutter


def test_a_score_that_flutters_beyond_the_refractory_time_is_no_new_wake() -> None:
    said_twice = [0.9, *[0.1] * 15, 0.9, *[0.1] * 8, 0.9, *[0.1] * 20, 0.9]
    assert wakes(gate(refractory_frames=25), said_twice) == [0, 46]


def test_refractory_counts_from_the_wake_for_all_words() -> None:
    both = gate(refractory_frames=5)
    assert both.feed({"a": 0.9, "b": 0.0}, at_sample=FRAME) == WakeDetection("a", 0.9, FRAME)
    assert both.feed({"a": 0.0, "b": 0.9}, at_sample=2 * FRAME) is None


def test_a_wake_word_said_again_within_the_refractory_time_is_a_repeat() -> None:
    again = gate(refractory_frames=25)
    found = [
        again.feed({"a": score}, at_sample=(n + 1) * FRAME)
        for n, score in enumerate([0.9] * 4 + [0.1] * 16 + [0.9] * 4 + [0.1] * 20 + [0.9])
    ]
    detections = [each for each in found if each is not None]
    assert [each.is_repeat for each in detections] == [False, True, False]


def test_a_score_that_flutters_is_no_repeat() -> None:
    again = gate(refractory_frames=25)
    scores = [0.9, 0.4, 0.9, 0.4, 0.9, 0.4, 0.9]
    found = [again.feed({"a": score}, at_sample=(n + 1) * FRAME) for n, score in enumerate(scores)]
    assert sum(each is not None for each in found) == 1


def test_trigger_level_wants_frames_in_a_row() -> None:
    scores = [0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9]
    assert wakes(gate(trigger_level=3), scores) == [5]


def test_the_best_of_several_words_wins() -> None:
    found = gate().feed({"a": 0.6, "b": 0.8, "c": 0.7}, at_sample=FRAME)
    assert found == WakeDetection("b", 0.8, FRAME)


def test_the_threshold_may_change_at_any_time() -> None:
    changing = gate(threshold=0.9)
    assert changing.feed({"a": 0.6}, at_sample=FRAME) is None
    changing.threshold = 0.5
    assert changing.feed({"a": 0.6}, at_sample=2 * FRAME) is not None


def unsure(*scores: float, threshold: float = 0.5, verify_from: float = 0.1) -> list[float]:
    """Feed a score a frame; return those told of as not sure."""
    told = gate(threshold=threshold, refractory_frames=25)
    told.verify_from = verify_from
    found = [told.feed({"a": s}, at_sample=(n + 1) * FRAME) for n, s in enumerate(scores)]
    return [each.score for each in found if each is not None and not each.is_sure]


def test_a_run_of_low_scores_is_told_once_with_its_highest() -> None:
    assert unsure(0.0, 0.2, 0.3, 0.2, 0.0) == [0.3]
    assert unsure(*[0.2] * 20, 0.0) == [0.2]
    assert unsure(0.05, 0.05, 0.0) == []
    assert unsure(0.2, 0.3, 0.0, verify_from=0.0) == []


def test_a_run_that_reaches_the_threshold_is_sure_and_nothing_else() -> None:
    assert unsure(0.2, 0.3, 0.9, 0.3, 0.2, 0.0, 0.2, 0.0) == []
    assert unsure(0.9, *[0.0] * 30, 0.2, 0.0) == [0.2]


def test_a_word_of_ones_own_takes_a_higher_score_and_a_clearer_reading() -> None:
    told = gate(threshold=0.5, refractory_frames=25)
    told.verify_from, told.own_words = 0.01, frozenset({"own"})
    scores = [{"own": 0.05, "bundled": 0.0}, {"own": 0.0, "bundled": 0.05}]
    scores += [{"own": 0.2, "bundled": 0.0}, {"own": 0.0, "bundled": 0.0}]
    found = [told.feed(s, at_sample=(n + 1) * FRAME) for n, s in enumerate(scores)]
    assert [each and (each.wake_word, each.score) for each in found] == [
        None,
        None,
        ("bundled", 0.05),
        ("own", 0.2),
    ]
    _, _, bundled, own = found
    assert bundled is not None
    assert own is not None
    assert bundled.least_logprob < own.least_logprob < 0


def test_a_noise_that_goes_on_is_told_of_six_times_a_minute() -> None:
    minute = [0.2, 0.0] * 375
    assert len(unsure(*minute)) == 6
    assert len(unsure(*minute, *minute)) == 12


def test_beside_an_own_sound_every_high_score_has_to_be_read_and_no_low_one_is() -> None:
    told = gate(threshold=0.5, refractory_frames=25)
    told.verify_from, told.beside_own_sound = 0.01, True
    minute = [0.9, 0.4] * 375
    found = [told.feed({"a": s}, at_sample=(n + 1) * FRAME) for n, s in enumerate(minute)]
    assert {(each.score, each.is_sure) for each in found if each is not None} == {(0.9, False)}
    assert sum(each is not None for each in found) == 375
    certain = told.feed({"a": 0.999}, at_sample=751 * FRAME)
    assert certain == WakeDetection("a", 0.999, 751 * FRAME)


def test_behind_an_own_sound_a_high_score_is_sure_again() -> None:
    told = gate(threshold=0.5)
    told.verify_from, told.beside_own_sound = 0.01, True
    assert told.feed({"a": 0.9}, at_sample=750 * FRAME) is None
    told.beside_own_sound = False
    assert told.feed({"a": 0.9}, at_sample=751 * FRAME) == WakeDetection("a", 0.9, 751 * FRAME)


@pytest.mark.parametrize(("word", "verify_from"), [("a", 0.0), ("timer", 0.01)])
def test_where_nothing_is_read_a_score_is_enough_beside_an_own_sound(
    word: str, verify_from: float
) -> None:
    told = gate(threshold=0.5)
    told.verify_from, told.beside_own_sound = verify_from, True
    assert told.feed({word: 0.9}, at_sample=FRAME) == WakeDetection(word, 0.9, FRAME)


def test_a_reset_forgets_runs_but_not_the_last_wake() -> None:
    resting = gate(trigger_level=2, refractory_frames=5)
    assert wakes(resting, [0.9, 0.9]) == [1]
    resting.reset()
    assert resting.feed({"word": 0.9}, at_sample=3 * FRAME) is None
    assert resting.feed({"word": 0.9}, at_sample=4 * FRAME) is None


def test_an_input_that_counts_from_0_again_is_not_held_up() -> None:
    resting = gate(refractory_frames=5)
    assert resting.feed({"word": 0.9}, at_sample=1000 * FRAME) is not None
    resting.reset()
    assert resting.feed({"word": 0.9}, at_sample=FRAME) is not None


@given(
    scores=st.lists(st.floats(0, 1), max_size=60),
    threshold=st.floats(0.05, 0.95),
    trigger_level=st.integers(1, 4),
    refractory_frames=st.integers(0, 10),
)
def test_wakes_are_apart_and_earned(
    scores: list[float], threshold: float, trigger_level: int, refractory_frames: int
) -> None:
    woken = wakes(
        gate(threshold=threshold, trigger_level=trigger_level, refractory_frames=refractory_frames),
        scores,
    )
    for earlier, later in pairwise(woken):
        assert later - earlier >= refractory_frames
        assert min(scores[earlier:later]) < threshold
    for number in woken:
        assert min(scores[number - trigger_level + 1 : number + 1]) >= threshold
    if not refractory_frames and trigger_level == 1:
        risen = [
            number
            for number, score in enumerate(scores)
            if score >= threshold and (number == 0 or scores[number - 1] < threshold)
        ]
        assert woken == risen


def detector(*models: str, refractory_s: float = 2.0, vad_threshold: float = 0.0) -> WakeDetector:
    return WakeDetector.from_settings(
        WakeSettings(
            models=models or ("hey_jarvis",),
            backend="onnx",
            refractory_s=refractory_s,
            vad_threshold=vad_threshold,
        )
    )


def test_the_clip_wakes_once_at_the_end_of_the_wake_word() -> None:
    (found,) = detector().feed(CLIP)
    assert found.wake_word == "hey_jarvis"
    assert found.score >= 0.5
    assert abs(found.at_sample - WAKE_WORD_ENDS) <= ms_to_samples(160)


def test_the_command_alone_does_not_wake() -> None:
    listening = detector()
    assert listening.feed(CLIP[WAKE_WORD_ENDS:]) == []
    assert listening.last_scores["hey_jarvis"] < 0.1


@pytest.mark.parametrize("level", [0, 1, 300, 10_000])
def test_silence_and_noise_do_not_wake(level: int) -> None:
    noise = np.random.default_rng(1).normal(0, level, 10 * 16_000).clip(-32_768, 32_767)
    found = detector(*bundled_wake_words()).feed(noise.astype(np.int16))
    assert not any(detection.is_sure for detection in found)
    assert len(found) <= 2


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=30))
def test_it_does_not_depend_on_the_blocks(cuts: list[int]) -> None:
    listening = detector()
    edges = sorted({0, len(CLIP), *cuts})
    found = [f for first, end in pairwise(edges) for f in listening.feed(CLIP[first:end])]
    whole = detector()
    assert found == whole.feed(CLIP)
    assert listening.last_scores == whole.last_scores


def test_after_a_reset_it_is_as_new_and_counts_from_there() -> None:
    listening = detector(refractory_s=0)
    (expected,) = listening.feed(CLIP)
    listening.feed(CLIP[:777])
    listening.reset(5_000_001)
    assert listening.last_scores == {"hey_jarvis": 0.0}
    (found,) = listening.feed(CLIP)
    assert found.score == expected.score
    assert found.at_sample == 5_000_001 + expected.at_sample


def test_a_wake_word_at_the_very_beginning_is_heard() -> None:
    begins = ms_to_samples(700)
    assert len(detector().feed(CLIP[begins:])) == 1


def test_speech_that_is_cut_into_does_not_wake() -> None:
    listening = detector(*bundled_wake_words())
    for begins in range(WAKE_WORD_ENDS, len(CLIP) - 16_000, 1000):
        listening.reset(0)
        assert listening.feed(CLIP[begins:]) == []


def test_the_detector_obeys_its_threshold() -> None:
    listening = detector()
    listening.thresholds = {"hey_jarvis": 0.9999}
    assert listening.thresholds == {"hey_jarvis": 0.9999}
    assert [found.is_sure for found in listening.feed(CLIP)] == [False]


def test_voice_can_be_asked_for_as_well() -> None:
    assert detector(vad_threshold=0.5).feed(CLIP) == detector().feed(CLIP)


def test_without_voice_nothing_scores_when_voice_is_asked_for() -> None:
    model = OpenWakeWord(["hey_jarvis"], vad_threshold=0.5)
    deaf = np.random.default_rng(1).normal(0, 500, (20, FRAME)).astype(np.int16)
    assert {model.score(frame)["hey_jarvis"] for frame in deaf} == {0.0}


@pytest.mark.parametrize(
    ("wake_word", "phrase"),
    [("hey_jarvis", "Hey Jarvis"), ("alexa", "Alexa"), ("ok-nabu", "Ok Nabu")],
)
def test_a_wake_word_is_written_as_it_is_spoken(wake_word: str, phrase: str) -> None:
    assert detector().phrase(wake_word) == phrase


@pytest.mark.skipif(
    find_spec("sklearn") is None, reason="openWakeWord is installed without what it asks for"
)
def test_scores_are_openwakewords_own(tmp_path: Path) -> None:
    words = ["alexa", "hey_jarvis", "hey_mycroft"]
    # Silence first: openWakeWord starts from random features, which take 2 s to leave.
    silence = np.zeros(2 * 16_000, np.int16)
    audio = np.concatenate((silence, CLIP, CLIP[::-1], CLIP))
    soundfile.write(tmp_path / "clip.wav", audio, 16_000)
    program = Path(__file__).parents[1] / "support" / "openwakeword_scores.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "clip.wav"), *words],
        check=True,
        capture_output=True,
        text=True,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    model = OpenWakeWord(words)
    ours = [model.score(frame) for frame in audio[: len(theirs) * FRAME].reshape(-1, FRAME)]
    warm = 26
    assert max(scores["hey_jarvis"] for scores in ours) > 0.9
    for our, their in zip(ours[warm:], theirs[warm:], strict=True):
        assert our == pytest.approx(their, abs=1e-5)


def test_the_self_test_passes_and_leaves_the_stream_alone() -> None:
    listening = detector("alexa")
    listening.feed(CLIP[:20_000])
    before = dict(listening.last_scores)
    result = listening.self_test()
    assert result.passed
    assert result.score >= 0.5
    assert result.backend == "onnx"
    assert dict(listening.last_scores) == before


def test_a_runtime_that_hears_nothing_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voice_daemon.wake.openwakeword._Classifier.score", lambda *_: 1e-5)
    result = self_test(["hey_jarvis"], backend="onnx")
    assert not result.passed
    assert result.score == 1e-5


def test_a_model_that_gives_nonsense_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voice_daemon.wake.openwakeword._Classifier.score", lambda *_: float("nan"))
    assert not self_test(["hey_jarvis"], backend="onnx").passed


def test_auto_takes_the_backend_that_works() -> None:
    assert choose_backend("auto", ["hey_jarvis"]) == "onnx"


def test_auto_without_a_working_backend_keeps_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.wake.openwakeword._Classifier.score", lambda *_: 0.0)
    assert choose_backend("auto", ["hey_jarvis"]) == "onnx"


def test_litert_scores_as_onnx_does() -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    # hey_rhasspy's two files are not the same model: they differ by 0.002 here.
    words = [word for word in bundled_wake_words() if word != "hey_rhasspy"]
    onnx, litert = (OpenWakeWord(words, backend=backend) for backend in ("onnx", "tflite"))
    for frame in CLIP[: len(CLIP) // FRAME * FRAME].reshape(-1, FRAME):
        assert litert.score(frame) == pytest.approx(onnx.score(frame), abs=1e-4)
    assert self_test(words, backend="tflite").passed


def test_tflite_without_litert_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModelError, match="needs LiteRT") as caught:
        WakeDetector(["hey_jarvis"], gate=gate(), backend="tflite")
    assert "pip install ai-edge-litert" in caught.value.remedy


@pytest.mark.parametrize("name", ["hey_jarvis", "Hey Jarvis", "hey-jarvis", "hey_jarvis_v0.1"])
def test_a_bundled_model_is_found_by_its_name(name: str) -> None:
    assert find_wake_model(name, backend="onnx").name == "hey_jarvis_v0.1.onnx"


@pytest.mark.parametrize("name", ["jarvis", "hey", "embedding_model", "silero_vad", ""])
def test_an_unknown_name_lists_those_that_there_are(name: str) -> None:
    with pytest.raises(ModelError, match="there is no wake word") as caught:
        find_wake_model(name, backend="onnx")
    assert "alexa, hey_jarvis, hey_mycroft, hey_rhasspy, timer, weather" in caught.value.remedy


def test_a_model_of_ones_own_is_named_after_its_file(tmp_path: Path) -> None:
    mine = tmp_path / "computer_v2.onnx"
    shutil.copy(bundled_folder() / "hey_jarvis_v0.1.onnx", mine)
    listening = detector(str(mine), "alexa")
    assert listening.wake_words == ("computer", "alexa")
    assert [found.wake_word for found in listening.feed(CLIP)] == ["computer"]


def test_another_wake_word_is_heard_from_the_moment_that_it_is_chosen() -> None:
    listening = detector("alexa")
    assert listening.feed(CLIP[: 10 * FRAME]) == []
    listening.choose(["hey_jarvis"])
    assert listening.wake_words == ("hey_jarvis",)
    (found,) = listening.feed(CLIP[10 * FRAME :])
    assert abs(found.at_sample - WAKE_WORD_ENDS) <= ms_to_samples(160)


def test_a_wake_word_that_cannot_be_loaded_leaves_the_old_one() -> None:
    listening = detector("hey_jarvis")
    with pytest.raises(ModelError):
        listening.choose(["alexa", "nonsense"])
    assert [found.wake_word for found in listening.feed(CLIP)] == ["hey_jarvis"]


def test_a_wake_word_may_look_further_back_than_the_one_before_it() -> None:
    scorer = OpenWakeWord(["alexa"])
    scorer.choose(["timer", "alexa"])
    for start in range(0, 20 * FRAME, FRAME):
        assert scorer.score(CLIP[start : start + FRAME]).keys() == {"timer", "alexa"}
    scorer.reset()
    assert scorer.score(CLIP[:FRAME]) == {"timer": 0.0, "alexa": 0.0}


def test_what_is_configured_is_the_first_choice_and_what_is_bundled_is_one_too() -> None:
    assert list(wake_choices(["hey jarvis"])) == [
        *("hey_jarvis", "alexa", "hey_mycroft", "hey_rhasspy")
    ]
    assert list(wake_choices(["timer"]))[:2] == ["timer", "alexa"]
    several = wake_choices(["~/computer_v2.onnx", "alexa"])
    assert next(iter(several.items())) == (EVERY, ("~/computer_v2.onnx", "alexa"))
    assert several["computer"] == ("~/computer_v2.onnx",)


def test_a_model_with_several_classes_is_one_wake_word() -> None:
    assert OpenWakeWord(["timer", "weather"]).score(CLIP[:FRAME]) == {"timer": 0.0, "weather": 0.0}


def test_files_that_are_no_wake_models_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    folder = bundled_folder()
    problems = {
        str(tmp_path / "missing.onnx"): "does not exist",
        str(broken): "cannot be loaded",
        str(folder / "melspectrogram.onnx"): "takes input of shape",
    }
    for model, message in problems.items():
        with pytest.raises(ModelError, match=message) as caught:
            detector(model)
        assert model in caught.value.message


def test_a_file_for_another_backend_is_refused(tmp_path: Path) -> None:
    (tmp_path / "computer.tflite").write_bytes(b"")
    with pytest.raises(ModelError, match="backend onnx cannot run") as caught:
        detector(str(tmp_path / "computer.tflite"))
    assert "computer.onnx" in caught.value.remedy


def test_the_same_wake_word_twice_is_refused() -> None:
    with pytest.raises(ModelError, match=r"two of wake\.models"):
        OpenWakeWord(["hey_jarvis", "hey jarvis"])


def test_missing_models_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_daemon.wake.models.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match="not installed") as caught:
        detector()
    assert "--no-deps openwakeword==0.5.1" in caught.value.remedy
