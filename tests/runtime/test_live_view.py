"""What is shown of this moment to whoever watches, and how it is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rigs.brokers import DEADLINE_S, eventually
from support.apps import EndlessRoom, Running, command, make_app
from support.manual_clock import ManualClock
from support.transcripts import final_of
from voice_daemon._lib.terminal import Painter
from voice_daemon.app import Input
from voice_daemon.cli.status_view import METER_CELLS, change_text, live_lines
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError
from voice_daemon.events import SessionStarted, TranscriptPartial
from voice_daemon.runtime.live_view import PEAK_S, WATCHED_S, LiveSnapshot, LiveTranscript, LiveView

STARTED = SessionStarted("a1", "hey_jarvis", 0)
PARTIAL = TranscriptPartial("a1", 1, "turn on", " the", "en", 900, 310)
FINAL = final_of("a1", "Turn on.")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def live_view(clock: ManualClock) -> LiveView:
    return LiveView(clock_s=clock)


def test_words_are_kept_while_somebody_watches(live_view: LiveView) -> None:
    live_view.snapshot()
    live_view.on_event(STARTED)
    assert live_view.snapshot()[1] == LiveTranscript("a1")
    live_view.on_event(PARTIAL)
    assert live_view.snapshot()[1] == LiveTranscript("a1", "turn on", " the", lag_ms=310)
    live_view.on_event(FINAL)
    assert live_view.snapshot()[1] == LiveTranscript("a1", "Turn on.", is_final=True, lag_ms=310)


def test_nothing_that_was_said_is_kept_for_nobody(live_view: LiveView, clock: ManualClock) -> None:
    live_view.on_event(PARTIAL)
    assert live_view.snapshot()[1] is None
    live_view.on_event(PARTIAL)
    clock.now_s += WATCHED_S
    assert live_view.snapshot()[1] is None


def test_a_wake_words_peak_is_seen_for_a_while(live_view: LiveView, clock: ManualClock) -> None:
    for score in (0.1, 0.9, 0.2):
        live_view.on_scores({"hey_jarvis": score})
    assert live_view.snapshot()[0] == {"hey_jarvis": 0.9}
    clock.now_s += PEAK_S + 0.1
    live_view.on_scores({"hey_jarvis": 0.05})
    assert live_view.snapshot()[0] == {"hey_jarvis": 0.05}


@pytest.mark.parametrize("words", [None, LiveTranscript("a1", "turn on", " the", lag_ms=9)])
@pytest.mark.parametrize("level_dbfs", [-33.5, -math.inf])
def test_a_moment_survives_the_socket(words: LiveTranscript | None, level_dbfs: float) -> None:
    moment = LiveSnapshot("idle", level_dbfs, {"alexa": 0.5}, 0.6, "a1", words)
    assert LiveSnapshot.from_dict(moment.to_dict()) == moment


def drawn(moment: LiveSnapshot) -> list[str]:
    return list(live_lines(moment, Painter(colour=False)))


@pytest.mark.parametrize(
    ("level_dbfs", "cells"),
    [(-math.inf, 0), (-80.0, 0), (-40.0, METER_CELLS // 2), (0.0, METER_CELLS), (6.0, METER_CELLS)],
)
def test_the_level_meter_fills_with_the_level(level_dbfs: float, cells: int) -> None:
    line = drawn(LiveSnapshot("idle", level_dbfs, {}, 0.5, None, None))[0]
    assert line.count("█") == cells
    assert line.index("▏") == drawn(LiveSnapshot("idle", -1.0, {}, 0.5, None, None))[0].rindex("▏")


def test_a_change_tells_state_words_and_lag() -> None:
    moment = LiveSnapshot(
        "listening", -20.0, {}, 0.5, "a1", LiveTranscript("a1", "turn on", " the", lag_ms=310)
    )
    assert change_text(moment) == "listening  session a1  words “turn on” [the]  310 ms behind"


@pytest.fixture
def socket_path(short_folder: Path) -> Path:
    return short_folder / "voice-daemon.sock"


def test_a_running_daemon_shows_what_is_said_to_whoever_watches(
    socket_path: Path, mosquitto_port: int
) -> None:
    scene = command()
    room = EndlessRoom(scene.samples)
    app = make_app(mosquitto_port, Input(lambda: room), scene=scene, socket_path=socket_path)
    client = ControlClient(socket_path, timeout_s=DEADLINE_S)
    seen: list[LiveSnapshot] = []

    def watch() -> None:
        def said() -> bool:
            try:
                seen.append(LiveSnapshot.from_dict(client.request("watch")))
            except ControlError:
                return False  # not listening yet
            words = seen[-1].words
            return words is not None and words.is_final

        eventually(said, "the final is seen")

    assert Running(app, watch).run() == 0
    assert seen[-1].words is not None
    assert seen[-1].words.text == "turn on the kitchen lights"
