"""Builds the models and the pipeline around them from the configuration.

To be called on the thread that will use them: MLX streams belong to the thread that made them.
"""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.asr import DecodingOptions, StreamingConfig, StreamingDecoder, WhisperTranscriber
from voice_daemon.asr.load import load_model
from voice_daemon.asr.self_test import SelfTest, self_test
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import AsrSettings, Settings
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import ModelError, Problem, VoiceDaemonError
from voice_daemon.models import resolve
from voice_daemon.runtime.start import NoWakeWord, Part, StartStep, StartSupervisor
from voice_daemon.runtime.vocabulary_keeper import VocabularyAtWork
from voice_daemon.runtime.worker import Engine
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions
from voice_daemon.session.recorder import SessionRecorder, prune
from voice_daemon.session.transcription import TranscriptionService
from voice_daemon.vocabulary.correction import Corrector
from voice_daemon.wake.detector import WakeDetector, WakeSelfTest

log = structlog.get_logger()


def streaming_config(settings: AsrSettings) -> StreamingConfig:
    """Build the streaming options for a caller that paces the steps itself, as `Pace` does.

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
    """Build the options for decoding whole recordings offline."""
    language = None if settings.language == "auto" else settings.language
    return DecodingOptions(task=settings.task, language=language, prompt=settings.prompt)


def pipeline_options(settings: Settings) -> PipelineOptions:
    """Pick the pipeline's share of the settings: the keys that its options are named after."""
    known = {field.name for field in fields(PipelineOptions)}
    sections = (settings.audio, settings.session, settings.asr)
    values = {name: value for section in sections for name, value in section if name in known}
    wait = settings.arbitration
    return PipelineOptions(**values, arbitration_ms=wait.window_ms if wait.enabled else 0)


def build_engine(
    settings: Settings,
    *,
    models_dir: Path,
    now_sample: Callable[[], int],
    start: StartSupervisor | None = None,
    audio_dir: Path | None = None,
) -> Engine:
    """Load, test and warm everything; raises `ModelError` when a model cannot be used.

    `now_sample`: the sample that the input would be delivering right now. `audio_dir`: where
    the sound of sessions may be kept, if the settings say so. `start` is told each step, and
    may leave the wake word out.
    """
    begin = start.begin if start else _unsupervised
    begin(StartStep.WAKE)
    is_deaf = start is not None and start.left_out is Part.WAKE_WORD
    wake, wake_problem = (NoWakeWord(), None) if is_deaf else _build_wake(settings)
    transcriber = load_transcriber(settings.asr, models_dir, begin=begin)
    vocabulary = vocabulary_at_work(transcriber, settings)
    timed = TimedTranscriber(transcriber)
    pipeline = Pipeline(
        wake=wake,
        vad=SileroVad(),
        transcriber=timed,
        options=pipeline_options(settings),
        now_sample=now_sample,
        new_session_id=lambda: uuid.uuid4().hex[:12],
    )
    transcriptions = transcription_service(transcriber, settings)

    def tune(changed: Settings) -> None:
        transcriptions.options = pipeline_options(changed)
        pipeline.set_options(transcriptions.options)
        wake.tune(changed.wake)
        vocabulary.tune(changed.vocabulary)

    return Engine(
        pipeline,
        timed,
        wake_problem=wake_problem,
        asr_self_test="pass" if transcriber.passed_self_test else "skipped",
        wake_scores=lambda: wake.last_scores,
        transcriptions=transcriptions,
        tune=tune,
        recorder=_recorder(audio_dir, wanted=settings.privacy.save_audio),
        vocabulary=vocabulary,
    )


def vocabulary_at_work(transcriber: WhisperTranscriber, settings: Settings) -> VocabularyAtWork:
    """Build what makes the home's names ready for a recogniser of `load_transcriber`."""
    corrector = transcriber.corrector
    assert isinstance(corrector, Corrector)  # noqa: S101 - `load_transcriber` gave it
    return VocabularyAtWork(
        corrector,
        transcriber.tokenizer,
        settings=settings.vocabulary,
        language=settings.asr.language,
    )


def _build_wake(settings: Settings) -> tuple[WakeDetector, Problem | None]:
    wake = WakeDetector.from_settings(settings.wake)
    self_test = wake.self_test()
    log.info("wake.self_test", passed=self_test.passed, score=round(self_test.score, 3))
    return wake, None if self_test.passed else _wake_problem(self_test)


def _recorder(folder: Path | None, *, wanted: bool) -> SessionRecorder | None:
    """Build the session recorder, if it is wanted; older recordings are pruned all the same."""
    if folder is None:
        return None
    # A folder that cannot be read must not keep the daemon from starting.
    with suppress(OSError):
        prune(folder, now_s=time.time())
    if not wanted:
        return None
    log.warning(
        "audio.kept", folder=str(folder), remedy="set privacy.save_audio = false to end that"
    )
    return SessionRecorder(folder)


def transcription_service(
    transcriber: WhisperTranscriber, settings: Settings
) -> TranscriptionService:
    """Offer a recogniser to other clients: on its weights, and by the same rules."""
    return TranscriptionService(
        model=settings.asr.model,
        languages=transcriber.languages,
        streams=settings.asr.partials,
        step_s=settings.asr.step_s,
        options=pipeline_options(settings),
        new_transcriber=lambda language: transcriber.another(language=language),
        new_vad=SileroVad,
    )


def try_models(settings: Settings, models_dir: Path) -> None:
    """Load and run every model that the settings name, then forget them; raises `ModelError`.

    A restart does so beside the running daemon, so that a model which does not work never takes
    the place of one that does.
    """
    try:
        WakeDetector.from_settings(settings.wake).self_test()
        load_transcriber(settings.asr, models_dir)
    except VoiceDaemonError:
        raise
    except Exception as error:
        raise ModelError(
            "asr.unusable",
            f"{settings.asr.model} cannot be run: {type(error).__name__}: {error}",
            remedy="check it with `daemonctl models verify`, or choose another asr.model",
        ) from error


def _unsupervised(_step: StartStep) -> None:
    """Report a step to nobody."""


def load_free_reader(
    settings: AsrSettings, models_dir: Path
) -> Callable[[NDArray[np.float32]], str]:
    """Load what reads a recording, (n,) float32 at 16 kHz, without any vocabulary."""
    model = load_model(resolve(settings.model, models_dir=models_dir), settings.dtype)
    decoder = StreamingDecoder(model, streaming_config(settings))

    def read(samples: NDArray[np.float32]) -> str:
        decoder.reset()
        decoder.feed(samples)
        return decoder.finish().text

    return read


def load_transcriber(
    settings: AsrSettings,
    models_dir: Path,
    *,
    begin: Callable[[StartStep], None] = _unsupervised,
) -> WhisperTranscriber:
    """Load the recogniser and run it once; raises `ModelError`. `begin` is told each step."""
    begin(StartStep.MODEL)
    started_s = time.monotonic()
    model = load_model(resolve(settings.model, models_dir=models_dir), settings.dtype)
    loaded_s = time.monotonic()
    begin(StartStep.WARM_UP)
    config = streaming_config(settings)
    decoder = StreamingDecoder(model, config)
    corrector = Corrector(model, logprobs=decoder.logprobs)
    transcriber = WhisperTranscriber(model, config, decoder=decoder, corrector=corrector)
    clip = to_int16(load_audio(DEMO_CLIP))
    tested = self_test(transcriber, clip, step_s=settings.step_s)
    _judge(tested, settings)
    transcriber.passed_self_test = tested.passed
    # Now, so that no command waits until a GPU has compiled for its length.
    transcriber.meet_shapes()
    log.info(
        "asr.ready",
        model=settings.model,
        alignment_heads=model.alignment_heads_from,
        load_ms=round((loaded_s - started_s) * 1000),
        warm_up_ms=round((time.monotonic() - loaded_s) * 1000),
        self_test=tested.passed,
    )
    if model.alignment_heads_from == "guess":
        # Neither the model's own files nor the published table say which heads follow the audio.
        log.warning("asr.alignment_guessed", model=settings.model)
    return transcriber


def _judge(tested: SelfTest, settings: AsrSettings) -> None:
    """Refuse a recogniser that does not read what it must be able to; raises `ModelError`.

    A model for another language need not read English: there it is only told.
    """
    if tested.passed:
        return
    if not settings.expects_english:
        log.warning("asr.self_test_failed", model=settings.model, n_words=tested.n_words)
        return
    raise ModelError(
        "asr.self_test",
        f"{settings.model} reads {tested}: this machine computes it wrongly, or it is damaged",
        remedy="`daemonctl models verify`, then another asr.model or asr.dtype; "
        "on a new Mac `pip install --upgrade mlx`",
    )


def _wake_problem(failed: WakeSelfTest) -> Problem:
    return Problem(
        "wake",
        f"the wake word scores {failed.score:.2f} on a recording of it, so it would not be heard",
        failed.remedy,
    )
