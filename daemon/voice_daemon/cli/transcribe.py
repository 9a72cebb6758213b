"""`daemonctl transcribe`: sound files through the recogniser alone, streamed or in one decode.

The recogniser is the daemon's own; there is no wake word and no session.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voice_daemon._lib.terminal import print_error, printable
from voice_daemon.asr import (
    DecodingResult,
    StreamingDecoder,
    WhisperModel,
    WhisperTranscriber,
    load_model,
)
from voice_daemon.asr.cooperative import at_once
from voice_daemon.asr.offline import decode_windows
from voice_daemon.asr.types import text_of, word_times
from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.cli.context import Context
from voice_daemon.config import STEP_S_MAX, STEP_S_MIN, AsrSettings, Settings, VocabularySettings
from voice_daemon.endpoint.hallucination import is_hallucination
from voice_daemon.endpoint.segmenter import in_recording
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import EXIT_FAILED, AudioFileError, UsageError
from voice_daemon.events import SAMPLE_RATE, Word
from voice_daemon.models import resolve
from voice_daemon.runtime.build import (
    decoding_options,
    pipeline_options,
    streaming_config,
)
from voice_daemon.runtime.vocabulary_keeper import acceptance_rule
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.transcription import Transcription
from voice_daemon.vocabulary.acceptance import Decision, explained, explanation
from voice_daemon.vocabulary.correction import Corrector, building_vocabulary
from voice_daemon.vocabulary.document import Document
from voice_daemon.vocabulary.store import known_document, read_file

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output: after a step, or for the whole file."""

    event: str
    """`partial` or `final`."""
    audio_s: float
    """Audio heard when the step ran."""
    compute_s: float
    """Wall time computed since the line before."""
    text: str
    more: Mapping[str, object] = field(default_factory=dict)
    verdict: Decision | None = None
    """The verdict of the home's vocabulary on a final."""

    def document(self, file: Path, *, why: bool = False) -> dict[str, object]:
        """Give the fields in the order in which they are printed."""
        told: dict[str, object] = {}
        if self.verdict is not None:
            told = {"in_vocabulary": self.verdict.in_vocabulary}
            if self.verdict.heard != self.text and self.text:
                told = {"heard": self.verdict.heard, **told}
            if why:
                told["why"] = explained(self.verdict)
        return {
            "event": self.event,
            "file": str(file),
            "audio_s": round(self.audio_s, 3),
            "compute_s": round(self.compute_s, 4),
            "text": self.text,
            **self.more,
            **told,
        }


class Streaming:
    """Feeds a file as a microphone would deliver it, in steps while somebody speaks."""

    def __init__(
        self,
        model: WhisperModel,
        settings: AsrSettings,
        options: PipelineOptions,
        *,
        vocabulary: VocabularySettings | None = None,
        document: Document | None = None,
    ) -> None:
        self._options = options
        self._language = "" if settings.language == "auto" else settings.language
        config = streaming_config(settings)
        decoder = StreamingDecoder(model, config)
        self._corrector: Corrector | None = None
        if vocabulary is not None and document is not None:
            rule = acceptance_rule(vocabulary)
            self._corrector = Corrector(model, logprobs=decoder.logprobs, rule=rule)
            self._corrector.home = at_once(
                building_vocabulary(
                    document,
                    model.tokenizer.encode,
                    language=self._language or "en",
                    sentences=vocabulary.sentences,
                )
            )
        self._transcriber = WhisperTranscriber(
            model, config, decoder=decoder, corrector=self._corrector
        )

    def warm_up(self) -> None:
        """Run every path once."""
        self._transcriber.warm_up()

    def lines(self, samples: Samples) -> Iterator[Line]:
        """Give a line for every step that has text, then the final."""
        watch = _Stopwatch()
        pcm = to_int16(samples)
        with watch:
            transcription = Transcription(self._transcriber, SileroVad(), self._options)
        for first in range(0, len(pcm), BLOCK_SAMPLES):
            block = pcm[first : first + BLOCK_SAMPLES]
            with watch:
                transcription.feed(block)
                partial = transcription.step_when_due()
            if partial is not None:
                heard_s = (first + len(block)) / SAMPLE_RATE
                draft = {"draft": partial.draft}
                yield Line("partial", heard_s, watch.take_s(), partial.text, draft)
        with watch:
            final = transcription.finish()
        language = final.language or self._language
        more = _final_fields(final.words, language, revised=final.revised)
        verdict = self._corrector.newest if self._corrector and final.text else None
        audio_s = len(samples) / SAMPLE_RATE
        yield Line("final", audio_s, watch.take_s(), final.text, more, verdict)


class Offline:
    """Decodes all that is spoken in one go, window by window: what streaming is compared with."""

    def __init__(
        self, model: WhisperModel, settings: AsrSettings, options: PipelineOptions
    ) -> None:
        self._model = model
        self._thresholds = options.hallucination_thresholds()
        self._segmenter = options.segmenter(SileroVad())
        self._options = decoding_options(settings)

    def warm_up(self) -> None:
        """Decode once."""
        for _ in decode_windows(self._model, _tone(), self._options):
            pass

    def lines(self, samples: Samples) -> Iterator[Line]:
        """Give the final alone."""
        watch = _Stopwatch()
        with watch:
            self._segmenter.reset()
            self._segmenter.feed(to_int16(samples))
            self._segmenter.finish()
            spoken = [samples[span.first : span.end] for span in self._segmenter.segments]
            windows = []
            if spoken:
                audio = np.concatenate(spoken)
                windows = list(decode_windows(self._model, audio, self._options))
        kept = [word for _, words in windows for word in words]
        if is_hallucination(
            text_of(kept),
            _Offhand.of([result for result, _ in windows]),
            stats=self._segmenter.vad_stats,
            thresholds=self._thresholds,
        ):
            kept = []
        words = in_recording(word_times(kept), self._segmenter.segments)
        language = windows[0][0].language if windows else self._options.language or ""
        more = _final_fields(words, language, revised=False)
        yield Line("final", len(samples) / SAMPLE_RATE, watch.take_s(), text_of(kept), more)


@dataclass(frozen=True, slots=True)
class _Offhand:
    """Statistics of all offline windows together."""

    confidence: float
    no_speech_prob: float
    ended: bool = True

    @classmethod
    def of(cls, results: list[DecodingResult]) -> _Offhand:
        """Speech in one window is speech."""
        return cls(
            confidence=max((float(np.exp(r.avg_logprob)) for r in results), default=0.0),
            no_speech_prob=min((r.no_speech_prob for r in results), default=1.0),
        )


class _Stopwatch:
    """Adds up what was computed since the last line; a step without a line counts for the next."""

    def __init__(self) -> None:
        self._started_s = self._total_s = 0.0

    def __enter__(self) -> None:
        self._started_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._total_s += time.perf_counter() - self._started_s

    def take_s(self) -> float:
        taken_s, self._total_s = self._total_s, 0.0
        return taken_s


def _final_fields(words: Iterable[Word], language: str, *, revised: bool) -> dict[str, object]:
    rounded = (Word(w.text, round(w.start_s, 3), round(w.end_s, 3)) for w in words)
    return {"words": [asdict(w) for w in rounded], "language": language, "revised": revised}


def _tone() -> Samples:
    """Two seconds that take the recogniser through all of its work: (32000,) float32."""
    tone: Samples = 0.1 * np.sin(np.arange(2 * SAMPLE_RATE, dtype=np.float32) * 0.05)
    return tone


STANDARD_INPUT = Path("/dev/stdin")
MODEL_VARIABLE = "VOICE_DAEMON_ASR__MODEL"


def run(args: argparse.Namespace, context: Context) -> int:
    """Recognise each file; one that cannot be read is told, and the others are still done."""
    settings = _settings(context, model=args.model, step_s=args.step_s)
    recogniser: Streaming | Offline | None = None
    code = 0
    for file in args.files:
        try:
            samples = load_audio(STANDARD_INPUT if str(file) == "-" else file)
        except AudioFileError as error:
            print_error(error, context.err)
            code = EXIT_FAILED
            continue
        if recogniser is None:
            document = None if args.no_vocabulary else _document(args.vocabulary, settings, context)
            recogniser = _load(settings, context, offline=args.offline, document=document)
        for line in recogniser.lines(samples):
            if args.json:
                context.print_json(line.document(file, why=args.why))
            elif line.event == "final":
                which = f"{printable(str(file))}: " if args.files[1:] else ""
                context.out.write(f"{which}{line.text}\n")
                if args.why and line.text:
                    unused = [_unused(document, offline=args.offline)]
                    told = explanation(line.verdict) if line.verdict else unused
                    context.out.writelines(f"  {why}\n" for why in told)
                context.out.flush()
    return code


def _unused(document: Document | None, *, offline: bool) -> str:
    """The reason for which no names were looked for."""
    if offline:
        return "no names were looked for: --offline reads without them"
    if document is None:
        return "no names were looked for: none are known; name a document with --vocabulary FILE"
    return f"no names were looked for: they are for another language ({document.language})"


def _document(file: Path | None, settings: Settings, context: Context) -> Document | None:
    """The names of the home: a file's, or those that the daemon has."""
    if file is not None:
        return read_file(file)
    wanted = settings.vocabulary
    if not wanted.enabled:
        return None
    known = known_document(context.paths().vocabulary_file, wanted.file)
    return known.document if known else None


def _settings(context: Context, *, model: str | None, step_s: float | None) -> Settings:
    """Read the configuration with what the command line says in its place, checked alike."""
    if step_s is not None and not STEP_S_MIN <= step_s <= STEP_S_MAX:
        raise UsageError(
            "transcribe.step",
            f"--step-s {step_s:g} is out of bounds",
            remedy=f"give a number from {STEP_S_MIN:g} to {STEP_S_MAX:g} (seconds)",
        )
    if model is not None:
        # Put in before the keys are compared: another model may take another language.
        environ = {**context.environ, MODEL_VARIABLE: model}
        context = replace(context, environ=environ)
    settings = context.settings()
    if step_s is None:
        return settings
    asr = settings.asr.model_copy(update={"step_s": step_s})
    return settings.model_copy(update={"asr": asr})


def _load(
    settings: Settings, context: Context, *, offline: bool, document: Document | None
) -> Streaming | Offline:
    """Load the model and run it once, so that the first file is not the slow one."""
    folder = resolve(settings.asr.model, models_dir=context.paths().models_dir)
    model = load_model(folder, settings.asr.dtype)
    options = pipeline_options(settings)
    recogniser: Streaming | Offline
    if offline:
        recogniser = Offline(model, settings.asr, options)
    else:
        recogniser = Streaming(
            model, settings.asr, options, vocabulary=settings.vocabulary, document=document
        )
    recogniser.warm_up()
    return recogniser
