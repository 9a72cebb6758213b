"""Own sound in a simulated room: sessions that it opens, and wake words said over it.

    python -m tools.bench.echo --played FOLDER... --said FOLDER... [--word alexa] [--minutes 30]

What the recordings of a `--played` folder hold is played, at three volumes, through a loudspeaker
that is not quite linear and a room of 0.4 s of reverberation into a microphone that hisses at
-70 dBFS. Each folder is one kind of sound; the minutes are spread over kinds and volumes. Then the
wake words of the `--said` folders are said over it, at its own power (`--snr-db`). The whole is
heard as it is, and as the daemon hears it: the echo taken out of it, and the recogniser asked
whether a score that is high was the word.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.bench.wake import phrase_reader, recordings
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import WakeSettings
from voice_daemon.events import SAMPLE_RATE, ms_to_samples
from voice_daemon.session.options import PipelineOptions
from voice_daemon.sound.echo import BLOCK, EchoFilter
from voice_daemon.wake.detector import OpenWakeWord, WakeGate
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES
from voice_daemon.wake.threshold import GateRules

VOLUMES_DBFS: Final = (-45.0, -35.0, -25.0)
"""Power of the own sound at the microphone."""
HISS_DBFS: Final = -70.0
DELAY_S: Final = 0.13
"""From the callback to the microphone's sample."""
REVERBERATION_S: Final = 0.4
WORD_EVERY_S: Final = 5.0
GRACE_S: Final = 0.5
"""After a recording's end its wake word may still be detected."""
VERIFY_SAMPLES: Final = ms_to_samples(PipelineOptions().verify_ms)

Signal = NDArray[np.float32]
Logprob = Callable[[NDArray[np.int16]], float]
"""Gives how probable the recogniser finds the wake word in (n,) samples."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Wakes in a stretch of sound, as sample indices."""

    at_samples: tuple[int, ...]

    def within(self, first: int, end: int) -> bool:
        return any(first <= at < end for at in self.at_samples)


def scaled(signal: Signal, dbfs: float) -> Signal:
    """Give it a power; what is silent in it does not count."""
    loud = np.abs(signal) > 0.02 * np.abs(signal).max()
    rms = np.sqrt(np.mean(np.square(signal[loud], dtype=np.float64)))
    louder: Signal = (signal * (10 ** (dbfs / 20) / rms)).astype(np.float32)
    return louder


def room(seed: int) -> Signal:
    """Make a path from loudspeaker to microphone: direct sound, then decaying noise."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(REVERBERATION_S * SAMPLE_RATE)) / SAMPLE_RATE
    tail = 0.25 * rng.standard_normal(times_s.size) * 10 ** (-3 * times_s / REVERBERATION_S)
    tail[0] = 1.0
    return np.concatenate((np.zeros(round(DELAY_S * SAMPLE_RATE)), tail)).astype(np.float32)


def through(path: Signal, played: Signal) -> Signal:
    """Give what the microphone hears of what is played; the loudspeaker bends its peaks."""
    bent = np.tanh(2 * played / np.abs(played).max())
    size = 1 << (played.size + path.size).bit_length()
    echo = np.fft.irfft(np.fft.rfft(bent, size) * np.fft.rfft(path, size))
    return echo[: played.size].astype(np.float32)


def cleaned(heard: Signal, played: Signal) -> Signal:
    one = EchoFilter()
    whole = heard.size - heard.size % BLOCK
    blocks = (slice(at, at + BLOCK) for at in range(0, whole, BLOCK))
    return np.concatenate([one.feed(heard[b], played[b]) for b in blocks]).astype(np.float32)


def wakes(
    scorer: OpenWakeWord, heard: Signal, threshold: float, logprob: Logprob | None = None
) -> Heard:
    """Hear it as the daemon does, from its start; `logprob` is asked where own sound is left."""
    scorer.reset()
    rules = GateRules()
    gate = WakeGate(
        threshold=threshold,
        trigger_level=rules.trigger_level,
        refractory_samples=rules.refractory_samples,
    )
    gate.beside_own_sound = logprob is not None
    gate.verify_from = WakeSettings().verify_from if logprob else 0.0
    samples = to_int16(heard)
    found = []
    for end in range(WAKE_FRAME_SAMPLES, samples.size + 1, WAKE_FRAME_SAMPLES):
        scores = scorer.score(samples[end - WAKE_FRAME_SAMPLES : end])
        wake = gate.feed(scores, at_sample=end)
        if wake is None or wake.is_repeat:
            continue
        read = samples[max(0, end - VERIFY_SAMPLES) : end]
        if logprob is None or logprob(read) >= wake.least_logprob:
            found.append(end)
    return Heard(tuple(found))


def played_for(recordings: Sequence[Signal], seconds: float, seed: int) -> Signal:
    """Play recordings in a random order, again and again, for so long."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * SAMPLE_RATE)
    parts: list[Signal] = []
    while sum(part.size for part in parts) < n_samples:
        parts += [recordings[index] for index in rng.permutation(len(recordings))]
    return np.concatenate(parts)[:n_samples]


def with_words(
    echo: Signal, words: Sequence[Signal], level_dbfs: float
) -> tuple[Signal, list[tuple[int, int]]]:
    """Say a word every few seconds; also give where each may be detected."""
    heard, places = echo.copy(), []
    for number, word in enumerate(words):
        first = round((2 + number * WORD_EVERY_S) * SAMPLE_RATE)
        heard[first : first + word.size] += scaled(word, level_dbfs)
        places.append((first, first + word.size + round(GRACE_S * SAMPLE_RATE)))
    return heard, places


def trials(args: argparse.Namespace) -> Iterator[str]:
    said = [r for r in recordings(args.said) if r.label == args.word.replace("_", " ")]
    words = [recording.audio for recording in said]
    scorer = OpenWakeWord([args.word])
    logprob = partial(phrase_reader(args.asr_model), args.word.replace("_", " ").title())
    seconds = 60 * args.minutes / len(args.played) / len(args.volumes)
    path = room(args.seed)
    yield f"{args.word}, {len(words)} times at {args.snr_db:g} dB; threshold {args.threshold:g}"
    yield f"{'played':24} {'dBFS':>5} {'min':>5}  opened: as is, cleaned   heard: as is, cleaned"
    totals = np.zeros(4, int)
    for folder in args.played:
        sounds = [recording.audio for recording in recordings([folder])]
        for seed, dbfs in enumerate(args.volumes):
            length_s = max(seconds, 4 + len(words) * WORD_EVERY_S)
            played = scaled(played_for(sounds, length_s, seed), -20.0)
            echo = scaled(through(path, played), dbfs)
            rng = np.random.default_rng(seed)
            echo += (10 ** (HISS_DBFS / 20) * rng.standard_normal(echo.size)).astype(np.float32)
            alone = echo[: round(seconds * SAMPLE_RATE)]
            heard, places = with_words(echo, words, dbfs + args.snr_db)
            row = np.array(
                [
                    len(wakes(scorer, alone, args.threshold).at_samples),
                    len(wakes(scorer, cleaned(alone, played), args.threshold, logprob).at_samples),
                    _hits(wakes(scorer, heard, args.threshold), places),
                    _hits(wakes(scorer, cleaned(heard, played), args.threshold, logprob), places),
                ]
            )
            totals += row
            yield _line(folder.name, f"{dbfs:g}", seconds / 60, row)
    yield _line("all", "", args.minutes, totals)


def _hits(heard: Heard, places: Sequence[tuple[int, int]]) -> int:
    return sum(heard.within(first, end) for first, end in places)


def _line(name: str, dbfs: str, minutes: float, row: NDArray[np.int_]) -> str:
    return f"{name:24} {dbfs:>5} {minutes:5.1f} {row[0]:14} {row[1]:8} {row[2]:14} {row[3]:8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--played", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--said", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--word", default="alexa")
    parser.add_argument("--volumes", nargs="+", type=float, default=VOLUMES_DBFS, metavar="DBFS")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--snr-db", type=float, default=0.0)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0, help="of the room")
    parser.add_argument("--asr-model", default="tiny.en", metavar="MODEL")
    for line in trials(parser.parse_args()):
        print(line, flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    main()
