"""A wake word of one's own, made small: of a clip of the phrase, against what is shipped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.cli import wake as command
from voice_daemon.cli.main import main
from voice_daemon.wake import own
from voice_daemon.wake.augment import rendering
from voice_daemon.wake.detector import WakeGate
from voice_daemon.wake.own import (
    Clip,
    Material,
    Workshop,
    scored_by,
    shipped_negatives,
)
from voice_daemon.wake.training import Recipe, Windows, train
from voice_daemon.wake.voices import Voice, all_voices, speak, trimmed

CLIP = load_audio(DEMO_CLIP)
PHRASE = trimmed(CLIP[: round(1.6 * 16_000)])
COMMAND = CLIP[round(1.7 * 16_000) :]
SMALL = Recipe(nets=1, hidden=16, steps=120, said=32, other=64, hardest=200)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    monkeypatch.setattr(own, "RENDERINGS", 24)
    monkeypatch.setattr(own, "NOISE_S", 20)
    monkeypatch.setattr(command, "SPOKEN", 4)
    monkeypatch.setattr(command, "NEAR", 4)
    monkeypatch.setattr(command, "RECIPE", SMALL)
    few = replace(shipped_negatives(), recordings=shipped_negatives().recordings[:40])
    monkeypatch.setattr(command, "shipped_negatives", lambda: few)


def test_windows_that_differ_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    said = rng.normal(1, 1, (200, 16, 96)).astype(np.float32)
    other = [rng.normal(0, 1, (60, 96)).astype(np.float32) for _ in range(5)]
    looks: list[None] = []
    head = train(said, other, SMALL, seed=1, on_look=lambda: looks.append(None))
    assert len(looks) == SMALL.looks
    unheard = rng.normal(1, 1, (20, 16, 96)).astype(np.float32)
    assert head.run(unheard).mean() > 0.9
    windows = Windows(other)
    assert head.run(windows.take(np.arange(len(windows))).reshape(-1, 16, 96)).mean() < 0.1
    again = train(said, other, SMALL, seed=1)
    np.testing.assert_array_equal(again.weights, head.weights)


def test_a_rendering_ends_where_it_says() -> None:
    audio, ends = rendering(PHRASE, np.random.default_rng(1), lead_s=0.5, tail_s=0.7, beside=None)
    assert len(audio) - ends == pytest.approx(0.7 * 16_000, abs=2)
    assert np.abs(audio).max() <= 1


@pytest.mark.usefixtures("small")
def test_a_word_is_learnt_from_clips_of_it() -> None:
    shipped = shipped_negatives()
    material = Material(
        spoken=tuple(Clip(f"voice {n}", PHRASE) for n in range(4)),
        near=(Clip("voice 0", COMMAND),),
        other=shipped.recordings[:40],
    )
    shares: list[float] = []
    trained = Workshop(on_progress=shares.append).make("hey jarvis", material, SMALL)
    assert shares == sorted(shares)
    assert trained.sweep.n_said == 24
    assert trained.head.phrase == "hey jarvis"
    assert trained.head.threshold == trained.sweep.points[-1].threshold
    assert trained.near_accepted == 0
    workshop = Workshop()
    _, heard = scored_by(trained.head, workshop.embeddings(CLIP)).best()
    _, other = scored_by(trained.head, workshop.embeddings(COMMAND)).best()
    assert heard > 0.8
    assert other < 0.3


@pytest.mark.usefixtures("small")
def test_what_training_wrote_is_named_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    voices = (Voice("flite slt", ("cp", str(DEMO_CLIP), "{file}")),) * 4
    monkeypatch.setattr(command, "all_voices", lambda most: voices[:most])
    arguments = [
        "wake",
        "train",
        "hey computer",
        "--takes",
        str(DEMO_CLIP),
        "--room",
        str(DEMO_CLIP),
    ]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "hey_computer is installed" in told.out
    assert "at most" in told.out
    assert "wake.verify_from" in told.out
    assert main(arguments) == 2
    assert "wake improve hey_computer" in capsys.readouterr().err
    assert main(["wake", "list"]) == 0
    assert "hey_computer" in capsys.readouterr().out
    assert main(["wake", "improve", "hey_computer", "--not", str(DEMO_CLIP), "--json"]) == 0
    capsys.readouterr()
    written = {p for p in (tmp_path / "wake-words").rglob("*") if p.is_file()}
    assert len(written) == 4
    assert main(["wake", "forget", "hey computer"]) == 0
    told = capsys.readouterr()
    assert {Path(line.removeprefix("removed ")) for line in told.out.splitlines()} == written
    assert not any((tmp_path / "wake-words").rglob("*"))
    assert main(["wake", "forget", "hey computer"]) == 2


def test_a_higher_score_takes_a_less_clear_reading() -> None:
    told = WakeGate(threshold=0.97, trigger_level=1, refractory_samples=0)
    told.verify_from, told.own_words = 0.01, frozenset({"own"})
    frames = [0.95, 0.0, *[0.0] * 25, 0.5, 0.0]
    found = [told.feed({"own": s}, at_sample=(n + 1) * 1280) for n, s in enumerate(frames)]
    likely, unlikely = (each for each in found if each is not None)
    assert (likely.score, unlikely.score) == (0.95, 0.5)
    assert likely.least_logprob < unlikely.least_logprob < 0


def test_the_systems_voices_speak() -> None:
    voices = all_voices(most=12)
    if not voices:
        pytest.skip("no speech synthesiser is installed")
    assert len({voice.speaker for voice in voices}) > len(voices) // 2
    spoken = speak("okay house", voices[0])
    assert 0.3 < len(spoken) / 16_000 < 2
