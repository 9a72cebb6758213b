"""Wake words on recordings of people: misses and false accepts, by threshold, sound and stage.

    scripts/bench wake FOLDER... [--models alexa,okay_house] [--verify 0.01]

Each FOLDER holds a manifest.jsonl: `audio`, and where a wake word is said its `label`. What has
another label or none counts as other sound. What is mixed in, 5 dB below the speaker, is from the
folders `noise` and `music`, and for the television single talkers of over 10 s. Two stages: scores
from `wake.verify_from` up to the threshold count where the recogniser takes the word for possible
in the last two seconds. microWakeWord is measured too where pymicro-wakeword is installed.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from tools.bench.arguments import DEFAULT_OUT, model_folder
from tools.bench.report import SCHEMA, machine
from voice_daemon.asr import StreamingConfig, WhisperTranscriber, load_model
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import WakeSettings
from voice_daemon.events import SAMPLE_RATE, ms_to_samples
from voice_daemon.session.options import PipelineOptions
from voice_daemon.wake.detector import OpenWakeWord, WakeGate
from voice_daemon.wake.models import wake_word_of_setting
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES
from voice_daemon.wake.threshold import AFTER_SAMPLES, events_at_most, share_at_most

Audio = NDArray[np.float32]

THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95)
SNR_DB: Final = 5.0
RULES: Final = PipelineOptions()
CONDITIONS: Final = ("clean", "noise", "music", "television", "echo")
MICRO_WORDS: Final = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")
_LOUD: Final = 0.1
"""Of the highest level: where somebody speaks."""


class Scorer(Protocol):
    """Scores audio for one wake word, a number for each 80 ms."""

    name: str
    is_own: bool
    """True for a word that was trained here."""

    def scores(self, samples: NDArray[np.int16]) -> list[float]:
        """Score a recording from a fresh start."""


class Ours:
    """The daemon's own scores."""

    def __init__(self, model: str) -> None:
        self.word = wake_word_of_setting(model)
        self.name = f"voice-daemon {self.word}"
        self._scorer = OpenWakeWord([model])
        self.is_own = self.word in self._scorer.own_words

    def scores(self, samples: NDArray[np.int16]) -> list[float]:
        """Score a recording from a fresh start."""
        self._scorer.reset()
        whole = samples[: len(samples) // WAKE_FRAME_SAMPLES * WAKE_FRAME_SAMPLES]
        frames = whole.reshape(-1, WAKE_FRAME_SAMPLES)
        return [self._scorer.score(frame)[self.word] for frame in frames]


class MicroWakeWord:
    """pymicro-wakeword's, the highest of every 80 ms."""

    def __init__(self, word: str) -> None:
        import pymicro_wakeword as micro  # noqa: PLC0415 - a peer that may be missing

        self.name, self.is_own = f"microWakeWord {word}", False
        self._model = micro.MicroWakeWord.from_builtin(micro.Model(word))
        self._features = micro.MicroWakeWordFeatures()

    def scores(self, samples: NDArray[np.int16]) -> list[float]:
        """Score a recording from a fresh start."""
        self._model.reset()
        self._features.reset()
        found = []
        whole = samples[: len(samples) // WAKE_FRAME_SAMPLES * WAKE_FRAME_SAMPLES]
        for frame in whole.reshape(-1, WAKE_FRAME_SAMPLES):
            features = self._features.process_streaming(frame.tobytes())
            heard = [self._model.process_streaming_prob(each) or 0.0 for each in features]
            found.append(max(heard, default=0.0))
        return found


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording and its label."""

    name: str
    label: str
    audio: Audio
    kind: str


def recordings(folders: Sequence[Path]) -> Iterator[Recording]:
    """Read every recording of the folders."""
    for folder in folders:
        for line in (folder / "manifest.jsonl").read_text().splitlines():
            row = json.loads(line)
            kind = folder.name if folder.name in {"noise", "music"} else "speech"
            audio = load_audio(folder / row["audio"])
            yield Recording(
                f"{folder.name}/{row['audio']}", str(row.get("label") or ""), audio, kind
            )


def mixed(speech: Audio, other: Audio, rng: np.random.Generator, snr_db: float) -> Audio:
    """Mix other sound in, `snr_db` below the loud part of the speech."""
    other = np.resize(np.roll(other, -int(rng.integers(len(other)))), len(speech))
    gain = _level(speech) / (_level(other) + 1e-9) * 10 ** (-snr_db / 20)
    both = speech + gain * other
    return both.astype(np.float32) / np.float32(max(1.0, np.abs(both).max()))


def _level(audio: Audio) -> float:
    """Return the root mean square of the 10 ms that are loud."""
    powers = np.square(audio[: len(audio) // 160 * 160]).reshape(-1, 160).mean(axis=1)
    return float(np.sqrt(powers[powers >= _LOUD**2 * powers.max()].mean())) if len(powers) else 0.0


def echoed(speech: Audio, rng: np.random.Generator) -> Audio:
    """Put it into a room of 0.5 s, the echo as loud as the direct sound."""
    n_samples = SAMPLE_RATE // 2
    tail = rng.normal(size=n_samples) * 10 ** (-3 * np.arange(n_samples) / n_samples)
    room = np.concatenate(([1.0], np.zeros(48), tail / np.sqrt(np.sum(tail**2))))
    size = len(speech) + SAMPLE_RATE // 2
    product = np.fft.rfft(speech, 2 * size) * np.fft.rfft(room, 2 * size)
    both = np.fft.irfft(product)[:size]
    return both.astype(np.float32) / np.float32(max(1.0, np.abs(both).max()))


@dataclass(slots=True)
class Scored:
    """A recording's audio and scores, and the word's log-probability where it was asked for."""

    samples: NDArray[np.int16]
    scores: list[float]
    logprobs: dict[int, float] = field(default_factory=dict)


class Measurement:
    """Everything about one scorer: its scores in every condition, and its second stage."""

    def __init__(self, scorer: Scorer, logprob: Callable[[NDArray[np.int16]], float]) -> None:
        self._scorer = scorer
        self._logprob = logprob

    def score(self, audio: Audio) -> Scored:
        """Score a recording and a second of silence after it."""
        samples = np.concatenate((to_int16(audio), np.zeros(AFTER_SAMPLES, np.int16)))
        return Scored(samples, self._scorer.scores(samples))

    def wakes(self, scored: Scored, threshold: float, verify_from: float) -> int:
        """Count the wakes that a recording causes."""
        gate = WakeGate(threshold=threshold, trigger_level=1, refractory_samples=2 * SAMPLE_RATE)
        gate.verify_from = verify_from
        gate.own_words = frozenset({""} if self._scorer.is_own else ())
        n_wakes = 0
        for number, score in enumerate(scored.scores):
            end = (number + 1) * WAKE_FRAME_SAMPLES
            found = gate.feed({"": score}, at_sample=end)
            if found is None or found.is_repeat:
                continue
            n_wakes += found.is_sure or self._read(scored, number, end) >= found.least_logprob
        return n_wakes

    def _read(self, scored: Scored, number: int, end: int) -> float:
        if number not in scored.logprobs:
            heard = scored.samples[max(0, end - ms_to_samples(RULES.verify_ms)) : end]
            scored.logprobs[number] = self._logprob(heard)
        return scored.logprobs[number]


def measure(
    measurement: Measurement,
    said: dict[str, list[Scored]],
    other: dict[str, list[Scored]],
    stages: Sequence[float],
) -> Iterator[dict[str, Any]]:
    """Yield a row for every threshold and stage."""
    hours = {
        kind: sum(len(s.samples) - AFTER_SAMPLES for s in each) / SAMPLE_RATE / 3600
        for kind, each in other.items()
    }
    for verify_from in stages:
        for threshold in THRESHOLDS:
            if verify_from >= threshold:
                continue
            wakes = partial(measurement.wakes, threshold=threshold, verify_from=verify_from)
            missed = {c: sum(not wakes(s) for s in each) for c, each in said.items()}
            accepts = {kind: sum(wakes(s) for s in each) for kind, each in other.items()}
            n, total = len(said["clean"]), sum(accepts.values())
            yield {
                "threshold": threshold,
                "verify_from": verify_from,
                "said": n,
                "missed": missed,
                "missed_at_most": {c: share_at_most(m, n) for c, m in missed.items()},
                "false_accepts": accepts,
                "hours": {kind: round(h, 3) for kind, h in hours.items()},
                "per_hour": total / max(1e-9, sum(hours.values())),
                "per_hour_at_most": events_at_most(total) / max(1e-9, sum(hours.values())),
            }


def table(name: str, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Write a scorer's rows as Markdown."""
    hours = ", ".join(f"{kind} {h:.2f} h" for kind, h in rows[0]["hours"].items())
    yield f"{name}: {rows[0]['said']} said; other sound: {hours}"
    yield ""
    heads = " | ".join(f"{c}, missed %" for c in rows[0]["missed"])
    yield f"| asked from | threshold | {heads} | false accepts | an hour, at most |"
    yield "|---" * (len(rows[0]["missed"]) + 4) + "|"
    for row in rows:
        missed = " | ".join(f"{100 * m / row['said']:.1f}" for m in row["missed"].values())
        accepts = "/".join(map(str, row["false_accepts"].values()))
        stage = f"{row['verify_from']:g}" if row["verify_from"] else "-"
        yield (
            f"| {stage} | {row['threshold']:g} | {missed} | {accepts} |"
            f" {row['per_hour']:.1f}, {row['per_hour_at_most']:.1f} |"
        )
    yield ""


def phrase_reader(model: str) -> Callable[[str, NDArray[np.int16]], float]:
    """Give what tells how probable a recogniser finds a phrase in (n,) samples."""
    transcriber = WhisperTranscriber(load_model(model_folder(model)), StreamingConfig())

    def logprob(phrase: str, samples: NDArray[np.int16]) -> float:
        transcriber.start(wake_phrase=None)
        transcriber.feed(samples)
        found = transcriber.phrase_logprob(phrase)
        transcriber.reset()
        return found

    return logprob


def main(arguments: Sequence[str]) -> int:
    """Measure, show, write and draw it."""
    args = _parser().parse_args(arguments)
    every = list(recordings(args.folders))
    console = Console(highlight=False)
    logprob = phrase_reader(args.asr_model)
    results = {}
    for word, scorer in _scorers(args.models.split(",")):
        label = word.replace("_", " ")
        measurement = Measurement(scorer, partial(logprob, label))
        said = [r for r in every if r.label == label]
        if not said:
            continue
        conditions = _conditions(said, every)
        heard = {c: [measurement.score(audio) for audio in each] for c, each in conditions.items()}
        other: dict[str, list[Scored]] = {}
        for recording in track(every, scorer.name, console=Console(stderr=True), transient=True):
            # Half of the phrase, and recordings of several words, are neither.
            is_neither = recording.label in label or recording.label.startswith("multiple")
            if not (recording.label and is_neither):
                other.setdefault(recording.kind, []).append(measurement.score(recording.audio))
        stages = (0.0, *(float(s) for s in args.verify.split(",")))
        rows = list(measure(measurement, heard, other, stages))
        results[scorer.name] = rows
        console.print("\n".join(table(scorer.name, rows)), markup=False, soft_wrap=True)
    args.out.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "machine": machine(), "results": results}
    (args.out / "wake.json").write_text(json.dumps(document, indent=1))
    from tools.bench import wake_picture  # noqa: PLC0415 - matplotlib

    for name, rows in results.items():
        picture = args.out / f"wake-{name.replace(' ', '-')}.png"
        wake_picture.draw(name, rows, picture, default=WakeSettings().threshold)
    return 0


def _conditions(said: Sequence[Recording], every: Sequence[Recording]) -> dict[str, list[Audio]]:
    """Give the recordings of the word in every condition that there is sound for."""
    behind = {
        "noise": [r.audio for r in every if r.kind == "noise" and _level(r.audio) > 0],
        "music": [r.audio for r in every if r.kind == "music"],
        "television": [r.audio for r in every if r.kind == "speech" and len(r.audio) > 160_000],
    }
    rng = np.random.default_rng(5)
    found = {"clean": [r.audio for r in said]}
    for name, sounds in behind.items():
        if sounds:
            found[name] = [
                mixed(r.audio, sounds[n % len(sounds)], rng, SNR_DB) for n, r in enumerate(said)
            ]
    found["echo"] = [echoed(r.audio, rng) for r in said]
    return found


def _scorers(models: Sequence[str]) -> Iterator[tuple[str, Scorer]]:
    for model in models:
        ours = Ours(model)
        yield ours.word, ours
        if ours.word in MICRO_WORDS:
            try:
                yield ours.word, MicroWakeWord(ours.word)
            except ImportError:
                continue


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench wake", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--models", default="alexa", metavar="A,B", help="default: %(default)s")
    parser.add_argument("--asr-model", default="tiny.en", metavar="M", help="default: %(default)s")
    parser.add_argument(
        "--verify", default="0.01", metavar="S,S", help="scores to ask from (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="FOLDER")
    return parser
