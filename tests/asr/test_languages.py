"""Languages, translation and prompts: what is decided when, and what a prompt may and may not do.

The numbering of a multilingual model is on random weights; real multilingual speech is read
where `VOICE_DAEMON_TEST_MODEL` names such a model and `VOICE_DAEMON_TEST_DATA` the recordings.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from support.random_whispers import KINDS, random_folder
from tools.bench.alignment import edits
from tools.bench.clips import Clip, load_clips
from tools.bench.languages import from_first_voice
from tools.bench.text import words_of
from voice_daemon.asr import (
    DecodingOptions,
    DecodingTask,
    StreamingConfig,
    StreamingResult,
    WhisperModel,
    generate_streaming,
    load_model,
    window,
)
from voice_daemon.asr.decoding import DetectedLanguage, Task
from voice_daemon.asr.load import PROMPT_TOKENS
from voice_daemon.errors import ModelError

RATE = 16_000
STEP_S = 0.5
AUTO = StreamingConfig(language="auto", min_chunk_duration=STEP_S)
ODD_NAME = "Zuberi"
CLIPS = Path(__file__).parent / "clips"


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    """A multilingual model that understands nothing."""
    folder = random_folder(tmp_path_factory.mktemp("tiny"), KINDS["tiny"].dims(width=64))
    return load_model(folder, dtype="float32")


class Detections:
    """Stands for the model's own detection, which random weights cannot make: a list, in order."""

    def __init__(self, *detections: DetectedLanguage) -> None:
        self._detections = detections
        self.asked = 0

    def __call__(self, model: WhisperModel, cross: object) -> DetectedLanguage:
        assert model.tokenizer.is_multilingual
        assert cross is not None
        self.asked += 1
        return self._detections[min(self.asked, len(self._detections)) - 1]


def detected(
    language: str, *, probability: float = 0.9, no_speech: float = 0.1
) -> DetectedLanguage:
    return DetectedLanguage(language, probability, no_speech)


def streamed(
    model: WhisperModel,
    monkeypatch: pytest.MonkeyPatch,
    detections: Detections,
    *,
    seconds: float,
    config: StreamingConfig = AUTO,
) -> list[StreamingResult]:
    monkeypatch.setattr(window, "detect_language", detections)
    noise = np.random.default_rng(3).normal(0, 0.05, round(seconds * RATE)).astype(np.float32)
    return list(generate_streaming(model, noise, config))


def test_a_language_is_decided_on_two_seconds_of_speech_and_kept(
    multilingual: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections = Detections(*map(detected, ["en", "nl", "de", "de", "fr"]))
    results = streamed(multilingual, monkeypatch, detections, seconds=5)
    at_s = {result.audio_position: result.language for result in results}
    assert [at_s[0.5], at_s[1.0]] == ["en", "nl"]
    assert {language for second, language in at_s.items() if second > 2.5} == {results[-1].language}
    assert results[-1].is_final
    asked = detections.asked
    assert 3 <= asked <= 5
    assert results[-1].language == ["en", "nl", "de", "de", "fr"][asked - 1]


def test_silence_before_the_speech_does_not_count(
    multilingual: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [detected("en", probability=0.5, no_speech=0.8)] * 6
    detections = Detections(*silent, *[detected("de")] * 9)
    results = streamed(multilingual, monkeypatch, detections, seconds=6)
    languages = [result.language for result in results]
    assert languages[:6] == ["en"] * 6
    assert set(languages[6:]) == {"de"}
    assert len(silent) + 3 <= detections.asked <= len(silent) + 5


def test_nothing_is_committed_before_the_language_is_decided(
    multilingual: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections = Detections(detected("en", probability=0.4, no_speech=0.9))
    *partials, final = streamed(multilingual, monkeypatch, detections, seconds=4)
    assert {partial.text for partial in partials} == {""}
    assert final.language == "en"


def test_a_short_command_has_its_language_from_the_final(
    multilingual: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections = Detections(detected("en"), detected("en"), detected("es"))
    results = streamed(multilingual, monkeypatch, detections, seconds=1.2)
    assert results[-1].language == "es"


def test_a_configured_language_is_never_detected(
    multilingual: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections = Detections(detected("en"))
    french = StreamingConfig(language="fr", task="translate")
    results = streamed(multilingual, monkeypatch, detections, seconds=3, config=french)
    assert {result.language for result in results} == {"fr"}
    assert detections.asked == 0


def test_an_english_only_model_has_nothing_to_detect(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    command = command_speech[26_000:]
    detected = list(generate_streaming(tiny, command, AUTO))
    stated = list(generate_streaming(tiny, command, StreamingConfig()))
    assert {result.language for result in detected} == {"en"}
    assert [result.text for result in detected] == [result.text for result in stated]


@pytest.mark.parametrize(("language", "task"), [("de", "transcribe"), ("en", "translate")])
def test_what_a_model_cannot_do_is_an_error_with_a_way_out(
    tiny: WhisperModel, command_speech: NDArray[np.float32], language: str, task: Task
) -> None:
    config = StreamingConfig(language=language, task=task)
    with pytest.raises(ModelError, match="English-only") as caught:
        list(generate_streaming(tiny, command_speech, config))
    assert "multilingual" in caught.value.remedy


# --- prompts ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd_name_speech() -> NDArray[np.float32]:
    """A synthetic voice that says "turn on the lights in Zuberi"."""
    samples, rate = soundfile.read(CLIPS / "turn_on_the_lights_in_zuberi.flac", dtype="float32")
    assert rate == RATE
    speech: NDArray[np.float32] = samples
    return speech


def final_text(model: WhisperModel, speech: NDArray[np.float32], *, prompt: str = "") -> str:
    *_, final = generate_streaming(model, speech, StreamingConfig(prompt=prompt))
    return final.text


def test_a_prompt_teaches_an_odd_name(
    tiny: WhisperModel, odd_name_speech: NDArray[np.float32]
) -> None:
    assert ODD_NAME not in final_text(tiny, odd_name_speech)
    prompt = "Kilnsey, Quillmere, Zuberi."
    assert ODD_NAME in final_text(tiny, odd_name_speech, prompt=prompt)
    offline = DecodingTask(tiny, DecodingOptions(prompt=prompt)).run(odd_name_speech)
    assert ODD_NAME in offline.text


def test_a_long_prompt_costs_what_its_newest_words_do(
    tiny: WhisperModel, odd_name_speech: NDArray[np.float32]
) -> None:
    long = "The cellar, the attic and the shed. " * 100
    assert ODD_NAME in final_text(tiny, odd_name_speech, prompt=f"{long} Kilnsey, {ODD_NAME}.")
    plain = tiny.initial_tokens("en", "transcribe")
    assert len(tiny.initial_tokens("en", "transcribe", long)) == len(plain) + 1 + PROMPT_TOKENS


# Of the two, noise is what a room has.
@pytest.mark.parametrize("level", [0.02, pytest.param(0.0, marks=pytest.mark.slow)])
def test_a_prompt_does_not_come_back_as_the_text_of_silence_or_noise(
    tiny: WhisperModel, level: float
) -> None:
    noise = np.random.default_rng(0).normal(0, level, 3 * RATE).astype(np.float32)
    names = "Zuberi, Kilnsey. " * 9
    *partials, final = generate_streaming(tiny, noise, StreamingConfig(prompt=names))
    plain = list(generate_streaming(tiny, noise))[-1]
    assert (final.text, final.confidence) == (plain.text, plain.confidence)
    assert not any("Zuberi" in partial.text + partial.draft for partial in partials)


@pytest.mark.parametrize("prompt", ["lights lights " * 30, "turn on the kitchen lights " * 12])
def test_a_prompt_that_breeds_a_loop_is_dropped(
    tiny: WhisperModel, command_speech: NDArray[np.float32], prompt: str
) -> None:
    command = command_speech[26_000:]
    assert final_text(tiny, command, prompt=prompt) == final_text(tiny, command)


# --- real speech in other languages ----------------------------------------------------------


@pytest.fixture(scope="module")
def real_multilingual(multilingual_folder: str) -> WhisperModel:
    return load_model(multilingual_folder, dtype="float32")


@pytest.fixture(scope="module")
def foreign_clips(data_folder: Path) -> tuple[Clip, ...]:
    """Short clips in other languages than English."""
    folder = data_folder / "multi_lang"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return tuple(c for c in load_clips(folder, longest_s=4) if c.language != "en")


def test_streaming_reads_other_languages_as_offline_does(
    real_multilingual: WhisperModel, foreign_clips: tuple[Clip, ...]
) -> None:
    words = changed = 0
    for clip in foreign_clips:
        speech = from_first_voice(clip.samples())
        options = DecodingOptions(language=clip.language)
        offline = words_of(DecodingTask(real_multilingual, options).run(speech).text)
        config = StreamingConfig(language=clip.language)
        final = list(generate_streaming(real_multilingual, speech, config))[-1]
        words += len(offline)
        changed += edits(offline, words_of(final.text))
    assert words
    assert changed / words <= 0.1


def test_languages_are_detected_in_short_commands(
    real_multilingual: WhisperModel, foreign_clips: tuple[Clip, ...]
) -> None:
    found = [
        list(generate_streaming(real_multilingual, from_first_voice(clip.samples()), AUTO))[-1]
        for clip in foreign_clips
    ]
    right = sum(
        final.language == clip.language for final, clip in zip(found, foreign_clips, strict=True)
    )
    assert right / len(foreign_clips) >= 0.75


def test_translation_gives_english(
    real_multilingual: WhisperModel, foreign_clips: tuple[Clip, ...]
) -> None:
    german = next(c for c in foreign_clips if c.language == "de" and "temperatur" in (c.text or ""))
    config = StreamingConfig(language="de", task="translate")
    *partials, final = generate_streaming(real_multilingual, german.samples(), config)
    assert "temperature" in final.text.lower()
    assert final.language == "de"
    assert all(after.text.startswith(before.text) for before, after in pairwise(partials))
