"""This project's recogniser where a final may take all the time that it wants."""

from __future__ import annotations

import math
from pathlib import Path

from tools.bench.systems.ours import Ours
from voice_daemon.asr import load_model


class Unhurried(Ours):
    """The same, its finals read beside live silence."""

    final_within_s = math.inf


def load(model: Path) -> Unhurried:
    """Load the weights of a folder or file."""
    return Unhurried(load_model(model))
