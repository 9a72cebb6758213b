"""The settings that can be changed while the daemon runs: what each may be, and what it changes.

A change made in the configuration afterwards is the newer word, and wins.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from voice_daemon import __version__
from voice_daemon.config import Settings
from voice_daemon.config.persisted import Change, SettingsStore, Value
from voice_daemon.events import Event
from voice_daemon.homeassistant.discovery import Device
from voice_daemon.mqtt.commands import Command, CommandError, Kind
from voice_daemon.mqtt.messages import Info
from voice_daemon.mqtt.topics import Topics
from voice_daemon.session.pipeline import Pipeline
from voice_daemon.wake.models import (
    wake_choices,
    wake_thresholds,
    wake_word_key,
    wake_word_of_setting,
)

MUTE: Final = "mute"
WAKE_THRESHOLD: Final = "wake_threshold"
SILENCE_MS: Final = "silence_ms"
WAKE_WORD: Final = "wake_word"

THRESHOLD_RANGE: Final = (0.01, 0.99)
SILENCE_RANGE_MS: Final = (200, 5000)
"""As in the configuration."""
AS_CONFIGURED: Final = "default"
"""The value that takes a change back."""

CONFIG_KEYS: Final = {
    WAKE_THRESHOLD: ("wake", "thresholds"),
    SILENCE_MS: ("session", "silence_ms"),
    WAKE_WORD: ("wake", "models"),
}
"""Setting -> the configuration key that it stands in for; muting has none."""

_THRESHOLD_DIGITS = 3


@dataclass(frozen=True, slots=True)
class LiveSetting:
    """One of them. `read` raises `CommandError` for a value that it cannot have."""

    configured: Value
    read: Callable[[Command], Value]
    apply: Callable[[Pipeline, Any], list[Event]]
    """On the worker's thread; may raise `VoiceDaemonError`, and has then changed nothing."""
    configure: Callable[[Settings, Any], Settings]
    """Gives the settings with a value in force."""


class LiveSettings:
    """The values in force. Without a store, nothing is remembered."""

    def __init__(self, settings: Settings, *, store: SettingsStore | None = None) -> None:
        self._wake_choices = wake_choices(settings.wake.models)
        self.store = store or SettingsStore()
        self._known = _settings(settings, self._wake_choices)
        self.values: dict[str, Value] = {n: s.configured for n, s in self._known.items()}
        """In force, by name."""
        self._configured_settings = settings
        self.settings = settings
        """In force when the daemon starts."""
        self.restored: dict[str, Change] = {}
        """Changes of earlier runs that are in force, by name."""
        self.forgotten: dict[str, str] = {}
        """Reasons why other changes are not, by name."""
        changes = dict(self.store.state.changes)
        # The wake word first: it decides what its threshold is.
        for name in sorted(changes, key=lambda name: name != WAKE_WORD):
            self._restore(name, changes[name])

    @property
    def wake_words(self) -> tuple[str, ...]:
        """The wake words that can be chosen."""
        return tuple(self._wake_choices)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings' names."""
        return tuple(self._known)

    def listening_for(self, wake_word: Value) -> tuple[str, ...]:
        """Name the wake words behind a choice."""
        return tuple(wake_word_of_setting(model) for model in self._wake_choices[str(wake_word)])

    def read(self, command: Command) -> Value:
        """Read the value that a command asks for; raises `CommandError`."""
        if command.verb not in self._known:
            raise command.unknown(self.names)
        setting = self._known[command.verb]
        is_back = isinstance(command.value, str) and command.value.casefold() == AS_CONFIGURED
        return setting.configured if is_back else setting.read(command)

    def apply(self, pipeline: Pipeline, name: str, *, value: Value) -> list[Event]:
        """Put a value in force that `read` gave; raises `VoiceDaemonError` when it cannot be."""
        return self._known[name].apply(pipeline, value)

    def keep(self, name: str, value: Value) -> None:
        """Remember that a value is in force."""
        configured = self._known[name].configured
        is_another_word = name == WAKE_WORD and value != self.values[name]
        self.values[name] = value
        self.store.change(name, None if value == configured else Change(value, configured))
        if is_another_word:
            # It begins with its own threshold: a number for one word means nothing for another.
            self._know_threshold()
            self.keep(WAKE_THRESHOLD, self._known[WAKE_THRESHOLD].configured)

    def reconfigure(self, settings: Settings) -> dict[str, Value]:
        """Take a changed configuration over; give what has to be put in force for it, by name.

        What it changes is the newer word. What was changed here and not there stays, unless it
        cannot be had any more.
        """
        choices = wake_choices(settings.wake.models)
        before, known = self._known, _settings(settings, choices)
        word = self.values[WAKE_WORD]
        if known[WAKE_WORD].configured != before[WAKE_WORD].configured or word not in choices:
            word = known[WAKE_WORD].configured
        heard, hears = self._wake_choices.get(str(self.values[WAKE_WORD])), choices[str(word)]
        old = wake_thresholds(self._configured_settings.wake, heard or hears)
        self._configured_settings, self._known, self._wake_choices = settings, known, choices
        self._know_threshold(str(word))
        due = {
            name: setting.configured
            for name, setting in known.items()
            if name not in {WAKE_WORD, WAKE_THRESHOLD}
            and setting.configured != before[name].configured
        }
        if old != wake_thresholds(settings.wake, hears):
            due[WAKE_THRESHOLD] = known[WAKE_THRESHOLD].configured
        # The wake word first: another one begins with its own threshold.
        return ({WAKE_WORD: word} if heard != hears or word != self.values[WAKE_WORD] else {}) | due

    def _know_threshold(self, word: str | None = None) -> None:
        """Take the threshold of a choice of wake words for the configured one."""
        choice = self._wake_choices[word or str(self.values[WAKE_WORD])]
        self._known[WAKE_THRESHOLD] = _threshold_setting(self._configured_settings, choice)

    def _restore(self, name: str, change: Change) -> None:
        """Put in force what was changed in an earlier run, unless it has become meaningless."""
        setting = self._known.get(name)
        if setting is None or change.configured != setting.configured:
            self._forget(name, "the configuration has changed since")
            return
        try:
            value = setting.read(Command(name, value=change.value, kind=Kind.SETTING))
        except CommandError as error:
            self._forget(name, error.message)
            return
        self.values[name] = value
        if name == WAKE_WORD:
            self._know_threshold()
            self.values[WAKE_THRESHOLD] = self._known[WAKE_THRESHOLD].configured
        self.settings = setting.configure(self.settings, value)
        self.restored[name] = change

    def _forget(self, name: str, why: str) -> None:
        self.forgotten[name] = why
        self.store.change(name, None)


def _settings(settings: Settings, choices: Mapping[str, tuple[str, ...]]) -> dict[str, LiveSetting]:
    return {
        MUTE: LiveSetting(
            configured=False,
            read=Command.flag,
            apply=lambda pipeline, on: pipeline.mute() if on else pipeline.unmute(),
            configure=lambda settings, _: settings,
        ),
        WAKE_THRESHOLD: _threshold_setting(settings, next(iter(choices.values()))),
        SILENCE_MS: LiveSetting(
            configured=settings.session.silence_ms,
            read=_silence_ms,
            apply=lambda pipeline, silence_ms: pipeline.set_silence(silence_ms),
            configure=lambda settings, ms: _with(settings, "session", silence_ms=ms),
        ),
        WAKE_WORD: LiveSetting(
            configured=next(iter(choices)),
            read=lambda command: _one_of(command, tuple(choices)),
            apply=lambda pipeline, word: [
                *pipeline.choose_wake_words(choices[word]),
                *pipeline.set_thresholds(wake_thresholds(settings.wake, choices[word])),
            ],
            configure=lambda settings, word: _with(settings, "wake", models=choices[word]),
        ),
    }


def _threshold_setting(settings: Settings, models: tuple[str, ...]) -> LiveSetting:
    """Describe the threshold of the wake words in force: a number is for each of them."""
    own = wake_thresholds(settings.wake, models)
    configured = next(iter(own.values()))

    def by_word(threshold: float) -> dict[str, float]:
        return own if threshold == configured else dict.fromkeys(own, threshold)

    return LiveSetting(
        configured=configured,
        read=_threshold,
        apply=lambda pipeline, threshold: pipeline.set_thresholds(by_word(threshold)),
        configure=lambda settings, threshold: _with(
            settings, "wake", thresholds={**settings.wake.thresholds, **by_word(threshold)}
        ),
    )


def _with(settings: Settings, section: str, **values: object) -> Settings:
    changed = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: changed})


def _threshold(command: Command) -> float:
    return round(_within(command, THRESHOLD_RANGE), _THRESHOLD_DIGITS)


def _silence_ms(command: Command) -> int:
    number = _within(command, SILENCE_RANGE_MS)
    if not number.is_integer():
        raise command.refusal(
            "command.bad_value",
            f"{number:g} is not a whole number",
            remedy="send milliseconds, such as 700",
        )
    return int(number)


def _within(command: Command, limits: tuple[float, float]) -> float:
    number = command.number()
    lowest, highest = limits
    if not lowest <= number <= highest:
        raise command.refusal(
            "command.out_of_range",
            f"{number:g} is not within {lowest:g} to {highest:g}",
            remedy=f"send a number from {lowest:g} to {highest:g}, or {AS_CONFIGURED}",
        )
    return number


def _one_of(command: Command, choices: tuple[str, ...]) -> str:
    wanted = wake_word_key(str(command.value))
    alike = [choice for choice in choices if wake_word_key(choice) == wanted]
    if not alike:
        raise command.refusal(
            "command.bad_value",
            f"there is no wake word {str(command.value)!r}",
            remedy=f"send one of {', '.join(choices)}, or {AS_CONFIGURED}",
        )
    return str(command.value) if command.value in alike else alike[0]


def device_of(live: LiveSettings, topics: Topics) -> Device:
    """Describe the device to Home Assistant."""
    settings = live.settings
    return Device(
        topics=topics,
        prefix=settings.homeassistant.prefix,
        version=__version__,
        model=settings.asr.model,
        wake_words=live.wake_words,
        threshold_range=THRESHOLD_RANGE,
        silence_range_ms=SILENCE_RANGE_MS,
        area=settings.homeassistant.area or "",
        instance=live.store.instance(topics.node),
        speaks=settings.audio.plays,
    )


def info_of(live: LiveSettings) -> Info:
    """Say what the daemon starts with."""
    settings = live.settings
    return Info(
        __version__,
        settings.asr.model,
        live.listening_for(live.values[WAKE_WORD]),
        settings.audio.device,
        instance=secrets.token_hex(4),
    )
