"""A changed configuration in a daemon that runs: what is taken over how, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from support.apps import EndlessRoom, make_app
from voice_daemon.app import Input
from voice_daemon.config import Settings
from voice_daemon.errors import ConfigError, ModelError, VoiceDaemonError
from voice_daemon.runtime.reloader import (
    ApplyMode,
    Configuration,
    apply_mode,
    changed_keys,
    key_text,
    taking_over,
)

START = Settings(node_id="test")


def changed(settings: Settings = START, **keys: object) -> Settings:
    """Give settings with other values: `asr__model="x"`."""
    for name, value in keys.items():
        section, key = name.split("__")
        inner = getattr(settings, section).model_copy(update={key: value})
        settings = settings.model_copy(update={section: inner})
    return settings


@dataclass
class Reloading:
    """A daemon that is not started, and the configuration that it would read."""

    file: Settings = START
    relogged: list[str] = field(default_factory=list)
    refusal: VoiceDaemonError | None = None
    unusable: VoiceDaemonError | None = None

    def __post_init__(self) -> None:
        self.daemon = make_app(
            1,
            Input(EndlessRoom),
            settings=self.file,
            configuration=Configuration(
                settings=self.file, read=self._read, check=self._check, relog=self._relog
            ),
        )

    def _read(self) -> Settings:
        if self.refusal is not None:
            raise self.refusal
        return self.file

    def _check(self, _settings: Settings) -> None:
        if self.unusable is not None:
            raise self.unusable

    def _relog(self, settings: Settings) -> None:
        self.relogged.append(settings.log.level)

    def change(self, **keys: object) -> dict[str, list[str]]:
        self.file = changed(self.file, **keys)
        assert self.daemon.parts.reloader is not None
        return self.daemon.parts.reloader.reload().to_dict()


@pytest.fixture
def reloading() -> Iterator[Reloading]:
    reloading = Reloading()
    yield reloading
    reloading.daemon.parts.mqtt.stop(0)


def every_key() -> list[tuple[str, str]]:
    return [
        (section, name)
        for section, values in START.model_dump().items()
        if isinstance(values, dict)
        for name in values
    ]


def test_keys_that_are_taken_over_exist() -> None:
    at_once = {key_text(key) for key in every_key() if apply_mode(key) is ApplyMode.AT_ONCE}
    assert {"wake.threshold", "session.silence_ms", "log.level", "audio.preroll_ms"} <= at_once
    assert len(at_once) == 23


@pytest.mark.parametrize("section", ["asr", "mqtt", "homeassistant", "arbitration", "wyoming"])
def test_the_recogniser_and_connections_need_a_restart(section: str) -> None:
    assert {apply_mode(key) for key in every_key() if key[0] == section} == {ApplyMode.RESTART}


def test_differences_are_found_in_every_section() -> None:
    new = changed(wake__threshold=0.7, asr__prompt="Ada").model_copy(update={"node_id": "other"})
    assert set(changed_keys(START, new)) == {
        ("", "node_id"),
        ("wake", "threshold"),
        ("asr", "prompt"),
    }
    assert changed_keys(START, START) == ()


def test_only_the_keys_named_are_taken_over() -> None:
    new = changed(wake__threshold=0.7, mqtt__port=8883)
    taken = taking_over(START, new, (("wake", "threshold"),))
    assert (taken.wake.threshold, taken.mqtt.port) == (0.7, 1883)


def test_without_a_change_nothing_is_done(reloading: Reloading) -> None:
    assert reloading.change() == {"applied": [], "restart": []}
    assert reloading.relogged == []


def test_each_key_comes_into_force_in_its_way(reloading: Reloading) -> None:
    result = reloading.change(
        audio__silence_alarm_s=60.0, log__level="debug", asr__model="base.en", mqtt__port=8883
    )
    assert result == {
        "applied": ["audio.silence_alarm_s", "log.level"],
        "restart": ["asr.model", "mqtt.port"],
    }
    assert reloading.relogged == ["debug"]
    assert reloading.daemon.parts.worker.silence_alarm_s == 60


def test_a_key_that_needs_a_restart_is_named_every_time(reloading: Reloading) -> None:
    reloading.change(asr__step_s=0.25)
    assert reloading.change(wake__threshold=0.7) == {
        "applied": ["wake.threshold"],
        "restart": ["asr.step_s"],
    }


@pytest.mark.parametrize("read", [True, False], ids=["configuration", "model"])
def test_a_wrong_configuration_is_refused_whole(
    reloading: Reloading,
    read: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    if read:
        reloading.refusal = ConfigError("config.invalid", "[wake] threshold = 7", remedy="")
    else:
        reloading.unusable = ModelError("wake.unknown_model", "no such word", remedy="another")
    with pytest.raises((ConfigError, ModelError)):
        reloading.change(wake__threshold=0.7, audio__silence_alarm_s=60.0, log__level="debug")
    assert reloading.relogged == []
    assert reloading.daemon.parts.worker.silence_alarm_s == 10
    reloading.refusal = reloading.unusable = None
    assert len(reloading.change()["applied"]) == 3
