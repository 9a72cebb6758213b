"""A changed configuration in a daemon that runs: what is taken over how, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from voice_daemon.config import Settings
from voice_daemon.config.state import Value
from voice_daemon.errors import ConfigError, ModelError, Problem, VoiceDaemonError
from voice_daemon.runtime.reload import (
    NOT_SWITCHED,
    ApplyMode,
    Configuration,
    Hands,
    Reloader,
    changed_keys,
    key_text,
    taking_over,
    way_of,
)

START = Settings(node_id="test")
BROKEN = ModelError("model.bad", "a tensor is missing", remedy="fetch it again")


def changed(settings: Settings = START, **keys: object) -> Settings:
    """Give settings with other values: `asr__model="x"`."""
    for name, value in keys.items():
        section, key = name.split("__")
        inner = getattr(settings, section).model_copy(update={key: value})
        settings = settings.model_copy(update={section: inner})
    return settings


@dataclass
class Daemon:
    """A reloader whose hands only note what they are asked to do."""

    file: Settings = START
    log: list[str] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)
    switches: list[tuple[Settings, Callable[[VoiceDaemonError | None], None]]] = field(
        default_factory=list
    )
    due: dict[str, Value] = field(default_factory=dict)
    refuse: VoiceDaemonError | None = None
    check: VoiceDaemonError | None = None

    def __post_init__(self) -> None:
        self.reloader = Reloader(
            Configuration(
                settings=self.file, read=self._read, check=self._check, relog=self._relog
            ),
            Hands(
                tune=lambda _: self.log.append("tune"),
                reconfigure=lambda _: self.due,
                set_live=lambda name, value: self.log.append(f"{name}={value}"),
                switch=self._switch,
                switched=lambda settings: self.log.append(f"switched {settings.asr.model}"),
                raise_problem=self.problems.__setitem__,
                clear_problem=self._clear,
            ),
        )

    def _read(self) -> Settings:
        if self.refuse is not None:
            raise self.refuse
        return self.file

    def _check(self, _settings: Settings) -> None:
        if self.check is not None:
            raise self.check

    def _relog(self, settings: Settings) -> None:
        self.log.append(f"log {settings.log.level}")

    def _clear(self, code: str) -> None:
        self.problems.pop(code, None)

    def _switch(
        self, settings: Settings | None, done: Callable[[VoiceDaemonError | None], None]
    ) -> None:
        if settings is None:
            self.log.append("drop")
        else:
            self.switches.append((settings, done))

    def change(self, **keys: object) -> dict[str, object]:
        self.file = changed(self.file, **keys)
        return self.reloader.reload().to_dict()


def every_key() -> list[tuple[str, str]]:
    return [
        (section, name)
        for section, values in START.model_dump().items()
        if isinstance(values, dict)
        for name in values
    ]


def test_keys_that_are_taken_over_exist() -> None:
    at_once = {key_text(key) for key in every_key() if way_of(key) is ApplyMode.AT_ONCE}
    assert {"wake.threshold", "session.silence_ms", "log.level", "audio.preroll_ms"} <= at_once
    assert len(at_once) == 14
    assert all(way_of(key) is ApplyMode.RECOGNISER for key in every_key() if key[0] == "asr")


@pytest.mark.parametrize("section", ["mqtt", "homeassistant", "arbitration", "wyoming"])
def test_connections_need_a_restart(section: str) -> None:
    assert {way_of(key) for key in every_key() if key[0] == section} == {ApplyMode.RESTART}


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


def test_nothing_changed_is_nothing_done() -> None:
    daemon = Daemon()
    assert daemon.change() == {"applied": [], "loading": [], "restart": []}
    assert daemon.log == []


def test_each_key_comes_into_force_in_its_way() -> None:
    daemon = Daemon(due={"wake_threshold": 0.7})
    answer = daemon.change(
        wake__threshold=0.7, log__level="debug", asr__model="base.en", mqtt__port=8883
    )
    assert answer == {
        "applied": ["wake.threshold", "log.level"],
        "loading": ["asr.model"],
        "restart": ["mqtt.port"],
    }
    assert daemon.log == ["log debug", "tune", "wake_threshold=0.7"]
    assert daemon.reloader.in_force.asr.model == "tiny.en"
    assert daemon.reloader.progress()["switch"] == "loading"


def test_what_needs_a_restart_is_told_every_time() -> None:
    daemon = Daemon()
    daemon.change(mqtt__port=8883)
    assert daemon.change(wake__threshold=0.7)["restart"] == ["mqtt.port"]


@pytest.mark.parametrize("read", [True, False], ids=["configuration", "model"])
def test_a_wrong_configuration_is_refused_whole(
    read: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    daemon = Daemon()
    if read:
        daemon.refuse = ConfigError("config.invalid", "[wake] threshold = 7", remedy="")
    else:
        daemon.check = ModelError("wake.unknown_model", "no such word", remedy="take another")
    with pytest.raises((ConfigError, ModelError)):
        daemon.change(wake__threshold=0.7, session__max_s=10.0)
    assert daemon.log == []
    assert daemon.reloader.in_force == START


def test_a_recogniser_that_is_warm_takes_over_and_is_told() -> None:
    daemon = Daemon()
    daemon.change(asr__model="base.en", asr__step_s=0.25)
    settings, done = daemon.switches[0]
    assert (settings.asr.model, settings.asr.step_s) == ("base.en", 0.25)
    done(None)
    assert daemon.log == ["tune", "switched base.en"]
    assert daemon.reloader.in_force.asr.model == "base.en"
    assert daemon.reloader.progress() == {"switch": "done", "model": "base.en"}
    assert daemon.change()["loading"] == []


def test_a_recogniser_that_fails_is_a_problem_and_the_old_one_goes_on() -> None:
    daemon = Daemon()
    daemon.change(asr__model="broken")
    daemon.switches[0][1](BROKEN)
    assert daemon.reloader.in_force.asr.model == "tiny.en"
    problem = daemon.problems[NOT_SWITCHED]
    assert "broken cannot be used, tiny.en goes on: a tensor is missing" in problem.message
    assert daemon.reloader.progress()["switch"] == "refused"
    daemon.change(asr__model="tiny.en")
    assert daemon.problems == {}
    assert daemon.reloader.progress()["switch"] == "none"


def test_the_problem_goes_when_another_recogniser_works() -> None:
    daemon = Daemon()
    daemon.change(asr__model="broken")
    daemon.switches[0][1](BROKEN)
    daemon.change(asr__model="base.en")
    daemon.switches[1][1](None)
    assert daemon.problems == {}


def test_a_change_taken_back_while_it_loads_is_dropped() -> None:
    daemon = Daemon()
    daemon.change(asr__model="base.en")
    daemon.change(asr__model="tiny.en")
    assert daemon.log == ["drop"]
    assert len(daemon.switches) == 1


def test_of_two_changes_the_newer_one_has_the_last_word() -> None:
    daemon = Daemon()
    daemon.change(asr__model="broken")
    daemon.change(asr__model="base.en")
    daemon.switches[0][1](BROKEN)
    assert daemon.problems == {}
    daemon.switches[1][1](None)
    assert daemon.reloader.in_force.asr.model == "base.en"


def test_what_is_set_while_a_recogniser_loads_is_not_undone_by_it() -> None:
    daemon = Daemon()
    daemon.change(asr__model="base.en")
    daemon.change(session__max_s=9.0)
    daemon.switches[-1][1](None)
    assert daemon.reloader.in_force.session.max_s == 9.0
    assert daemon.reloader.in_force.asr.model == "base.en"
