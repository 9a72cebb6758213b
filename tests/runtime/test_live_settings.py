"""What can be changed while the daemon runs: which values, what they change, what is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from support.fakes import FakeClock, FakeTranscriber, FakeVad, FakeWake
from voice_daemon.config import SessionSettings, Settings, WakeSettings
from voice_daemon.config.persisted import Change, SettingsStore
from voice_daemon.config.problems import bounds
from voice_daemon.events import State, StateChanged
from voice_daemon.mqtt.commands import Command, CommandError, Kind
from voice_daemon.runtime.live_settings import (
    CONFIG_KEYS,
    MUTE,
    SILENCE_MS,
    SILENCE_RANGE_MS,
    THRESHOLD_RANGE,
    WAKE_THRESHOLD,
    WAKE_WORD,
    LiveSettings,
)
from voice_daemon.session.pipeline import Pipeline, PipelineOptions
from voice_daemon.wake.models import EVERY, wake_thresholds


def live(settings: Settings | None = None, store: SettingsStore | None = None) -> LiveSettings:
    settings = settings or Settings()
    return LiveSettings(settings, store=store)


def read(name: str, value: Any, *, of: LiveSettings | None = None) -> Any:
    return (of or live()).read(Command(name, value=value, kind=Kind.SETTING))


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        (MUTE, "ON", True),
        (MUTE, False, False),
        (WAKE_THRESHOLD, 0.6, 0.6),
        (WAKE_THRESHOLD, 0.01, 0.01),
        (WAKE_THRESHOLD, 0.30000000000000004, 0.3),
        (SILENCE_MS, 900, 900),
        (SILENCE_MS, 900.0, 900),
        (WAKE_WORD, "alexa", "alexa"),
        (WAKE_WORD, "Hey Jarvis", "hey_jarvis"),
        (WAKE_THRESHOLD, "default", 0.5),
        (SILENCE_MS, "Default", 700),
        (MUTE, "default", False),
        (WAKE_WORD, "default", "hey_jarvis"),
    ],
)
def test_a_good_value_is_understood(name: str, value: object, meant: object) -> None:
    found = read(name, value)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (MUTE, "maybe", "'maybe'"),
        (MUTE, None, "None"),
        (WAKE_THRESHOLD, 1, "1 is not within 0.01 to 0.99"),
        (WAKE_THRESHOLD, 0, "0 is not within"),
        (WAKE_THRESHOLD, "high", "'high'"),
        (WAKE_THRESHOLD, True, "True"),
        (SILENCE_MS, 100, "100 is not within 200 to 5000"),
        (SILENCE_MS, 700.5, "700.5 is not a whole number"),
        (WAKE_WORD, "computer", "'computer'"),
        (WAKE_WORD, 5, "'5'"),
        ("wake_treshold", 0.5, "no such"),
    ],
)
def test_a_bad_value_is_refused_by_name_and_with_a_remedy(
    name: str, value: object, says: str
) -> None:
    with pytest.raises(CommandError) as caught:
        read(name, value)
    assert caught.value.message.startswith(f"{name}/set: ")
    assert says in caught.value.message
    assert caught.value.remedy


def test_the_bounds_are_the_configurations() -> None:
    assert bounds(WakeSettings.model_fields["threshold"]) == THRESHOLD_RANGE
    assert bounds(SessionSettings.model_fields["silence_ms"]) == SILENCE_RANGE_MS


def test_every_key_that_is_stood_in_for_exists() -> None:
    for section, key in CONFIG_KEYS.values():
        assert key in type(getattr(Settings(), section)).model_fields


def test_several_configured_wake_words_are_one_choice_among_them() -> None:
    settings = Settings(wake=WakeSettings(models=("hey_jarvis", "alexa")))
    several = live(settings)
    assert several.values[WAKE_WORD] == EVERY
    assert several.listening_for(EVERY) == ("hey_jarvis", "alexa")
    assert several.listening_for("alexa") == ("alexa",)
    assert read(WAKE_WORD, "default", of=several) == EVERY


def test_each_is_applied_to_the_pipeline() -> None:
    wake = FakeWake(clock=FakeClock())
    pipeline = Pipeline(
        wake=wake,
        vad=FakeVad(),
        transcriber=FakeTranscriber(words=[]),
        options=PipelineOptions(),
        now_sample=FakeClock(),
        new_session_id=lambda: "s1",
    )
    settings = live()
    settings.apply(pipeline, WAKE_THRESHOLD, value=0.8)
    settings.apply(pipeline, SILENCE_MS, value=900)
    settings.apply(pipeline, WAKE_WORD, value="alexa")
    assert (wake.thresholds, wake.models) == ({"alexa": 0.5}, ("alexa",))
    assert settings.apply(pipeline, MUTE, value=True) == [StateChanged(State.MUTED)]
    assert settings.apply(pipeline, MUTE, value=False) == [StateChanged(State.IDLE)]


def test_a_change_is_in_force_in_the_next_run() -> None:
    store = SettingsStore()
    first = live(store=store)
    first.keep(WAKE_WORD, "alexa")
    first.keep(WAKE_THRESHOLD, 0.7)
    first.keep(SILENCE_MS, 900)
    first.keep(MUTE, value=True)
    second = live(store=store)
    assert second.values == {MUTE: True, WAKE_THRESHOLD: 0.7, SILENCE_MS: 900, WAKE_WORD: "alexa"}
    assert second.settings.wake.thresholds == {"alexa": 0.7}
    assert second.settings.session.silence_ms == 900
    assert second.settings.wake.models == ("alexa",)
    assert second.restored.keys() == second.values.keys()


def test_each_wake_word_has_its_own_threshold() -> None:
    store = SettingsStore()
    wake = WakeSettings(models=("hey_jarvis",), thresholds={"alexa": 0.8, "Hey Mycroft": 0.3})
    settings = live(Settings(wake=wake), store)
    settings.keep(WAKE_THRESHOLD, 0.6)
    settings.keep(WAKE_WORD, "alexa")
    assert settings.values[WAKE_THRESHOLD] == 0.8
    assert read(WAKE_THRESHOLD, "default", of=settings) == 0.8
    assert store.state.changes.keys() == {WAKE_WORD}
    again = live(Settings(wake=wake), store)
    assert (again.values[WAKE_WORD], again.values[WAKE_THRESHOLD]) == ("alexa", 0.8)
    settings.keep(WAKE_WORD, "hey_mycroft")
    assert settings.values[WAKE_THRESHOLD] == 0.3


def test_a_changed_configuration_gives_the_word_in_force_its_new_threshold() -> None:
    settings = live()
    settings.keep(WAKE_WORD, "alexa")
    of_another = Settings(wake=WakeSettings(thresholds={"hey_jarvis": 0.9}))
    assert settings.reconfigure(of_another) == {}
    its_own = Settings(wake=WakeSettings(thresholds={"alexa": 0.9}))
    assert settings.reconfigure(its_own) == {WAKE_THRESHOLD: 0.9}


def test_what_is_set_back_is_remembered_no_more() -> None:
    store = SettingsStore()
    settings = live(store=store)
    settings.keep(WAKE_THRESHOLD, 0.7)
    settings.keep(WAKE_THRESHOLD, 0.5)
    assert store.state.changes == {}


def test_a_configuration_that_was_changed_since_is_the_newer_word() -> None:
    store = SettingsStore()
    live(store=store).keep(WAKE_THRESHOLD, 0.7)
    later = live(Settings(wake=WakeSettings(threshold=0.4)), store)
    assert later.values[WAKE_THRESHOLD] == 0.4
    assert wake_thresholds(later.settings.wake, ("hey_jarvis",)) == {"hey_jarvis": 0.4}
    assert later.forgotten.keys() == {WAKE_THRESHOLD}
    assert store.state.changes == {}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (WAKE_THRESHOLD, Change(7, 0.5)),
        (WAKE_WORD, Change("gone", "hey_jarvis")),
        (SILENCE_MS, Change("long", 700)),
        ("of_another_version", Change(1, 0)),
    ],
)
def test_what_means_nothing_any_more_is_forgotten(name: str, change: Change) -> None:
    store = SettingsStore()
    store.change(name, change)
    settings = live(store=store)
    assert settings.values == live().values
    assert settings.settings == Settings()
    assert settings.forgotten.keys() == {name}
    assert store.state.changes == {}
