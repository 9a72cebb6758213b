"""Figures of what models cost on this machine, and the model that suits its memory.

One small JSON file in the state folder. `cli.models` measures.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from voice_daemon._lib.files import read_json, write_atomically
from voice_daemon.models.catalogue import CATALOGUE, CatalogueEntry

FILE: Final = "measured.json"
SCHEMA: Final = 1
MEMORY_SHARE: Final = 0.25
"""Share of the machine's memory that a recogniser may take: the machine does other things too."""
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
    """Size of the model then: a folder of another size holds another model."""


def read_measurements(state_dir: Path) -> dict[str, Measurement]:
    """Read what is known, by folder; nothing where the file cannot be read."""
    try:
        document = read_json(state_dir / FILE)
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
    write_atomically(state_dir / FILE, json.dumps(document, indent=1).encode())


def machine_memory_mb() -> float | None:
    """Return this machine's memory in units of 10^6 bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError):
        return None


def recommended(memory_mb: float | None, *, multilingual: bool) -> CatalogueEntry | None:
    """Return the largest of the advised models that this much memory is enough for.

    `multilingual`: for another language than English. The smallest where memory is short.
    """
    fitting = [
        entry
        for entry in CATALOGUE
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
