"""The short version of `scripts/test-soak`, and its arithmetic."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from tools.soak.__main__ import report
from tools.soak.delivery_check import (
    DeliveryCheck,
    Footprint,
    Microphone,
    change,
    fates,
    footprint,
    read_log,
)
from tools.soak.fault_injector import CUT, RESTART
from tools.soak.gauges import Reading, _seconds
from tools.soak.recording import Recording
from tools.soak.soak import Plan, SoakResult, soak_daemon


@pytest.mark.slow  # half a minute of real time; scripts/test-soak is the long one
def test_no_final_is_lost_or_doubled_while_the_broker_comes_and_goes(tmp_path: Path) -> None:
    plan = Plan(Recording(hours=0.04, every_s=18), fault_every_s=0.5, ttl_s=60, read_every_s=0.25)
    check = soak_daemon(plan, tmp_path).check
    assert check.failures() == ()
    assert check.right_words == check.commands == plan.recording.n_commands
    assert check.fates.reported_lost == 0, "nobody was away for longer than a minute"
    assert check.faults[RESTART] >= 1
    assert check.faults[CUT] >= 1


def heard(**counts: Any) -> Any:
    empty: dict[str, Any] = {
        "finals": Counter(),
        "started": Counter(),
        "ended": Counter(),
        "reported_lost": set(),
        "n_reported_lost": 0,
        "redelivered": 0,
    }
    return SimpleNamespace(**empty | counts)


def test_a_final_is_missing_when_it_neither_arrived_nor_was_reported() -> None:
    ends = fates(
        ["a", "b", "c"],
        heard(finals=Counter({"a": 1}), reported_lost={"b"}, n_reported_lost=1),
    )
    assert ends.missing == ("c",)
    assert (ends.arrived, ends.reported_lost) == (1, 1)


def test_finals_lost_beyond_those_that_a_report_names_are_not_missing() -> None:
    ends = fates(["a", "b"], heard(reported_lost={"b"}, n_reported_lost=2))
    assert ends.missing == ()


def test_two_finals_of_a_session_are_a_doubled_one() -> None:
    assert fates(["a"], heard(finals=Counter({"a": 2}))).doubled == ("a",)


def test_a_session_that_never_ended_is_unbalanced() -> None:
    ends = fates([], heard(started=Counter({"a": 1, "b": 1}), ended=Counter({"a": 1})))
    assert ends.unbalanced_sessions == ("b",)


def test_the_first_fifth_is_compared_with_the_last() -> None:
    compared = change([1.0] * 20 + [5.0] * 60 + [2.0] * 19 + [9.0])
    assert (compared.first.p50, compared.last.p50) == (1, 2)
    assert (compared.last.p95, compared.last.largest) == (2, 9)


def test_the_log_is_read_by_its_events() -> None:
    log = read_log(
        [
            '{"event": "transcript.final", "level": "info", "session_id": "a"}',
            '{"event": "session.done", "level": "info", "session_id": "a", "compute_ms": 7}',
            '{"event": "asr.failed", "level": "error"}',
            '{"event": "mic.overflow", "level": "warning", "so_far": 2}',
            '{"event": "input.lost", "level": "warning"}',
        ]
    )
    assert (log.overflows, log.inputs_lost) == (2, 1)
    assert (log.finals, log.errors) == (("a",), ("asr.failed",))
    assert [session["compute_ms"] for session in log.sessions] == [7]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.25", 1.25), ("00:01:05", 65), ("2-01:00:00", 176_400), ("3:01.5", 181.5)],
)
def test_cpu_times_are_read_as_each_ps_writes_them(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


def test_no_two_slots_of_a_recording_are_alike_and_all_come_again(tmp_path: Path) -> None:
    recording = Recording(hours=1 / 60, every_s=15)
    recording.write(tmp_path / "a.flac")
    recording.write(tmp_path / "b.flac")
    samples, rate_hz = soundfile.read(tmp_path / "a.flac", dtype="int16")
    assert len(samples) == 60 * rate_hz == recording.n_commands * 15 * rate_hz
    assert np.array_equal(samples, soundfile.read(tmp_path / "b.flac", dtype="int16")[0])
    slots = samples.reshape(recording.n_commands, -1)
    assert not any(np.array_equal(slots[0], slot) for slot in slots[1:])


def check(**changes: Any) -> DeliveryCheck:
    """An hour in which all was well."""
    flat, sessions = change([1.0, 2.0]), list(map(str, range(100)))
    well: dict[str, Any] = {
        "hours": 1,
        "wall_s": 60.0,
        "commands": 100,
        "sessions": 100,
        "right_words": 100,
        "fates": fates(sessions, heard(finals=Counter(sessions))),
        "footprint": Footprint(400, 410, 420, 1.0, 1.1, (9, 9), None),
        "compute_ms": flat,
        "delivery_ms": flat,
        "faults": Counter({RESTART: 2}),
        "reconnects": 2,
        "exit_code": 0,
        "errors": (),
    }
    return DeliveryCheck(**well | changes)


def test_a_check_of_what_was_promised_has_no_failures_and_is_json() -> None:
    document = json.loads(json.dumps(check().to_dict()))
    assert document["failures"] == []
    assert document["faults"] == {RESTART: 2}
    assert document["growth_mb"] == 10
    assert "NOT AS PROMISED" not in report(check())


@pytest.mark.parametrize(
    "changes",
    [
        {"commands": 2, "sessions": 2, "fates": fates(["a", "b"], heard(finals=Counter("a")))},
        {"commands": 2, "sessions": 2, "fates": fates(["a", "b"], heard(finals=Counter("abb")))},
        {"sessions": 1},
        {"exit_code": 1},
        {"errors": ("asr.failed",)},
        {"microphone": Microphone(320, 0, 0)},
        {"microphone": Microphone(0, 1, 0)},
        {"microphone": Microphone(0, 0, 1)},
        {"footprint": Footprint(400, 440, 440, 1.0, 1.0, None, None)},
        {"footprint": Footprint(400, 400, 400, 1.0, 2.0, None, None)},
        {"footprint": Footprint(400, 400, 400, 1.0, 1.0, (9, 14), None)},
        {"footprint": Footprint(400, 400, 400, 1.0, 1.0, None, (20, 30))},
    ],
)
def test_whatever_is_not_as_promised_is_told(changes: dict[str, object]) -> None:
    assert len(check(**changes).failures()) == 1
    assert "NOT AS PROMISED" in report(check(**changes))


def test_the_first_commands_are_compared_with_the_last_and_not_with_the_loading() -> None:
    loading = [Reading(at_s, 0, 100.0 * at_s, at_s, 3, 10) for at_s in range(4)]
    working = [Reading(at_s, at_s, 400 + at_s, 2.0 * at_s, 9, 20 + at_s) for at_s in range(4, 24)]
    used = footprint([*loading, *working])
    assert (used.resident_mb_first, used.resident_mb_last) == (405.5, 421.5)
    assert used.cpu_s_a_command_first == used.cpu_s_a_command_last == 2
    assert used.threads_most == (9, 9)
    assert used.descriptors_most == (27, 43)


def test_a_soak_can_be_drawn(tmp_path: Path) -> None:
    pictures = pytest.importorskip("tools.soak.pictures", exc_type=ImportError)
    readings = tuple(Reading(at_s, at_s, 400.0, at_s, 9, 20) for at_s in range(3))
    pictures.draw(SoakResult(check(), readings, (500.0, 600.0), (0.01, 2.0)), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
