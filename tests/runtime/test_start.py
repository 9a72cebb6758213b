"""A start that hangs: reported, given up at its deadline, and after three without a part."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from support.apps import EndlessRoom, Running, make_app, on
from support.subscriber import Subscriber
from voice_daemon.app import Input
from voice_daemon.config import Settings
from voice_daemon.config.persisted import HungStart, SettingsStore, read_state
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import EXIT_FAULT, VoiceDaemonError
from voice_daemon.runtime import start
from voice_daemon.runtime.start import HUNG_STARTS, Part, StartStep, StartSupervisor

ENOUGH_S = start.DEADLINE_S + 1


def hang(store: SettingsStore, step: StartStep, *, settings: Settings | None = None) -> None:
    """Start once, up to the deadline in this step."""
    supervisor = StartSupervisor(settings or Settings(), store)
    supervisor.begin(step)
    assert supervisor.overdue(ENOUGH_S) is not None


def test_the_time_that_the_process_was_stopped_is_no_part_of_the_start() -> None:
    clock = [100.0]
    supervisor = StartSupervisor(Settings(), SettingsStore(), clock_s=lambda: clock[0])
    assert supervisor.lasts_s(awake_since_s=0) == 0
    supervisor.begin(StartStep.WAKE)
    clock[0] += 500
    assert supervisor.lasts_s(awake_since_s=590) == 10


@pytest.mark.parametrize(
    ("step", "part", "setting"),
    [
        (StartStep.WAKE, Part.WAKE_WORD, "wake.models"),
        (StartStep.MODEL, Part.RECOGNISER, "asr.model"),
        (StartStep.WARM_UP, Part.RECOGNISER, "asr.model"),
    ],
)
def test_the_part_that_hung_three_times_is_left_out(
    step: StartStep, part: Part, setting: str
) -> None:
    store = SettingsStore()
    for _ in range(HUNG_STARTS):
        assert StartSupervisor(Settings(), store).left_out is None
        hang(store, step)
    supervisor = StartSupervisor(Settings(), store)
    assert supervisor.left_out is part
    problem = supervisor.safe_mode()
    assert problem is not None
    assert (problem.part, setting in problem.message) == (part, True)


def test_only_starts_that_hang_in_one_part_count() -> None:
    store = SettingsStore()
    hang(store, StartStep.WAKE)
    hang(store, StartStep.WAKE)
    hang(store, StartStep.MODEL)
    assert StartSupervisor(Settings(), store).left_out is None


def test_a_start_that_came_to_its_end_is_a_clean_slate() -> None:
    store = SettingsStore()
    for _ in range(HUNG_STARTS - 1):
        hang(store, StartStep.WAKE)
    StartSupervisor(Settings(), store).ended()
    assert store.state.hung_start is None


def test_the_start_after_a_safe_mode_tries_the_part_once_more() -> None:
    store = SettingsStore()
    for _ in range(HUNG_STARTS):
        hang(store, StartStep.WAKE)
    StartSupervisor(Settings(), store).ended()
    assert StartSupervisor(Settings(), store).left_out is None
    hang(store, StartStep.WAKE)
    assert StartSupervisor(Settings(), store).left_out is Part.WAKE_WORD


def test_another_model_is_tried_at_once() -> None:
    store = SettingsStore()
    for _ in range(HUNG_STARTS):
        hang(store, StartStep.WAKE)
    other = Settings()
    other = other.model_copy(update={"wake": other.wake.model_copy(update={"models": ("alexa",)})})
    assert StartSupervisor(other, store).left_out is None


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PROBLEM_S", 0.2)
    monkeypatch.setattr(start, "DEADLINE_S", 0.6)
    monkeypatch.setattr("voice_daemon.app.WORKER_STOP_S", 0.1)
    monkeypatch.setattr("voice_daemon.runtime.housekeeping.LONGEST_PAUSE_S", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_a_start_that_hangs_ends_with_75_and_says_where(
    mosquitto_port: int, subscriber: Subscriber, tmp_path: Path
) -> None:
    codes: list[int] = []
    app = make_app(
        mosquitto_port,
        Input(EndlessRoom),
        hang=StartStep.MODEL,
        changes_file=tmp_path / "state.json",
        left=codes.append,
    )
    with pytest.raises(VoiceDaemonError, match="loading the recogniser did not end"):
        app.run()
    assert codes == [EXIT_FAULT]
    subscriber.wait_for(lambda _: len(on(subscriber, "error")) == 2)
    assert [e["code"] for e in on(subscriber, "error")] == [
        "daemon.start_slow",
        "daemon.start_hung",
    ]
    hung_start = read_state(tmp_path / "state.json").hung_start
    assert hung_start is not None
    assert (hung_start.part, hung_start.in_a_row) == ("asr", 1)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("step", [StartStep.WAKE, StartStep.WARM_UP])
def test_safe_mode_is_told_everywhere(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, step: StartStep
) -> None:
    part = Part.WAKE_WORD if step is StartStep.WAKE else Part.RECOGNISER
    store = SettingsStore(voice_home / "state.json")
    supervisor = StartSupervisor(Settings(), store)
    supervisor.begin(step)
    for _ in range(HUNG_STARTS):
        supervisor.overdue(ENOUGH_S)
    store.save()
    client = ControlClient(voice_home / "s")
    told: dict[str, Any] = {}
    ready = threading.Event()

    def script() -> None:
        subscriber.wait_for(lambda _: "degraded" in on(subscriber, "state"))
        told["status"] = client.request("status")
        if part is Part.RECOGNISER:
            with pytest.raises(VoiceDaemonError, match="without its recogniser"):
                client.request("listen")
        else:
            client.request("listen")
            subscriber.wait_for(lambda _: bool(on(subscriber, "session")))
        ready.set()

    app = make_app(
        mosquitto_port,
        Input(EndlessRoom),
        hang=step,
        socket_path=voice_home / "s",
        changes_file=voice_home / "state.json",
    )
    assert Running(app, script).run() == 0
    assert ready.is_set()
    assert "safe mode" in told["status"]["problems"][0]["message"]
    assert on(subscriber, "error")[0]["code"] == "daemon.safe_mode"
    kept = read_state(voice_home / "state.json").hung_start
    assert kept == HungStart(part, HUNG_STARTS - 1, kept.models if kept else "")
