"""When to end a command: the wait after its end against commands cut in a pause.

    scripts/bench endpoint FOLDER... [--pauses 300,400,500,600,700,800,900]

Plain silence of several lengths is set beside the daemon's rule, with the daemon's own
endpointer, voice detector and recogniser. Each clip is heard as it was recorded, with the pauses
that its speaker made, and with a pause of each length put in between two words in its middle.
Knows nothing of how an endpoint is decided.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from tools.bench.arguments import add_clip_arguments, chosen_clips, model_folder, numbers
from tools.bench.pauses import (
    NEVER,
    OURS,
    Ear,
    Heard,
    is_plain,
    pause_at,
    plain_silence,
    with_pause,
)
from tools.bench.tables import Table, number, percent, wide_console
from tools.bench.text import words_of
from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.endpointer import ending_of
from voice_daemon.events import Ending, Transcript, ms_to_samples, samples_to_ms
from voice_daemon.session.pipeline import PipelineOptions

FOLLOWED_MS: Final = 50
"""Voice for so long after a pause: it was survived."""
PLAIN_MS: Final = tuple(range(400, 1000, 50))
SHARES: Final = (0.6, 0.75, 0.9)
PATIENCES: Final = (1, 1.15, 1.3)
LEAST: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
CLOSED: Final = (0.85, 0.9, 0.95, 2)
"""From 2 on no sentence is closed."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One clip: as it was recorded, and with a pause of each length."""

    natural: Heard
    voice_end: int
    words: tuple[str, ...]
    """What is read of all of it."""
    paused: Mapping[float, Heard]
    """By the milliseconds put in; empty where no two words could be parted."""
    at: int = 0
    """Where the pauses are."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a rule did to all clips."""

    rule: str
    is_plain: bool
    clips: int
    cut: int
    """Clips that lost words in a pause of their speaker's own."""
    cut_in_pause: dict[str, float]
    """Percent of clips, by the milliseconds of the pause that was put in."""
    mean_wait_ms: float
    p95_wait_ms: float

    @property
    def mean_cut(self) -> float:
        """Over all lengths of pauses."""
        return float(np.mean(list(self.cut_in_pause.values())))


class Comparison:
    """Clips heard once, to be judged by many rules."""

    def __init__(self, ear: Ear, pauses_ms: Sequence[float]) -> None:
        self._ear = ear
        self._pauses_ms = pauses_ms
        self.clips: list[Spoken] = []

    def add(self, samples: NDArray[np.int16]) -> None:
        """Hear a clip, as it is and with each pause; without words it is left out."""
        heard = self._ear.hear(samples)
        whole = self._ear.end_of(heard, NEVER)
        if whole.transcript is None or not whole.transcript.words:
            return
        first = self._ear.read(heard, ms_to_samples(OURS.speech_lead_ms), whole.voice_end)
        at = pause_at(first, samples)
        paused: dict[float, Heard] = {}
        longer = heard
        for ms in sorted(self._pauses_ms, reverse=True) if at is not None else ():
            paused[ms] = longer = with_pause(longer, samples, at or 0, ms, ear=self._ear)
            self._read_in_pause(longer, ms)
        words = words_of(whole.transcript.text)
        self.clips.append(Spoken(heard, whole.voice_end, words, paused, at or 0))

    def judge(self, rule: str, options: PipelineOptions) -> Result:
        """Let one rule end all clips."""
        options = replace(options, max_s=10**6)
        ends = [(clip, self._ear.end_of(clip.natural, options)) for clip in self.clips]
        waits = [
            samples_to_ms(end.at - end.voice_end)
            for clip, end in ends
            if end.voice_end >= clip.voice_end
        ]
        cut = [
            clip
            for clip, end in ends
            if end.transcript is None or words_of(end.transcript.text) != clip.words
        ]
        return Result(
            rule=rule,
            is_plain=is_plain(options),
            clips=len(self.clips),
            cut=len(cut),
            cut_in_pause={
                f"{ms:g}": 100 * float(np.mean([self._is_cut(clip, ms, options) for clip in clips]))
                for ms in self._pauses_ms
                if (clips := [clip for clip in self.clips if ms in clip.paused])
            },
            mean_wait_ms=float(np.mean(waits)),
            p95_wait_ms=float(np.percentile(waits, 95)),
        )

    def _is_cut(self, clip: Spoken, ms: float, options: PipelineOptions) -> bool:
        resumed = clip.at + ms_to_samples(ms + FOLLOWED_MS)
        return self._ear.end_of(clip.paused[ms], options, until=resumed).voice_end < resumed

    def _read_in_pause(self, heard: Heard, ms: float) -> Transcript | None:
        stopped = replace(NEVER, silence_ms=0.6 * ms)
        return self._ear.end_of(heard, stopped).transcript

    def taken_for_whole(self, clips: Sequence[Spoken], *, least: float) -> tuple[float, float]:
        """Return the percent of readings that count as whole sentences: at ends, in pauses."""
        at_ends, in_pauses = [], []
        longest = max(self._pauses_ms)
        for clip in clips:
            whole = self._ear.end_of(clip.natural, NEVER).transcript
            at_ends.append(is_whole(whole, least=least))
            if longest in clip.paused:
                half = self._read_in_pause(clip.paused[longest], longest)
                in_pauses.append(is_whole(half, least=least))
        return 100 * float(np.mean(at_ends)), 100 * float(np.mean(in_pauses))


def is_whole(transcript: Transcript | None, *, least: float) -> bool:
    """True where a reading counts as a whole sentence."""
    if transcript is None:
        return False
    return ending_of(transcript, whole=least, closed=least) is not Ending.OPEN


def rules() -> dict[str, PipelineOptions]:
    """The rules to compare, by what they are called in the table."""
    plain = {f"{ms} ms of silence": plain_silence(ms) for ms in PLAIN_MS}
    ours = dict.fromkeys(
        (
            *(replace(OURS, complete_share=share) for share in SHARES),
            *(replace(OURS, patience_share=share) for share in PATIENCES),
            *(replace(OURS, least_complete=least) for least in LEAST if least < OURS.least_closed),
            *(replace(OURS, least_closed=least) for least in CLOSED),
            replace(OURS, least_complete=0.7, least_closed=2),
        )
    )
    return plain | {name_of(o): o for o in ours}


def name_of(rule: PipelineOptions) -> str:
    """What a rule is called in table and picture."""
    ms = [rule.silence_ms * x for x in (rule.closed_share, rule.complete_share)]
    closed = f"{ms[0]:.0f} ms ({rule.least_closed:g}), " if rule.least_closed <= 1 else ""
    sentence = f"{ms[1]:.0f} ms after a sentence ({rule.least_complete:g})"
    return f"{closed}{sentence}, else {rule.silence_ms * rule.patience_share:.0f}"


def as_often(result: Result, results: Sequence[Result]) -> float | None:
    """Return the plain silence that cuts as many put-in pauses, by its mean wait."""
    plain = sorted((r.mean_cut, r.mean_wait_ms) for r in results if r.is_plain)
    cuts, waits = zip(*plain, strict=True)
    inside = cuts[0] <= result.mean_cut <= cuts[-1]
    return float(np.interp(result.mean_cut, cuts, waits)) if inside else None


def table(results: Sequence[Result]) -> Table:
    """One row a rule."""
    pauses = tuple(results[0].cut_in_pause)
    rows = tuple(
        (
            result.rule,
            number(result.mean_wait_ms, 0),
            number(result.p95_wait_ms, 0),
            f"{result.cut} of {result.clips}",
            *(percent(result.cut_in_pause[ms]) for ms in pauses),
            number(as_often(result, results), 0),
        )
        for result in results
    )
    return Table(
        title="Commands cut off, and the wait after the others",
        columns=(
            "rule",
            "mean wait, ms",
            "p95",
            "own pauses",
            *(f"{ms} ms" for ms in pauses),
            "as often by silence, ms",
        ),
        rows=rows,
        note="Own pauses: clips that lost words in a pause of their speaker's. Then: clips cut in "
        "a pause of so many ms, put in between two words; and the mean wait for plain silence "
        "that cuts as many of these.",
    )


def halves_table(comparison: Comparison) -> Table:
    """What counts as a whole sentence, on either half of the clips: is the threshold a fit?"""
    halves = comparison.clips[::2], comparison.clips[1::2]
    rows = []
    for least in LEAST:
        found = [comparison.taken_for_whole(half, least=least) for half in halves]
        cells = (percent(value) for pair in zip(*found, strict=True) for value in pair)
        rows.append((f"{least:g}{' (default)' * (least == OURS.least_complete)}", *cells))
    return Table(
        title="Readings taken for a whole sentence",
        columns=("at least", "at the end", "other half", "in a pause", "other half "),
        rows=tuple(rows),
        note="Halves: every other clip.",
    )


def main(arguments: Sequence[str]) -> int:
    """Compare the rules on the clips of some folders; writes endpoint.json, .md and .png."""
    from tools.bench import pictures  # noqa: PLC0415 - matplotlib is slow to load

    parser = argparse.ArgumentParser(prog="scripts/bench endpoint", description=__doc__)
    add_clip_arguments(parser)
    parser.add_argument("--pauses", default="300,400,500,600,700,800,900", metavar="MS,MS")
    args = parser.parse_args(arguments)
    transcriber = WhisperTranscriber(load_model(model_folder(args.model)))
    clips = [clip for clip in chosen_clips(args, multilingual=False) if clip.is_speech]
    comparison = Comparison(Ear(transcriber), numbers(args.pauses))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for clip in progress.track(clips, description="listening"):
            comparison.add(to_int16(clip.samples()))
        results = [
            comparison.judge(name, options)
            for name, options in progress.track(rules().items(), description="judging")
        ]
        tables = (table(results), halves_table(comparison))
    args.out.mkdir(parents=True, exist_ok=True)
    document = [asdict(result) for result in results]
    (args.out / "endpoint.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / "endpoint.md").write_text("\n".join(each.as_markdown() for each in tables))
    pictures.endpoint_rules(results, args.out / "endpoint.png")
    for each in tables:
        wide_console().print(each.for_terminal())
    return 0
