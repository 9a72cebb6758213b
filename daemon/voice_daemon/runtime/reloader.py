"""Puts a changed configuration in force while the daemon runs, as far as that can be done.

A wrong one is refused whole. Called by the control thread and the main thread.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import structlog

from voice_daemon.config import Settings
from voice_daemon.homeassistant.announce import DiscoveryAnnouncer
from voice_daemon.mqtt.topics import Topics
from voice_daemon.runtime.command_handler import CommandHandler
from voice_daemon.runtime.live_settings import LiveSettings, device_of
from voice_daemon.runtime.vocabulary_keeper import VocabularyKeeper
from voice_daemon.runtime.worker import Worker
from voice_daemon.sound.sounds import Sounds

log = structlog.get_logger()

Key = tuple[str, str]
"""Section and key; the section is empty at the top level."""


class ApplyMode(StrEnum):
    """The way in which a changed key comes into force."""

    AT_ONCE = "at once"
    """From the next wake word or session on; an open session is left as it is."""
    RESTART = "restart"


_AT_ONCE: Final[Mapping[str, frozenset[str]]] = {
    "audio": frozenset({"preroll_ms", "silence_alarm_s"}),
    "wake": frozenset(
        {"models", "threshold", "thresholds", "verify_from", "trigger_level", "refractory_s"}
    ),
    "session": frozenset({"silence_ms", "no_speech_timeout_s", "max_s", "speech_start_ms"}),
    "sounds": frozenset({"enabled", "volume"}),
    "vocabulary": frozenset({"enabled", "file", "sentences", "margin", "protected"}),
    "privacy": frozenset({"log_transcripts"}),
    "log": frozenset({"level", "max_mb", "backups"}),
}
_LOG_SECTIONS: Final = frozenset({"log", "privacy"})


def apply_mode(key: Key) -> ApplyMode:
    """Say how a key comes into force; one that is not listed needs a restart."""
    section, name = key
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
    """Reads the configuration again, and applies what lies outside of the daemon's parts."""

    settings: Settings
    """As it was when the daemon started."""
    read: Callable[[], Settings]
    """Raises `ConfigError`."""
    check: Callable[[Settings], None]
    """Raises where a wake model that the settings name cannot be had."""
    relog: Callable[[Settings], None]
    """Sets up the log anew; raises `ConfigError`."""


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The changed keys, by what became of them."""

    applied: tuple[Key, ...] = ()
    restart: tuple[Key, ...] = ()
    """In force after a restart alone, from this reload and from earlier ones."""

    def to_dict(self) -> dict[str, list[str]]:
        """Write it as a reply on the control socket."""
        return {
            "applied": [key_text(key) for key in self.applied],
            "restart": [key_text(key) for key in self.restart],
        }


class Reloader:
    """Compares the configuration with what is in force, and applies the difference.

    `watches_silence`: False for a file, which may be silent.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        live: LiveSettings,
        topics: Topics,
        homeassistant: DiscoveryAnnouncer,
        worker: Worker,
        commands: CommandHandler,
        vocabulary: VocabularyKeeper,
        sounds: Sounds,
        watches_silence: bool,
    ) -> None:
        self._configuration = configuration
        self._live = live
        self._topics = topics
        self._homeassistant = homeassistant
        self._worker = worker
        self._commands = commands
        self._vocabulary = vocabulary
        self._sounds = sounds
        self._watches_silence = watches_silence
        self._lock = threading.Lock()
        self._in_force = configuration.settings

    def reload(self) -> ReloadResult:
        """Read the configuration and apply it.

        Raises the `VoiceDaemonError` for which it is refused; then nothing has changed.
        """
        with self._lock:
            new = self._configuration.read()
            changed = changed_keys(self._in_force, new)
            result = ReloadResult(
                applied=tuple(key for key in changed if apply_mode(key) is ApplyMode.AT_ONCE),
                restart=tuple(key for key in changed if apply_mode(key) is ApplyMode.RESTART),
            )
            if result.applied:
                self._apply(taking_over(self._in_force, new, result.applied), result.applied)
        log.info("config.reloaded", **result.to_dict())
        return result

    def _apply(self, settings: Settings, keys: tuple[Key, ...]) -> None:
        sections = {section for section, _ in keys}
        if "wake" in sections:
            self._configuration.check(settings)
        if sections & _LOG_SECTIONS:
            # Before anything is changed: it is the last step that can still refuse.
            self._configuration.relog(settings)
        self._in_force = settings
        if self._watches_silence:
            self._worker.silence_alarm_s = settings.audio.silence_alarm_s
        self._worker.tune(settings)
        self._vocabulary.configure(settings.vocabulary)
        self._sounds.tune(settings.sounds)
        due = self._live.reconfigure(settings)
        self._homeassistant.describe(device_of(self._live, self._topics))
        for name, value in due.items():
            self._commands.put_in_force(name, value)


def key_text(key: Key) -> str:
    """Write a key as people do: `wake.threshold`."""
    section, name = key
    return f"{section}.{name}" if section else name
