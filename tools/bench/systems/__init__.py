"""The recognisers that are compared, by name; each is loaded only when it is asked for.

`load_system` says why one cannot be used here, so that the others still run.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from tools.bench.replay import Recogniser
from voice_daemon.errors import VoiceDaemonError

OURS: Final = "ours"
UNHURRIED: Final = "ours-unhurried"
OFFLINE: Final = "offline"
MODULES: Final = {
    OURS: "ours",
    UNHURRIED: "ours_unhurried",
    OFFLINE: "offline",
    "mlx-audio": "mlx_audio_whisper",
    "local-agreement": "local_agreement",
}
NAMES: Final = tuple(MODULES)
USUAL: Final = tuple(name for name in NAMES if name != UNHURRIED)
"""Those that are compared unless others are asked for."""


class UnavailableError(VoiceDaemonError):
    """A system that cannot be used here."""


@dataclass(frozen=True, slots=True)
class System:
    """A loaded recogniser under its name."""

    name: str
    recogniser: Recogniser

    @property
    def streams(self) -> bool:
        """False for the one that decodes once, at the end."""
        return self.name != OFFLINE


def load_system(name: str, model: Path) -> System:
    """Load the system `name` with the weights of `model`, a folder or file.

    Raises UnavailableError for one that is not installed or cannot read this model, ModelError
    for a model that nobody can read.
    """
    try:
        module = import_module(f"tools.bench.systems.{MODULES[name]}")
    except ImportError as error:
        raise UnavailableError(
            "bench.not_installed",
            f"{name} is not installed: {error}",
            remedy="run scripts/bench, which installs the bench extra",
        ) from error
    recogniser: Recogniser = module.load(model)
    return System(name, recogniser)
