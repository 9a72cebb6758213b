"""Voice activity of a whole clip, and what the daemon would make of a clip without voice.

Owns two questions that a recogniser alone cannot answer: when the speech of a clip ends, and
what of it gets through the daemon's own gates.
"""

from __future__ import annotations

from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from support.fakes import FakeClock, FakeWake
from voice_daemon.asr import WhisperTranscriber
from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.events import SAMPLE_RATE, AudioBlock, State, TranscriptFinal, TranscriptPartial
from voice_daemon.session.pipeline import Pipeline, PipelineOptions

TAIL_S: Final = 2
"""Silence after a clip, so that a session which is open can end."""


def speech_end_s(samples: NDArray[np.float32]) -> float | None:
    """The end of the last voice in (n,) samples, in seconds; None without any."""
    vad = SileroVad()
    probabilities = vad.feed(to_int16(samples))
    voiced = np.flatnonzero(np.array(probabilities) >= PipelineOptions().voice_on)
    return float((voiced[-1] + 1) * vad.frame_samples / SAMPLE_RATE) if len(voiced) else None


def daemon_texts(transcriber: WhisperTranscriber, samples: NDArray[np.float32]) -> tuple[str, ...]:
    """All that the daemon would publish for a clip, with a session open all the time.

    Sessions are opened by `listen`, one after the other, so that nothing but the voice gate
    and the final's own rule stands between the audio and the text.
    """
    clock = FakeClock()
    ids = count()
    pipeline = Pipeline(
        wake=FakeWake(clock=clock),
        vad=SileroVad(),
        transcriber=transcriber,
        options=PipelineOptions(),
        now_sample=clock,
        new_session_id=lambda: str(next(ids)),
    )
    audio = to_int16(np.concatenate((samples, np.zeros(TAIL_S * SAMPLE_RATE, np.float32))))
    texts: list[str] = []
    for first in range(0, len(audio), BLOCK_SAMPLES):
        events = pipeline.feed(AudioBlock(first, audio[first : first + BLOCK_SAMPLES]))
        if pipeline.state is State.IDLE:
            events += pipeline.listen()
        for event in events:
            if isinstance(event, TranscriptPartial):
                texts.append(event.text + event.draft)
            elif isinstance(event, TranscriptFinal):
                texts.append(event.text)
    return tuple(text for text in texts if text.strip())
