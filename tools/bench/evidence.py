"""What tells speech from everything else: what the gates let through, and what they hold back.

    scripts/bench evidence FOLDER...

Each clip goes through the speech gate of `daemonctl transcribe`, is read in one go, and judged by
the rules that the daemon judges by; where nothing may be recognised, it goes through the daemon's
own pipeline too, with a session open all the time. Knows nothing of how it is judged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tools.bench.arguments import add_clip_arguments, chosen_clips, model_folder
from tools.bench.clips import Clip
from tools.bench.tables import Table, number, wide_console
from tools.bench.voice import daemon_texts
from voice_daemon.asr import StreamingDecoder, WhisperModel, WhisperTranscriber, load_model
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.hallucination import is_hallucination
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.session.pipeline import PipelineOptions

NO_TEXT: Final = "(nothing)"


@dataclass(frozen=True, slots=True)
class Judged:
    """One clip and what became of it."""

    clip: str
    folder: str
    is_speech: bool
    voiced_s: float = 0.0
    """Voice in what the gate passed on; 0 where it passed nothing on."""
    voice: float = 0.0
    """Its mean probability."""
    text: str = ""
    """What was read, spoken or not."""
    confidence: float = 0.0
    no_speech_prob: float = 0.0
    spoken: bool = False
    """The text counts."""
    in_daemon: tuple[str, ...] = ()
    """What the daemon would publish; asked only of clips without speech."""

    @property
    def words_per_s(self) -> float:
        """Words to the second of voice."""
        return len(self.text.split()) / self.voiced_s if self.voiced_s else 0.0

    @property
    def is_wrong(self) -> bool:
        """Speech without a text, or a text without speech."""
        return self.spoken != self.is_speech or bool(self.in_daemon)


class Judge:
    """Gate, recogniser and rules, as they are set by default."""

    def __init__(self, model: WhisperModel) -> None:
        self._options = PipelineOptions()
        self._gate = self._options.segmenter(SileroVad())
        self._decoder = StreamingDecoder(model)
        self._transcriber = WhisperTranscriber(model)

    def judge(self, clip: Clip) -> Judged:
        """Put one clip through."""
        samples = clip.samples()
        published = () if clip.is_speech else daemon_texts(self._transcriber, samples)
        self._gate.reset()
        self._gate.feed(to_int16(samples))
        self._gate.finish()
        if not self._gate.segments:
            return Judged(clip.name, clip.folder, clip.is_speech, in_daemon=published)
        self._decoder.reset()
        for span in self._gate.segments:
            self._decoder.feed(samples[span.first : span.end])
        read, voice = self._decoder.finish(), self._gate.vad_stats
        return Judged(
            clip.name,
            clip.folder,
            clip.is_speech,
            voiced_s=voice.voiced_samples / SAMPLE_RATE,
            voice=voice.mean_probability,
            text=read.text,
            confidence=read.confidence,
            no_speech_prob=read.no_speech_prob,
            spoken=not is_hallucination(
                read.text,
                read,
                stats=voice,
                thresholds=self._options.hallucination_thresholds(),
            ),
            in_daemon=published,
        )


def summary(judged: Sequence[Judged]) -> Table:
    """One row a folder."""
    rows = []
    for folder, group in groupby(judged, key=lambda each: each.folder):
        clips = list(group)
        passed = [each for each in clips if each.voiced_s]
        voices = [each.voice for each in passed]
        rows.append(
            (
                folder,
                str(len(clips)),
                str(sum(each.is_speech for each in clips)),
                str(len(passed)),
                str(sum(each.spoken for each in clips)),
                str(sum(bool(each.in_daemon) for each in clips)),
                number(min(voices, default=None), 2),
                number(float(np.median(voices)) if voices else None, 2),
                number(max((each.words_per_s for each in passed), default=None), 1),
            )
        )
    return Table(
        title="What is taken for speech",
        columns=(
            "folder",
            "clips",
            "speech",
            "passed",
            "text",
            "daemon",
            "least voice",
            "median",
            "words/s",
        ),
        rows=tuple(rows),
        note="Passed: clips that the speech gate passed something on of. Daemon: clips without "
        "speech for which a session would publish text. Voice: mean probability of a clip's "
        "voice. Words/s: the most, to the second of voice.",
    )


def mistakes(judged: Sequence[Judged]) -> Table:
    """One row for each clip whose text, or lack of one, contradicts its manifest."""
    rows = tuple(
        (
            each.clip,
            each.text or NO_TEXT,
            "spoken" if each.spoken else "not spoken",
            number(each.voiced_s, 2),
            number(each.voice, 2),
            number(each.confidence, 2),
            number(each.no_speech_prob, 2),
        )
        for each in judged
        if each.is_wrong
    )
    return Table(
        title="Against the manifest",
        columns=("clip", "read", "judged", "voice, s", "voice", "confidence", "no speech"),
        rows=rows,
        n_labels=3,
    )


def main(arguments: Sequence[str]) -> int:
    """Judge the clips of some folders; writes evidence.json and evidence.md."""
    parser = argparse.ArgumentParser(prog="scripts/bench evidence", description=__doc__)
    add_clip_arguments(parser)
    args = parser.parse_args(arguments)
    judge = Judge(load_model(model_folder(args.model)))
    clips = chosen_clips(args, multilingual=False)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        judged = [judge.judge(clip) for clip in progress.track(clips, description="judging")]
    tables = (summary(judged), mistakes(judged))
    args.out.mkdir(parents=True, exist_ok=True)
    document = [asdict(each) for each in judged]
    (args.out / "evidence.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / "evidence.md").write_text("\n".join(each.as_markdown() for each in tables))
    for each in tables:
        wide_console().print(each.for_terminal())
    return 0
