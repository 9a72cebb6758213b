"""What models were measured to cost on this machine, and which one suits its memory.

One small JSON file in the state folder. Measuring itself needs the recogniser, and is done
elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from voice_daemon.asr import WhisperTranscriber
from voice_daemon.asr.load import free_unused_memory, load_model, take_peak_memory_bytes
from voice_daemon.asr.streaming import StreamingConfig
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models.catalogue import CATALOGUE, CatalogueEntry
from voice_daemon.models.store import size_of

FILE: Final = "measured.json"
SCHEMA: Final = 1
MEMORY_SHARE: Final = 0.25
"""Of the machine's memory: what a recogniser may take of a machine that does other things too."""
MEMORY_PER_DOWNLOAD: Final = 2.0
"""Memory at work by the size of the download: weights, vocabulary table, caches. Measured."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model on this machine."""

    rtf: float
    """Compute time by audio time, streaming in the default steps."""
    load_s: float
    """Until it is warm."""
    memory_mb: float
    """At its peak, in units of 10^6 bytes."""
    size_bytes: int
    """Of the model then: of another one nothing is known."""


def read_measurements(state_dir: Path) -> dict[str, Measurement]:
    """Read what is known, by folder; nothing where the file cannot be read."""
    try:
        document = json.loads((state_dir / FILE).read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            return {}
        return {folder: Measurement(**entry) for folder, entry in document["models"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def remember(state_dir: Path, folder: Path, measurement: Measurement) -> None:
    """Add a measurement to the file, replacing it as a whole; raises `OSError`."""
    known: Mapping[str, Measurement] = {
        **read_measurements(state_dir),
        str(folder): measurement,
    }
    document = {"schema": SCHEMA, "models": {name: asdict(m) for name, m in known.items()}}
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = state_dir / f".{FILE}.{os.getpid()}"
    aside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    aside.replace(state_dir / FILE)


def machine_memory_mb() -> float | None:
    """Return this machine's memory in units of 10^6 bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError):
        return None


def recommended(
    memory_mb: float | None,
    *,
    multilingual: bool,
    among: Iterable[CatalogueEntry] = CATALOGUE,
) -> CatalogueEntry | None:
    """Return the largest of the advised models that this much memory is enough for.

    `multilingual`: for another language than English. The smallest where memory is short.
    """
    fitting = [
        entry
        for entry in among
        if entry.advice and (entry.languages == "multilingual" or not multilingual)
    ]
    # Of two of one size the English one is better at English.
    fitting.sort(key=lambda entry: (entry.approx_mb, entry.languages == "en"))
    if memory_mb is None:
        return fitting[0] if fitting else None
    allowed_mb = memory_mb * MEMORY_SHARE / MEMORY_PER_DOWNLOAD
    roomy = [entry for entry in fitting if entry.approx_mb <= allowed_mb]
    chosen = roomy[-1:] or fitting[:1]
    return chosen[0] if chosen else None


ROUNDS: Final = 3


def measure(folder: Path, config: StreamingConfig, *, dtype: str, step_s: float) -> Measurement:
    """Load the model in `folder`, warm it and stream the clip; raises `ModelError`."""
    free_unused_memory()
    take_peak_memory_bytes()
    begun_s = time.perf_counter()
    transcriber = WhisperTranscriber(load_model(folder, dtype), config)
    transcriber.warm_up()
    load_s = time.perf_counter() - begun_s
    clip = to_int16(load_audio(DEMO_CLIP))
    step = round(step_s * SAMPLE_RATE)
    best_s = float("inf")
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        transcriber.start(wake_phrase=None)
        for first in range(0, len(clip), step):
            transcriber.feed(clip[first : first + step])
            transcriber.step()
        transcriber.finish()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return Measurement(
        rtf=round(best_s / (len(clip) / SAMPLE_RATE), 4),
        load_s=round(load_s, 2),
        memory_mb=round(take_peak_memory_bytes() / 1e6, 1),
        size_bytes=size_of(folder) if folder.is_dir() else folder.stat().st_size,
    )
