"""Lines that outsiders can cause are bounded, and what was left out is known."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from support.manual_clock import ManualClock
from voice_daemon.config import LogSettings
from voice_daemon.logs.setup import BURST, MAX_NAMES, PER_S, RepeatFilter, configure


def passed(repeats: RepeatFilter, name: str, times: int) -> int:
    """Say something so often; give how often it passed."""
    n_passed = 0
    for _ in range(times):
        try:
            repeats(None, "warning", {"event": name})
        except structlog.DropEvent:
            continue
        n_passed += 1
    return n_passed


def test_a_burst_passes_and_a_flood_does_not() -> None:
    clock = ManualClock()
    repeats = RepeatFilter(clock_s=clock)
    assert passed(repeats, "mqtt.declared_offline", 20_000) == BURST
    clock.now_s += 10
    assert passed(repeats, "mqtt.declared_offline", 20_000) == 10 * PER_S


def test_a_flood_of_one_line_hides_no_other() -> None:
    repeats = RepeatFilter(clock_s=ManualClock())
    passed(repeats, "flood", 10_000)
    assert passed(repeats, "session.done", 1) == 1


def test_what_was_left_out_is_counted_on_the_next_line() -> None:
    clock = ManualClock()
    repeats = RepeatFilter(clock_s=clock)
    passed(repeats, "flood", BURST + 7)
    clock.now_s += 1
    assert repeats(None, "warning", {"event": "flood"}) == {"event": "flood", "repeats": 7}
    assert repeats(None, "warning", {"event": "flood"}) == {"event": "flood"}


def test_names_without_end_are_bounded_together() -> None:
    repeats = RepeatFilter(clock_s=ManualClock())
    n_passed = sum(passed(repeats, f"name {number}", 1) for number in range(10 * MAX_NAMES))
    assert n_passed == MAX_NAMES + BURST


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("restored")
def test_the_daemons_own_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    configure(LogSettings(), log_file=path, console=False)
    for number in range(10 * BURST):
        structlog.get_logger().warning("flood", number=number)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert BURST <= len(lines) < 2 * BURST
