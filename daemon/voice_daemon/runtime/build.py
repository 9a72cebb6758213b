"""Builds the models and the pipeline around them from the configuration.

The only place that knows the concrete wake detector, voice detector and recogniser. To be
called on the thread that will use them: MLX streams belong to the thread that made them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from voice_daemon.asr import DecodingOptions, StreamingConfig, StreamingDecoder, WhisperTranscriber
from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.incremental_encoder import encoding_silence
from voice_daemon.asr.load import free_unused_memory, loading_model
from voice_daemon.config import AsrSettings, Settings, VocabularySettings
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import Problem
from voice_daemon.models import resolve
from voice_daemon.runtime.worker import Engine
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions
from voice_daemon.session.recorder import SessionRecorder, prune
from voice_daemon.session.transcription import TranscriptionService
from voice_daemon.vocabulary.acceptance import AcceptanceRule
from voice_daemon.wake.detector import SelfTest as WakeSelfTest
from voice_daemon.wake.detector import WakeDetector


def streaming_config(settings: AsrSettings) -> StreamingConfig:
    """Return how to stream for a caller that paces the steps itself, as `Pace` does.

    The first ones come sooner, and all fall on whole blocks of audio: a quarter of `step_s` is
    the least that the decoder insists on.
    """
    return StreamingConfig(
        frame_threshold=settings.frame_threshold,
        min_chunk_duration=settings.step_s / 4,
        emit_partial=settings.partials,
        language=settings.language,
        task=settings.task,
        prompt=settings.prompt,
        no_speech_threshold=settings.no_speech_threshold,
    )


def decoding_options(settings: AsrSettings) -> DecodingOptions:
    """Return how to decode whole recordings offline."""
    language = None if settings.language == "auto" else settings.language
    return DecodingOptions(task=settings.task, language=language, prompt=settings.prompt)


def acceptance_rule(settings: VocabularySettings) -> AcceptanceRule:
    """Return when a sentence of the home is taken for what was heard."""
    return AcceptanceRule(margin=settings.margin, protected=frozenset(settings.protected))


log = structlog.get_logger()

READ_AHEAD_BYTES: Final = 16_000_000


def pipeline_options(settings: Settings) -> PipelineOptions:
    """Give the pipeline's share of the settings."""
    return PipelineOptions(
        preroll_ms=settings.audio.preroll_ms,
        queue_max_ms=settings.audio.queue_max_ms,
        silence_ms=settings.session.silence_ms,
        no_speech_timeout_s=settings.session.no_speech_timeout_s,
        max_s=settings.session.max_s,
        speech_start_ms=settings.session.speech_start_ms,
        step_s=settings.asr.step_s,
        partials=settings.asr.partials,
        no_speech_threshold=settings.asr.no_speech_threshold,
        arbitration_ms=settings.arbitration.window_ms if settings.arbitration.enabled else 0,
    )


def build_engine(
    settings: Settings,
    *,
    models_dir: Path,
    now_sample: Callable[[], int],
    audio_dir: Path | None = None,
) -> Engine:
    """Load, test and warm everything; raises `ModelError` when a model cannot be used.

    `now_sample`: the sample that the input would be delivering right now. `audio_dir`: where
    the sound of sessions may be kept, if the settings say so.
    """
    wake = WakeDetector.from_settings(settings.wake)
    self_test = wake.self_test()
    log.info("wake.self_test", passed=self_test.passed, score=round(self_test.score, 3))
    transcriber = load_transcriber(settings.asr, models_dir)
    stopwatch = TimedTranscriber(transcriber)
    pipeline = Pipeline(
        wake=wake,
        vad=SileroVad(),
        transcriber=stopwatch,
        options=pipeline_options(settings),
        now_sample=now_sample,
        new_session_id=lambda: uuid.uuid4().hex[:12],
    )
    problem = None if self_test.passed else _wake_problem(self_test)
    transcriptions = transcription_service(transcriber, settings)
    return Engine(
        pipeline,
        stopwatch,
        problem,
        wake_scores=lambda: wake.last_scores,
        transcriptions=transcriptions,
        tuner=_Tuner(wake, pipeline, stopwatch, transcriptions, models_dir),
        keeper=_keeper(audio_dir, wanted=settings.privacy.save_audio),
    )


def _keeper(folder: Path | None, *, wanted: bool) -> SessionRecorder | None:
    """Give what keeps the sound of sessions; what was kept before gets old all the same."""
    if folder is None:
        return None
    with suppress(OSError):
        prune(folder, now_s=time.time())
    if not wanted:
        return None
    log.warning("audio.kept", folder=str(folder), remedy="privacy.save_audio = false ends it")
    return SessionRecorder(folder)


@dataclass(frozen=True, slots=True)
class _Tuner:
    """Changes what `build_engine` built, on the thread that runs it."""

    wake: WakeDetector
    pipeline: Pipeline
    stopwatch: TimedTranscriber
    transcriptions: TranscriptionService
    models_dir: Path

    def tune(self, settings: Settings) -> None:
        """Take over the numbers that govern sessions and the wake word's gate."""
        options = pipeline_options(settings)
        self.pipeline.set_options(options)
        self.wake.tune(settings.wake)
        self.transcriptions.options = options

    def switching(self, settings: Settings) -> Steps[None]:
        """Load another recogniser, warm it and put it in the old one's place."""
        transcriber = yield from loading_transcriber(settings.asr, self.models_dir)
        self.stopwatch.use(transcriber)
        another = transcription_service(transcriber, settings)
        self.transcriptions.model = another.model
        self.transcriptions.languages = another.languages
        self.transcriptions.streams = another.streams
        self.transcriptions.step_s = another.step_s
        self.transcriptions.options = another.options
        self.transcriptions.new_transcriber = another.new_transcriber
        free_unused_memory()


def transcription_service(
    transcriber: WhisperTranscriber, settings: Settings
) -> TranscriptionService:
    """Offer a recogniser to others: on its weights, and by the same rules."""
    return TranscriptionService(
        model=settings.asr.model,
        languages=transcriber.languages,
        streams=settings.asr.partials,
        step_s=settings.asr.step_s,
        options=pipeline_options(settings),
        new_transcriber=lambda language: transcriber.another(language=language),
        new_vad=SileroVad,
    )


def load_transcriber(settings: AsrSettings, models_dir: Path) -> WhisperTranscriber:
    """Load the recogniser and run it once; raises `ModelError`."""
    return at_once(loading_transcriber(settings, models_dir))


def loading_transcriber(settings: AsrSettings, models_dir: Path) -> Steps[WhisperTranscriber]:
    """Do as `load_transcriber` does, in steps."""
    started_s = time.monotonic()
    folder = resolve(settings.model, models_dir=models_dir)
    for _ in _reading_ahead(folder):
        yield
    model = yield from loading_model(folder, settings.dtype)
    loaded_s = time.monotonic()
    yield
    config = streaming_config(settings)
    silence = yield from encoding_silence(model)
    transcriber = WhisperTranscriber(
        model, config, decoder=StreamingDecoder(model, config, silence=silence)
    )
    yield from transcriber.warming_up()
    log.info(
        "asr.ready",
        model=settings.model,
        alignment_heads=model.alignment_heads_from,
        load_ms=round((loaded_s - started_s) * 1000),
        warm_up_ms=round((time.monotonic() - loaded_s) * 1000),
    )
    if model.alignment_heads_from == "guess":
        # Neither the model's own files nor the published table say which heads follow the audio.
        log.warning("asr.alignment_guessed", model=settings.model)
    return transcriber


def _reading_ahead(folder: Path) -> Iterator[None]:
    """Read the files once, piece by piece: the system then has them at hand for the loader.

    The loader reads a file as a whole, and a slow disk would keep this thread from listening.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        if not file.is_file():
            continue
        with suppress(OSError), file.open("rb", buffering=0) as content:  # the loader will say why
            while content.read(READ_AHEAD_BYTES):
                yield


def _wake_problem(failed: WakeSelfTest) -> Problem:
    return Problem(
        "wake",
        f"the wake word scores {failed.score:.2f} on a recording of it, so it would not be heard",
        failed.remedy,
    )
