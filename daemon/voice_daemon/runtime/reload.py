"""Puts a changed configuration in force while the daemon runs, as far as that can be done.

Owns which keys can be changed how, and what is in force. A wrong configuration is refused whole.
Called by the control thread and the main thread; what concerns the models is left to the worker.
Knows nothing of sockets, signals or files: it is given what reads them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import structlog

from voice_daemon.config import Settings
from voice_daemon.config.state import Value
from voice_daemon.errors import Problem, VoiceDaemonError
from voice_daemon.homeassistant.announce import DiscoveryAnnouncer
from voice_daemon.mqtt.messages import Topics
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.runtime.commands import CommandHandler
from voice_daemon.runtime.live_settings import LiveSettings, device_of
from voice_daemon.runtime.worker import Worker
from voice_daemon.wake.models import wake_choices

log = structlog.get_logger()

Key = tuple[str, str]
"""Section and key; the section is empty at the top level."""

NOT_SWITCHED: Final = "asr.not_switched"
"""The problem that lasts while the configured recogniser is not the one that runs."""


class ApplyMode(StrEnum):
    """How a changed key comes into force."""

    AT_ONCE = "at once"
    """From the next wake word or session on; an open session is left as it is."""
    RECOGNISER = "recogniser"
    """Once another recogniser is loaded and warm; until then the old one serves."""
    RESTART = "restart"


_AT_ONCE: Final[Mapping[str, frozenset[str]]] = {
    "audio": frozenset({"preroll_ms", "silence_alarm_s"}),
    "wake": frozenset({"models", "threshold", "trigger_level", "refractory_s"}),
    "session": frozenset({"silence_ms", "no_speech_timeout_s", "max_s", "speech_start_ms"}),
    "privacy": frozenset({"log_transcripts"}),
    "log": frozenset({"level", "max_mb", "backups"}),
}
_RECOGNISER: Final = "asr"
_WITH_MODELS: Final = frozenset({"asr", "wake"})
_OF_THE_LOG: Final = frozenset({"log", "privacy"})


def way_of(key: Key) -> ApplyMode:
    """Say how a key comes into force; what is not known here needs a restart."""
    section, name = key
    if section == _RECOGNISER:
        return ApplyMode.RECOGNISER
    return ApplyMode.AT_ONCE if name in _AT_ONCE.get(section, frozenset()) else ApplyMode.RESTART


def changed_keys(old: Settings, new: Settings) -> tuple[Key, ...]:
    """List the keys whose values differ, in the order of the configuration."""
    before, after = old.model_dump(), new.model_dump()
    changed: list[Key] = []
    for section, values in after.items():
        if not isinstance(values, dict):
            changed += [("", section)] if values != before[section] else []
            continue
        changed += [(section, name) for name in values if values[name] != before[section][name]]
    return tuple(changed)


def taking_over(old: Settings, new: Settings, keys: tuple[Key, ...]) -> Settings:
    """Give the old settings with the new values of some keys."""
    updates: dict[str, dict[str, Any]] = {}
    for section, name in keys:
        updates.setdefault(section, {})[name] = getattr(getattr(new, section), name)
    return old.model_copy(
        update={
            section: getattr(old, section).model_copy(update=values)
            for section, values in updates.items()
        }
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the configuration is read again, and what it concerns outside of the daemon's parts."""

    settings: Settings
    """As it was when the daemon started."""
    read: Callable[[], Settings]
    """Raises `ConfigError`."""
    check: Callable[[Settings], None]
    """Raises where a model that the settings name cannot be had."""
    relog: Callable[[Settings], None]
    """Sets up the log anew; raises `ConfigError`."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What puts values in force; each returns at once."""

    tune: Callable[[Settings], None]
    """Numbers of sessions, the wake word's gate and the silence alarm."""
    reconfigure: Callable[[Settings], Mapping[str, Value]]
    """Take the settings over that can also be changed by MQTT; give those that change now."""
    set_live: Callable[[str, Value], None]
    switch: Callable[[Settings | None, Callable[[VoiceDaemonError | None], None]], None]
    """Load another recogniser and take it; tells how it went, on the worker's thread.

    Whatever is still being loaded is dropped; with None that is all.
    """
    switched: Callable[[Settings], None]
    """Tell everybody of another recogniser."""
    raise_problem: Callable[[str, Problem], None]
    clear_problem: Callable[[str], None]


class SwitchState(StrEnum):
    """What becomes of the newest change of the recogniser."""

    NONE = "none"
    LOADING = "loading"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reload did."""

    applied: tuple[Key, ...] = ()
    loading: tuple[Key, ...] = ()
    restart: tuple[Key, ...] = ()
    """In force after a restart alone, from this reload and from earlier ones."""

    def to_dict(self) -> dict[str, object]:
        """Give it as a reply on the control socket."""
        return {
            "applied": [key_text(key) for key in self.applied],
            "loading": [key_text(key) for key in self.loading],
            "restart": [key_text(key) for key in self.restart],
        }


class Reloader:
    """Compares what is configured now with what is in force, and closes the gap."""

    def __init__(self, configuration: Configuration, hands: Hands) -> None:
        self._configuration = configuration
        self._hands = hands
        self._lock = threading.RLock()
        self._in_force = configuration.settings
        self._newest_switch = 0
        self._switch_state = SwitchState.NONE
        self._refusal: Problem | None = None

    @property
    def in_force(self) -> Settings:
        """The configuration in force; what was changed by MQTT is not in it."""
        return self._in_force

    def reload(self) -> Answer:
        """Read the configuration and apply it.

        Raises the `VoiceDaemonError` for which it is refused; then nothing has changed.
        """
        with self._lock:
            new = self._configuration.read()
            answer = self._sorted(changed_keys(self._in_force, new))
            if any(section in _WITH_MODELS for section, _ in (*answer.applied, *answer.loading)):
                self._configuration.check(new)
            before = self._in_force
            now = taking_over(before, new, answer.applied)
            if any(section in _OF_THE_LOG for section, _ in answer.applied):
                self._configuration.relog(now)  # first: it is the only one that can still refuse
            self._in_force = now
            if answer.applied:
                self._hands.tune(now)
                for name, value in self._hands.reconfigure(now).items():
                    self._hands.set_live(name, value)
            self._switch(new, is_needed=bool(answer.loading))
        log.info("config.reloaded", **answer.to_dict())
        return answer

    def progress(self) -> dict[str, object]:
        """Tell what becomes of the recogniser."""
        with self._lock:
            why = self._refusal
            told = {"message": why.message, "remedy": why.remedy} if why else {}
            return {"switch": self._switch_state.value, "model": self._in_force.asr.model, **told}

    def _sorted(self, keys: tuple[Key, ...]) -> Answer:
        by_way = {way: tuple(key for key in keys if way_of(key) is way) for way in ApplyMode}
        return Answer(
            by_way[ApplyMode.AT_ONCE], by_way[ApplyMode.RECOGNISER], by_way[ApplyMode.RESTART]
        )

    def _switch(self, new: Settings, *, is_needed: bool) -> None:
        """Have another recogniser loaded, or drop one that is being loaded in vain."""
        self._newest_switch += 1
        number = self._newest_switch
        if not is_needed:
            if self._switch_state in {SwitchState.LOADING, SwitchState.REFUSED}:
                self._switch_state, self._refusal = SwitchState.NONE, None
                self._hands.switch(None, lambda _: None)
                self._hands.clear_problem(NOT_SWITCHED)
            return
        wanted = self._in_force.model_copy(update={"asr": new.asr})
        self._switch_state, self._refusal = SwitchState.LOADING, None
        self._hands.switch(wanted, lambda error: self._switched(number, wanted, error))

    def _switched(self, number: int, wanted: Settings, error: VoiceDaemonError | None) -> None:
        """Take note of how it went; on the worker's thread."""
        with self._lock:
            if error is None:
                self._in_force = self._in_force.model_copy(update={"asr": wanted.asr})
                self._hands.tune(self._in_force)
                self._hands.switched(self._in_force)
            if number != self._newest_switch:
                return
            # Not the error itself: its traceback would keep what was loaded in memory.
            self._refusal = None if error is None else _refusal(wanted, self._in_force, error)
            self._switch_state = SwitchState.DONE if error is None else SwitchState.REFUSED
            refusal = self._refusal
        if refusal is None:
            log.info("asr.switched", model=wanted.asr.model)
            self._hands.clear_problem(NOT_SWITCHED)
        else:
            log.error("asr.not_switched", model=wanted.asr.model, reason=refusal.message)
            self._hands.raise_problem(NOT_SWITCHED, refusal)


def _refusal(wanted: Settings, in_force: Settings, error: VoiceDaemonError) -> Problem:
    return Problem(
        "asr",
        f"{wanted.asr.model} cannot be used, {in_force.asr.model} goes on: {error.message}",
        f"{error.remedy or 'choose another asr.model'}; then `daemonctl reload`",
    )


def key_text(key: Key) -> str:
    """Write a key as people do: `wake.threshold`."""
    section, name = key
    return f"{section}.{name}" if section else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconfigurable:
    """The parts, and what is needed to describe them anew."""

    live: LiveSettings
    topics: Topics
    homeassistant: DiscoveryAnnouncer
    publisher: Publisher
    worker: Worker
    orders: CommandHandler
    watches_silence: bool
    """False for a file, which may be silent."""

    def hands(self) -> Hands:
        """Give what puts values in force."""
        return Hands(
            tune=self._tune,
            reconfigure=self._reconfigure,
            set_live=self.orders.put_in_force,
            switch=self.worker.switch,
            switched=self._switched,
            raise_problem=self.publisher.raise_problem,
            clear_problem=self.publisher.clear_problem,
        )

    def _tune(self, settings: Settings) -> None:
        if self.watches_silence:
            self.worker.silence_alarm_s = settings.audio.silence_alarm_s
        self.worker.tune(settings)

    def _reconfigure(self, settings: Settings) -> dict[str, Value]:
        """Take over what can also be set by MQTT; give what changes by it."""
        choices = wake_choices(settings.wake.models)
        due = self.live.reconfigure(settings, wake_choices=choices)
        self._describe(self.publisher.picture().model)
        return due

    def _switched(self, settings: Settings) -> None:
        self.publisher.model_changed(settings.asr.model)
        self._describe(settings.asr.model)

    def _describe(self, model: str) -> None:
        self.homeassistant.describe(device_of(self.live, self.topics, model=model))
