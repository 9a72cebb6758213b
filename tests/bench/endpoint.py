"""When to end a command: the wait after its end against commands cut in a pause.

    scripts/bench endpoint FOLDER... [--pauses 300,450,600,800]

Plain silence of several lengths is set beside the daemon's rule, with the daemon's own
endpointer, voice detector and recogniser. Each clip is heard twice: as it was recorded, with
the pauses that its speaker made, and with a pause put in between two words in its middle. Knows
nothing of how an endpoint is decided.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from bench.arguments import add_clip_arguments, chosen_clips, model_folder, numbers
from bench.tables import Table, number, percent, wide_console
from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint import Endpointer, Signal, is_complete
from voice_daemon.events import ms_to_samples, samples_to_ms
from voice_daemon.pipeline import PipelineOptions
from voice_daemon.vad import SileroVad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from voice_daemon.events import Transcript

TAIL_MS: Final = 2000
LEAD_FRAMES: Final = 16
"""Frames of silence for the voice detector before a clip."""
NEAR_MS: Final = 100
"""The pause is put where it is quietest within so much of the end of a word."""
FOLLOWED_MS: Final = 50
"""Voice for so long after a pause: it was survived."""
PLAIN_MS: Final = (400, 500, 600, 700, 1000)
OURS: Final = PipelineOptions()
VARIED: Final = (
    *(replace(OURS, complete_share=share) for share in (0.5, 0.6, 0.8)),
    *(replace(OURS, least_complete=least) for least in (0.4, 0.5, 0.7, 0.8)),
)


@dataclass(slots=True)
class Heard:
    """A recording as the endpointer meets it; what was read of it is kept."""

    samples: NDArray[np.int16]
    """(n,) with silence behind."""
    probabilities: tuple[float, ...]
    """One a frame, the frames of silence before the clip among them."""
    frame_samples: int
    readings: dict[int, Transcript] = field(default_factory=dict)
    """By the sample up to which was read."""

    @property
    def before(self) -> int:
        """Samples of silence before the clip."""
        return LEAD_FRAMES * self.frame_samples


@dataclass(frozen=True, slots=True)
class Result:
    """What a rule did to all clips."""

    rule: str
    clips: int
    cut: int
    """Clips that ended before their speaker had, in a pause of the speaker's own."""
    cut_in_pause: dict[str, float]
    """Percent of clips, by the milliseconds of the pause that was put in."""
    mean_wait_ms: float
    p95_wait_ms: float


class Ear:
    """Voice detector and recogniser of the daemon."""

    def __init__(self, transcriber: WhisperTranscriber) -> None:
        self._transcriber = transcriber
        self._vad = SileroVad()

    def hear(self, samples: NDArray[np.int16]) -> Heard:
        """Find the voice in a clip and the silence around it."""
        self._vad.reset()
        before = np.zeros(LEAD_FRAMES * self._vad.frame_samples, np.int16)
        samples = np.concatenate((samples, _room(samples, TAIL_MS)))
        probabilities = self._vad.feed(np.concatenate((before, samples)))
        return Heard(samples, tuple(probabilities), self._vad.frame_samples)

    def read(self, heard: Heard, speech_from: int, end: int) -> Transcript:
        """Read a clip up to a sample, from the start of speech and its lead."""
        if end not in heard.readings:
            first = max(0, speech_from - ms_to_samples(OURS.speech_lead_ms))
            self._transcriber.reset()
            self._transcriber.start(wake_phrase=None)
            self._transcriber.feed(heard.samples[first:end])
            heard.readings[end] = self._transcriber.finish()
        return heard.readings[end]

    def end_of(self, heard: Heard, options: PipelineOptions, *, until: int) -> tuple[int, int]:
        """Return where a session would end, and the end of its voice; both at most `until`."""
        endpointer = Endpointer(
            options.endpoint(),
            frame_samples=heard.frame_samples,
            heard_from=-heard.before,
            opened_at=0,
            after_wake=False,
        )
        speech_from = 0
        for probability in heard.probabilities:
            signal = endpointer.feed(probability)
            voice = endpointer.voice
            if signal is Signal.STARTED:
                speech_from = endpointer.speech_from
            elif signal is Signal.SUSPECTED and options.complete_share < 1:
                transcript = self.read(heard, speech_from, voice.now)
                if is_complete(transcript, least=options.least_complete):
                    endpointer.expect_nothing_more()
            elif signal is Signal.ENDED:
                return voice.now, voice.last
            if voice.last >= until:
                break
        return endpointer.voice.now, endpointer.voice.last


def pause_at(transcript: Transcript, samples: NDArray[np.int16]) -> int | None:
    """Find the quietest end of a word in the middle, in samples; None for too few words."""
    energy = np.convolve(samples.astype(np.float64) ** 2, np.ones(320) / 320, "same")
    near = ms_to_samples(NEAR_MS)
    places = []
    for word in transcript.words[1:-1]:
        end = ms_to_samples(1000 * word.end_s)
        first = max(0, end - near)
        window = energy[first : end + near]
        if window.size:
            places.append((float(window.min()), first + int(window.argmin())))
    return min(places)[1] if places else None


def _room(samples: NDArray[np.int16], ms: float) -> NDArray[np.int16]:
    """Noise as quiet as the quietest twentieth of a clip: (n,) int16."""
    blocks = samples[: len(samples) // 320 * 320].reshape(-1, 320).astype(np.float64)
    level = max(1.0, float(np.quantile(blocks.std(axis=1), 0.05)))
    noise = np.random.default_rng(0).normal(0, level, ms_to_samples(ms))
    return noise.round().astype(np.int16)


class Comparison:
    """Clips heard once, to be judged by many rules."""

    def __init__(self, ear: Ear, pauses_ms: Sequence[float]) -> None:
        self._ear = ear
        self._pauses_ms = pauses_ms
        self._natural: list[tuple[Heard, int]] = []
        self._paused: dict[float, list[tuple[Heard, int]]] = {ms: [] for ms in pauses_ms}

    def add(self, samples: NDArray[np.int16]) -> None:
        """Hear a clip, as it is and with each pause; without voice it is left out."""
        heard = self._ear.hear(samples)
        never = replace(OURS, silence_ms=10**9, max_s=10**6, complete_share=1)
        _, voice_end = self._ear.end_of(heard, never, until=len(heard.samples) + 1)
        if voice_end <= 0:
            return
        self._natural.append((heard, voice_end))
        whole = self._ear.read(heard, ms_to_samples(OURS.speech_lead_ms), voice_end)
        at = pause_at(whole, samples)
        for ms in self._pauses_ms if at is not None else ():
            parts = (samples[:at], _room(samples, ms), samples[at:])
            resumed = (at or 0) + ms_to_samples(ms + FOLLOWED_MS)
            paused = self._ear.hear(np.concatenate(parts))
            self._paused[ms].append((paused, resumed))

    def judge(self, rule: str, options: PipelineOptions) -> Result:
        """Let one rule end all clips."""
        options = replace(options, max_s=10**6)
        waits, cut = [], 0
        for heard, voice_end in self._natural:
            end, last = self._ear.end_of(heard, options, until=len(heard.samples) + 1)
            if last < voice_end:
                cut += 1
            else:
                waits.append(samples_to_ms(end - last))
        return Result(
            rule=rule,
            clips=len(self._natural),
            cut=cut,
            cut_in_pause={
                f"{ms:g}": 100 * float(np.mean([self._is_cut(*clip, options) for clip in clips]))
                for ms, clips in self._paused.items()
                if clips
            },
            mean_wait_ms=float(np.mean(waits)),
            p95_wait_ms=float(np.percentile(waits, 95)),
        )

    def _is_cut(self, heard: Heard, resumed: int, options: PipelineOptions) -> bool:
        return self._ear.end_of(heard, options, until=resumed)[1] < resumed


def rules() -> dict[str, PipelineOptions]:
    """The rules to compare, by what they are called in the table."""
    plain = {
        f"silence of {ms} ms": replace(OURS, silence_ms=ms, complete_share=1) for ms in PLAIN_MS
    }
    varied = {
        f"at most {o.silence_ms:g} ms, {o.silence_ms * o.complete_share:g} ms "
        f"after a sentence ({o.least_complete:g})": o
        for o in (OURS, *VARIED)
    }
    return plain | varied


def table(results: Sequence[Result]) -> Table:
    """One row a rule."""
    pauses = tuple(results[0].cut_in_pause)
    rows = tuple(
        (
            result.rule,
            f"{result.cut} of {result.clips}",
            *(percent(result.cut_in_pause[ms]) for ms in pauses),
            number(result.mean_wait_ms, 0),
            number(result.p95_wait_ms, 0),
        )
        for result in results
    )
    return Table(
        title="Commands cut off, and the wait after the others",
        columns=(
            "rule",
            "own pauses",
            *(f"{ms} ms" for ms in pauses),
            "mean wait, ms",
            "p95",
        ),
        rows=rows,
        note="Own pauses: clips cut in a pause of their speaker's. "
        "Then: clips cut in a pause of so many ms, put in between two words.",
    )


def main(arguments: Sequence[str]) -> int:
    """Compare the rules on the clips of some folders; writes endpoint.json and endpoint.md."""
    parser = argparse.ArgumentParser(prog="scripts/bench endpoint", description=__doc__)
    add_clip_arguments(parser)
    parser.add_argument("--pauses", default="300,450,600,800", metavar="MS,MS")
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
    found = table(results)
    args.out.mkdir(parents=True, exist_ok=True)
    document = [asdict(result) for result in results]
    (args.out / "endpoint.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / "endpoint.md").write_text(found.as_markdown())
    wide_console().print(found.for_terminal())
    return 0
