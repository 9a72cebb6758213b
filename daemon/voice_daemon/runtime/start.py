"""Watches over the worker: a deadline for each step of the start, and a start without what hangs.

Nothing that is loaded can be trusted to return: a wake-word model may loop for ever, a network
drive may hang. Three starts in a row that ended at the deadline in one part are followed by one
without that part; the next start tries it again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.config import Settings, WakeSettings
from voice_daemon.config.persisted import HungStart, SettingsStore
from voice_daemon.errors import ModelError, Problem, VoiceDaemonError
from voice_daemon.events import WakeDetection
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.runtime.worker import Worker

log = structlog.get_logger()

PROBLEM_S: Final = 60.0
"""A start this long is reported; a large model on a slow disk may still come to its end."""
DEADLINE_S: Final = 180.0
HUNG_STARTS: Final = 3
"""After so many in a row the part that hung is left out."""

WORKER_SILENT_S: Final = 30.0
"""A worker that was not seen alive for this long hangs in a model."""
SUSPENDED_S: Final = 5.0
"""The main thread looks every second. Once it is this late the whole process was stopped, and what
the worker did not do meanwhile says nothing about it."""

SLOW: Final = "daemon.start_slow"
SAFE_MODE: Final = "daemon.safe_mode"


class StartStep(StrEnum):
    """A step of the start, named for a person."""

    WAKE = "loading the wake word"
    MODEL = "loading the recogniser"
    WARM_UP = "warming up the recogniser"


class Part(StrEnum):
    """A part that the daemon can do without, by the problem's part."""

    WAKE_WORD = "wake"
    RECOGNISER = "asr"


_SETTING: Final = {Part.WAKE_WORD: "wake.models", Part.RECOGNISER: "asr.model"}


class NoWakeWord:
    """Stands in for a wake-word detector that is left out: it hears nothing."""

    last_scores: Mapping[str, float] = MappingProxyType({})

    def __init__(self) -> None:
        self.thresholds: Mapping[str, float] = {}
        self.beside_own_sound = False

    def feed(self, _samples: NDArray[np.int16]) -> Sequence[WakeDetection]:
        """Detect nothing."""
        return ()

    def choose(self, models: Sequence[str]) -> None:
        """Refuse another wake word: loading it is what hung."""
        raise ModelError(
            "wake.safe_mode",
            f"{', '.join(models)} cannot be loaded in safe mode",
            remedy="try another wake.models, then `daemonctl restart`",
        )

    def reset(self, _at_sample: int) -> None:
        """Forget nothing."""

    def phrase(self, wake_word: str) -> str:
        """Return the wake word as it is."""
        return wake_word

    def tune(self, _settings: WakeSettings) -> None:
        """Change nothing."""


class StartSupervisor:
    """Knows the step that the start is in. The worker calls `begin`, the main thread the rest.

    `may_leave_out`: the parts without which this daemon is still of use.
    """

    def __init__(
        self,
        settings: Settings,
        store: SettingsStore,
        *,
        may_leave_out: tuple[Part, ...] = tuple(Part),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock_s = clock_s
        self._models = f"{settings.wake.models} {settings.wake.backend} {settings.asr.model}"
        self._step = StartStep.WAKE
        self._began_s: float | None = None
        earlier = store.state.hung_start
        if earlier is not None and earlier.models != self._models:
            # Another model is configured since: what the old one did says nothing about it.
            earlier = None
            store.note_hung_start(None)
        self.left_out = _left_out(earlier, may_leave_out)
        """The part that is not built; None for a whole start."""

    def begin(self, step: StartStep) -> None:
        """Note that a step begins."""
        self._step = step
        if self._began_s is None:
            self._began_s = self._clock_s()

    def lasts_s(self, *, awake_since_s: float) -> float:
        """Return how long the start lasts; the time that the process was stopped is no part."""
        return 0.0 if self._began_s is None else self._clock_s() - max(self._began_s, awake_since_s)

    def problem(self, lasts_s: float) -> Problem | None:
        """Describe a start that is slow; None for one that may still be an ordinary one."""
        if lasts_s < PROBLEM_S:
            return None
        return Problem(
            _part_of(self._step),
            f"{self._step} takes longer than {PROBLEM_S:.0f} s",
            f"after {DEADLINE_S:.0f} s the daemon gives up and starts again; if it happens again, "
            f"try another {_SETTING[_part_of(self._step)]}",
        )

    def overdue(self, lasts_s: float) -> VoiceDaemonError | None:
        """Give the start up at its deadline, and note on disk in which step it hung."""
        if lasts_s < DEADLINE_S:
            return None
        part = _part_of(self._step)
        earlier = self._store.state.hung_start
        in_a_row = earlier.in_a_row if earlier and earlier.part == part else 0
        self._store.note_hung_start(HungStart(part, in_a_row + 1, self._models))
        return VoiceDaemonError(
            "daemon.start_hung",
            f"{self._step} did not end within {DEADLINE_S:.0f} s",
            remedy=f"launchd starts the daemon again; if it happens again, try another "
            f"{_SETTING[part]}. After {HUNG_STARTS} such starts it does without",
        )

    def ended(self) -> None:
        """Note that the start came to its end; one without a part is not the end of its story."""
        if self.left_out is None:
            self._store.note_hung_start(None)
            return
        # The next start tries the part once more, and goes without it again if it hangs.
        self._store.note_hung_start(HungStart(self.left_out, HUNG_STARTS - 1, self._models))

    def safe_mode(self) -> Problem | None:
        """Describe what is left out; None for a whole start."""
        if self.left_out is None:
            return None
        without = {
            Part.WAKE_WORD: "no wake word is heard; `daemonctl listen` and the button work",
            Part.RECOGNISER: "nothing is recognised",
        }
        return Problem(
            self.left_out,
            f"safe mode: {HUNG_STARTS} starts in a row hung in {_SETTING[self.left_out]}, so "
            f"{without[self.left_out]}",
            f"try another {_SETTING[self.left_out]}, then `daemonctl restart`",
        )


class Watchdog:
    """Finds a start, or a worker, that hangs; looks about every second, on the main thread."""

    def __init__(self, start: StartSupervisor, worker: Worker, publisher: Publisher) -> None:
        self._start = start
        self._worker = worker
        self._publisher = publisher
        self._looked_s = time.monotonic()
        self._awake_since_s = 0.0

    def overdue(self) -> VoiceDaemonError | None:
        """Return why the process is to end; None while all goes well."""
        now_s = time.monotonic()
        if now_s - self._looked_s > SUSPENDED_S:
            log.warning("daemon.was_stopped", for_s=round(now_s - self._looked_s))
            self._awake_since_s = now_s
        self._looked_s = now_s
        if not self._worker.engine_ready:
            return self._start_overdue()
        silent_s = now_s - max(self._worker.beat_s, self._awake_since_s)
        if silent_s < WORKER_SILENT_S:
            return None
        return VoiceDaemonError(
            "daemon.worker_hung",
            f"the recogniser did not answer for {silent_s:.0f} s",
            remedy="launchd starts the daemon again; if it happens again, try another asr.model",
        )

    def _start_overdue(self) -> VoiceDaemonError | None:
        lasts_s = self._start.lasts_s(awake_since_s=self._awake_since_s)
        problem = self._start.problem(lasts_s)
        if problem is not None:
            self._publisher.raise_problem(SLOW, problem)
        return self._start.overdue(lasts_s)


def _left_out(earlier: HungStart | None, may_leave_out: tuple[Part, ...]) -> Part | None:
    if earlier is None or earlier.in_a_row < HUNG_STARTS or earlier.part not in tuple(Part):
        return None
    part = Part(earlier.part)
    return part if part in may_leave_out else None


def _part_of(step: StartStep) -> Part:
    return Part.WAKE_WORD if step is StartStep.WAKE else Part.RECOGNISER
