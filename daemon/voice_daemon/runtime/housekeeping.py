"""Housekeeping of the running daemon: its health every minute, its files saved, its log watched.

Runs on the main thread, whenever `pause_s` is over or somebody asks for it.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from voice_daemon.config.persisted import SettingsStore
from voice_daemon.errors import Problem, VoiceDaemonError
from voice_daemon.homeassistant.announce import DiscoveryAnnouncer
from voice_daemon.logs.setup import unwritable
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.messages import error_event
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.runtime.vocabulary_keeper import VocabularyKeeper

log = structlog.get_logger()

HEALTH_EVERY_S: Final = 60.0
LONGEST_PAUSE_S: Final = 1.0
SAVE_EVERY_S: Final = 1.0
"""At most, however often settings are changed."""
LOG_UNWRITABLE: Final = "log.unwritable"
NOT_SAVED: Final = "settings.not_saved"


class Housekeeper:
    """Does what is due. `announce_again` publishes all that is retained, and no event."""

    def __init__(
        self,
        *,
        homeassistant: DiscoveryAnnouncer,
        mqtt: MqttClient,
        publisher: Publisher,
        store: SettingsStore,
        vocabulary: VocabularyKeeper,
        is_ready: Callable[[], bool],
        publish_health: Callable[[], None],
        announce_again: Callable[[], None],
    ) -> None:
        self._homeassistant = homeassistant
        self._mqtt = mqtt
        self._publisher = publisher
        self._store = store
        self._vocabulary = vocabulary
        self._is_ready = is_ready
        self._publish_health = publish_health
        self._announce_again = announce_again
        self._health_due_s = self.save_due_s = 0.0
        self._mic_problems: tuple[str, ...] = ()

    @property
    def pause_s(self) -> float:
        """The time until the next thing that is known to be due."""
        now_s, due_s = time.monotonic(), self._homeassistant.due_s
        times_s = [LONGEST_PAUSE_S] if due_s is None else [LONGEST_PAUSE_S, due_s - now_s]
        if self._store.is_dirty:
            times_s.append(self.save_due_s - now_s)
        return max(0.0, min(times_s))

    def run(self) -> None:
        """Do what is due now."""
        now_s, due_s = time.monotonic(), self._homeassistant.due_s
        self._report_health(now_s)
        self._publisher.set_problem(LOG_UNWRITABLE, unwritable())
        if due_s is not None and now_s >= due_s:
            # Home Assistant was restarted, and wants to hear everything again.
            self._announce_again()
        broker = self._mqtt.status()
        # Nothing under way: so the announcement has arrived too.
        if broker.connected and not broker.queued:
            self._homeassistant.confirmed()
        if self._mqtt.finals_are_heard:
            self._store.note_heard()
        if self._store.is_dirty and now_s >= self.save_due_s:
            # Before it is tried: a full disk is not asked again in every turn.
            self.save_due_s = now_s + SAVE_EVERY_S
            self.save()
        self._save_vocabulary()

    def finish(self, *, delivered: bool) -> None:
        """Leave everything in order; `delivered`: the broker has all that was published."""
        if delivered:
            self._homeassistant.confirmed()
        self.save()
        self._save_vocabulary()

    def save(self) -> None:
        """Write the changed settings; a fault is a problem until it is gone, and is tried again."""
        try:
            if self._store.save():
                changes = self._store.state.changes
                log.info("settings.saved", **{name: c.value for name, c in changes.items()})
            self._publisher.clear_problem(NOT_SAVED)
        except VoiceDaemonError as error:
            self._publisher.raise_problem(NOT_SAVED, Problem("log", error.message, error.remedy))

    def _save_vocabulary(self) -> None:
        """Write the home's names, if others came; a fault is reported."""
        try:
            self._vocabulary.save()
        except VoiceDaemonError as error:
            log.warning("vocabulary.not_saved", reason=error.message, remedy=error.remedy)
            self._publisher.error(error_event(error))

    def _report_health(self, now_s: float) -> None:
        """Report every minute, and at once when a problem of the microphone comes or goes."""
        if not self._is_ready():
            return
        problems = self._publisher.snapshot().problems
        mic_problems = tuple(code for code, problem in problems.items() if problem.part == "mic")
        if now_s >= self._health_due_s or mic_problems != self._mic_problems:
            self._health_due_s = now_s + HEALTH_EVERY_S
            self._mic_problems = mic_problems
            self._publish_health()
