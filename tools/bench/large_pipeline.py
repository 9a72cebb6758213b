"""Computing between audio and its messages, through the whole pipeline with a large shape.

The bundled recording of a wake word and a command is heard again and again: wake word, voice
activity, recogniser, endpoint and messages are the daemon's own. The network's weights are random
and its words are dictated: times count here, and words do not. What a message took is the time
from the arrival of its block of audio. Run on the machine that you ask about:

    python -m tools.bench.large_pipeline [--shape large-v3-turbo] [--times 20]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import mlx.core as mx
import numpy as np

from tools.bench.large_models import SHAPES, Samples, Stream, random_model, timed
from tools.bench.latency import LEAD_S, NOISE, TAIL_S
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import Settings
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.events import SAMPLE_RATE, AudioBlock
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.topics import Topics
from voice_daemon.runtime.build import pipeline_options, streaming_config
from voice_daemon.session.pipeline import Pipeline
from voice_daemon.wake.detector import WakeDetector

FIRST_TEXT = "first text"
PARTIAL, FINAL = "transcript/partial", "transcript/final"


def main() -> None:
    """Print what each kind of message took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="large-v3-turbo")
    parser.add_argument("--times", type=int, default=20, help="commands")
    args = parser.parse_args()
    settings = Settings()
    stream = Stream(random_model(args.shape), streaming_config(settings.asr))
    # The wake word before them is forced, not chosen.
    stream.greedy.begin_s = pipeline_options(settings).wake_lead_ms / 1000
    out = sys.stdout.write
    out(f"{args.shape}, {mx.default_device()}, {args.times} commands\n")
    out(f"warm-up {timed(stream.transcriber.warm_up):.1f} s\n")
    took_ms: dict[str, list[float]] = defaultdict(list)
    for _ in range(args.times):
        for leaf, ms in messages(spoken(DEMO_CLIP), settings, stream):
            first = leaf == PARTIAL and len(took_ms[FIRST_TEXT]) <= len(took_ms[FINAL])
            took_ms[FIRST_TEXT if first else leaf].append(ms)
    out("message                n  median ms   p90   max\n")
    for leaf in ("wake", FIRST_TEXT, PARTIAL, FINAL):
        all_ms = np.array(took_ms[leaf])
        middle, late = np.percentile(all_ms, (50, 90)) if len(all_ms) else (np.nan, np.nan)
        times = f"{middle:10.1f} {late:5.1f} {all_ms.max(initial=0):5.1f}"
        out(f"{leaf:20s} {len(all_ms):3d} {times}\n")


def spoken(clip: Path) -> Samples:
    """(n,) int16 of the clip in a quiet room."""
    samples = load_audio(clip)
    samples = np.pad(samples, (round(LEAD_S * SAMPLE_RATE), round(TAIL_S * SAMPLE_RATE)))
    noise = np.random.default_rng(0).normal(0, NOISE, len(samples)).astype(np.float32)
    return to_int16(samples + noise)


def messages(sound: Samples, settings: Settings, stream: Stream) -> Iterator[tuple[str, float]]:
    """Each message's topic below the node's, and the milliseconds from its block to it."""
    topics = Topics(settings.mqtt.base_topic, "bench")
    heard_to = 0
    pipeline = Pipeline(
        wake=WakeDetector.from_settings(settings.wake),
        vad=SileroVad(),
        transcriber=stream.transcriber,
        options=pipeline_options(settings),
        now_sample=lambda: heard_to,
        new_session_id=map(str, count()).__next__,
    )
    for first in range(0, len(sound) - BLOCK_SAMPLES, BLOCK_SAMPLES):
        heard_to = first + BLOCK_SAMPLES
        begun_s = time.perf_counter()
        for event in pipeline.feed(AudioBlock(first, sound[first:heard_to])):
            for message in for_event(event, topics=topics, at=datetime.now(UTC)):
                ms = 1000 * (time.perf_counter() - begun_s)
                yield message.topic.split("/", 2)[2], ms


if __name__ == "__main__":
    main()
