"""What a model reads in each language: offline, streamed, and with the language detected.

    PYTHONPATH=.:tests python -m tools.bench.languages FOLDER... --model M [--peer] [--longest S]

A table on standard output, a line a language: word error rate of the offline decode and of the
final against the transcripts; words changed by streaming against the offline decode with the
same weights; how often `language="auto"` was right, and on how much audio it had decided. With
`--peer` also the words in which faster-whisper's offline text, from the same weights, differs
(CTranslate2 folders only). What is read goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.alignment import edits, edits_to_prefix
from tools.bench.arguments import add_clip_arguments, chosen_clips, model_folder
from tools.bench.clips import Clip
from tools.bench.metrics import percentile, violations
from tools.bench.text import words_of
from voice_daemon.asr import (
    DecodingOptions,
    StreamingConfig,
    StreamingDecoder,
    WhisperModel,
    load_model,
)
from voice_daemon.asr.offline import N_SAMPLES, decode_windows
from voice_daemon.asr.types import text_of
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.session.options import PipelineOptions

Samples = NDArray[np.float32]

LEAD_S = 0.3
"""Audio kept before the first voice, as the daemon does: it feeds a recogniser speech alone."""
TAIL_S = 1.0
"""Silence behind each clip, so that its last words can be committed."""


@dataclass
class Tally:
    """Sums over the clips of one language."""

    clips: int = 0
    words: int = 0
    offline_errors: int = 0
    final_errors: int = 0
    offline_words: int = 0
    final_changed: int = 0
    committed_changed: int = 0
    peer_changed: int = 0
    detected: int = 0
    kept: int = 0
    retracted: int = 0
    decided_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Streamed:
    """One clip, streamed."""

    committed: str
    final: str
    language: str
    languages: tuple[str, ...]
    """As each step reported it."""
    decided_s: float | None
    """Audio after which no step changed the language any more; None: only the final named it."""
    retracted: int


def stream(decoder: StreamingDecoder, samples: Samples, *, step_s: float) -> Streamed:
    """Feed a clip in steps, then a tail of silence, and take what comes."""
    decoder.reset()
    size = round(step_s * SAMPLE_RATE)
    shown = []
    padded = np.concatenate((samples, np.zeros(round(TAIL_S * SAMPLE_RATE), np.float32)))
    for first in range(0, len(padded) - size + 1, size):
        decoder.feed(padded[first : first + size])
        shown += decoder.step()
    final = decoder.finish()
    languages = tuple(result.language for result in shown)
    decided = next(
        (
            result.audio_position
            for result in shown
            if result.language == final.language
            and all(later == final.language for later in languages[shown.index(result) :])
        ),
        None,
    )
    return Streamed(
        committed=shown[-1].text if shown else "",
        final=final.text,
        language=final.language,
        languages=languages,
        decided_s=decided,
        retracted=violations([result.text for result in shown]),
    )


def from_first_voice(samples: Samples) -> Samples:
    """(n,) samples without the silence that a recording begins with."""
    vad = SileroVad()
    voiced = np.flatnonzero(np.array(vad.feed(to_int16(samples))) >= PipelineOptions().voice_on)
    first = int(voiced[0]) * vad.frame_samples - round(LEAD_S * SAMPLE_RATE) if len(voiced) else 0
    return samples[max(0, first) :]


def offline(model: WhisperModel, samples: Samples, language: str) -> str:
    """One padded decode, or one a window."""
    windows = decode_windows(model, samples, DecodingOptions(language=language))
    return text_of([word for _, words in windows for word in words])


def peer_reader(folder: Path) -> Callable[[Samples, str], str]:
    """faster-whisper's greedy decode without times, of the same folder."""
    from faster_whisper import WhisperModel as Peer  # noqa: PLC0415 - an extra's

    peer = Peer(str(folder), device="cpu", compute_type="float32", cpu_threads=1)

    def read(samples: Samples, language: str) -> str:
        # Its own padding is not silence but zeros in the spectrogram, which read differently.
        padded = np.pad(samples, (0, max(0, N_SAMPLES - len(samples))))
        segments, _ = peer.transcribe(
            padded,
            language=language,
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
        )
        return "".join(segment.text for segment in segments).strip()

    return read


def measure(
    clips: Sequence[Clip],
    model: WhisperModel,
    *,
    step_s: float,
    peer: Any = None,
) -> dict[str, Tally]:
    """Read every clip in each way."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    auto = StreamingDecoder(model, StreamingConfig(language="auto", min_chunk_duration=step_s))
    fixed: dict[str, StreamingDecoder] = {}
    for clip in clips:
        tally = tallies[clip.language]
        if clip.language not in fixed:
            config = StreamingConfig(language=clip.language, min_chunk_duration=step_s)
            fixed[clip.language] = StreamingDecoder(model, config)
        samples = from_first_voice(clip.samples())
        reading = stream(fixed[clip.language], samples, step_s=step_s)
        whole = offline(model, samples, clip.language)
        add_words(tally, clip, whole, reading)
        if peer is not None:
            tally.peer_changed += edits(words_of(whole), words_of(peer(samples, clip.language)))
        guessed = stream(auto, samples, step_s=step_s)
        tally.detected += guessed.language == clip.language
        named = [name for name in guessed.languages if name]
        tally.kept += not named or named[-1] == guessed.language
        if guessed.decided_s is not None:
            tally.decided_s.append(guessed.decided_s)
        print(  # noqa: T201 - what it is for
            f"{clip.name}: {guessed.language} {guessed.languages}\n  transcript {clip.text}"
            f"\n  offline    {whole}\n  final      {reading.final}",
            file=sys.stderr,
        )
    return tallies


def add_words(tally: Tally, clip: Clip, whole: str, reading: Streamed) -> None:
    """Count words and edits of one clip."""
    spoken, said = words_of(clip.text or ""), words_of(whole)
    tally.clips += 1
    tally.offline_words += len(said)
    tally.final_changed += edits(said, words_of(reading.final))
    tally.committed_changed += edits_to_prefix(said, words_of(reading.committed))
    tally.retracted += reading.retracted
    if spoken:
        tally.words += len(spoken)
        tally.offline_errors += edits(spoken, said)
        tally.final_errors += edits(spoken, words_of(reading.final))


def total(tallies: Sequence[Tally]) -> Tally:
    """Sum of all languages."""
    whole = Tally()
    for tally in tallies:
        for entry in fields(Tally):
            setattr(whole, entry.name, getattr(whole, entry.name) + getattr(tally, entry.name))
    return whole


def table(tallies: dict[str, Tally], *, with_peer: bool) -> str:
    """The figures as a Markdown table."""
    head = (
        "| language | clips | words | offline WER | final WER | final changed | committed changed "
        "| detected | decided after (p50, p95) | retracted |"
    )
    lines = [
        head + (" peer changed |" if with_peer else ""),
        "|---" * (11 if with_peer else 10) + "|",
    ]
    for name, tally in {**tallies, "all": total(list(tallies.values()))}.items():
        decided = [percentile(tally.decided_s, percent) for percent in (50, 95)]
        cells = [
            name,
            str(tally.clips),
            str(tally.words),
            share(tally.offline_errors, tally.words),
            share(tally.final_errors, tally.words),
            share(tally.final_changed, tally.offline_words),
            share(tally.committed_changed, tally.offline_words),
            f"{tally.detected}/{tally.clips}",
            ", ".join("-" if at is None else f"{at:.1f} s" for at in decided),
            str(tally.retracted),
        ]
        if with_peer:
            cells.append(share(tally.peer_changed, tally.offline_words))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def share(part: int, whole: int) -> str:
    """A percentage with what it stands on."""
    return f"{100 * part / whole:.1f} % ({part})" if whole else "-"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tools.bench.languages", description="Words by language.")
    add_clip_arguments(parser)
    parser.add_argument("--step-s", type=float, default=0.5, metavar="S")
    parser.add_argument("--peer", action="store_true", help="faster-whisper on the same folder")
    args = parser.parse_args()
    try:
        folder = model_folder(args.model)
        model = load_model(folder)
        clips = [
            clip
            for clip in chosen_clips(args, multilingual=model.tokenizer.is_multilingual)
            if clip.is_speech
        ]
        peer = peer_reader(folder) if args.peer else None
        tallies = measure(clips, model, step_s=args.step_s, peer=peer)
    except VoiceDaemonError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)  # noqa: T201 - a command
        return 2
    print(table(tallies, with_peer=args.peer))  # noqa: T201 - the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
