"""The daemon's pipeline on a clock of our own, for a machine that is not quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tools.bench.latency_match import NODE, Heard, Spoken, match
from voice_daemon.asr import StreamingDecoder, WhisperModel, WhisperTranscriber
from voice_daemon.asr.cooperative import at_once
from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.config import Settings, WakeSettings
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.events import SAMPLE_RATE, AudioBlock, State
from voice_daemon.mqtt.messages import for_event, state_message
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.runtime.build import pipeline_options, streaming_config
from voice_daemon.runtime.vocabulary_keeper import acceptance_rule
from voice_daemon.session.pipeline import Pipeline
from voice_daemon.vocabulary.correction import Corrector, building_vocabulary
from voice_daemon.vocabulary.store import read_file
from voice_daemon.wake.detector import WakeDetector

COMPUTING: Final[dict[str, Callable[[], float]]] = {
    "audio": lambda: 0.0,
    "computing": time.process_time,
}


def simulate(
    sound: NDArray[np.int16],
    spoken: Sequence[Spoken],
    *,
    model: WhisperModel,
    word: str,
    compute_s: Callable[[], float],
    document: Path | None = None,
) -> list[Heard]:
    """Let the pipeline hear it at once; a message is there when its block is done.

    A block is begun when its audio is there and the one before it is done.
    """
    settings = Settings(wake=WakeSettings(models=(word,)))
    topics = Topics(settings.mqtt.base_topic, NODE)
    begun_s = at_s = 0.0

    def now_s() -> float:
        return begun_s + compute_s() - at_s

    transcriber = _transcriber(model, settings, document)
    transcriber.warm_up()
    pipeline = Pipeline(
        wake=WakeDetector.from_settings(settings.wake),
        vad=SileroVad(),
        transcriber=transcriber,
        options=pipeline_options(settings),
        now_sample=lambda: round(now_s() * SAMPLE_RATE),
        new_session_id=map(str, count()).__next__,
    )
    idle = state_message(State.IDLE, topics=topics)
    messages = [_arrived(idle, BLOCK_SAMPLES / SAMPLE_RATE)]
    for first in range(0, len(sound), BLOCK_SAMPLES):
        samples = sound[first : first + BLOCK_SAMPLES]
        done_s = now_s() if first else 0.0
        begun_s, at_s = max(done_s, (first + len(samples)) / SAMPLE_RATE), compute_s()
        for event in pipeline.feed(AudioBlock(first, samples)):
            told = for_event(event, topics=topics, at=datetime.now(UTC))
            messages += [_arrived(message, now_s()) for message in told]
    return match(messages, spoken)


def _transcriber(
    model: WhisperModel, settings: Settings, document: Path | None
) -> WhisperTranscriber:
    """Build the daemon's recogniser, which knows the home's names where there are some."""
    config = streaming_config(settings.asr)
    if document is None:
        return WhisperTranscriber(model, config)
    decoder = StreamingDecoder(model, config)
    corrector = Corrector(
        model, logprobs=decoder.logprobs, rule=acceptance_rule(settings.vocabulary)
    )
    corrector.home = at_once(
        building_vocabulary(
            read_file(document),
            model.tokenizer.encode,
            language="en",
            sentences=settings.vocabulary.sentences,
        )
    )
    return WhisperTranscriber(model, config, decoder=decoder, corrector=corrector)


def _arrived(message: MqttMessage, at_s: float) -> dict[str, Any]:
    text = message.payload.decode()
    return {"at_s": at_s, "topic": message.topic, "text": text, "retained": False}
