"""Scenes and questions that the pipeline's tests share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from support.fakes import Rig, Scene
from voice_daemon.events import EndReason, Event, SessionEnded, State, StateChanged, ms_to_samples

E = TypeVar("E")
COMMAND = "turn on the kitchen lights"


def of(kind: type[E], events: Iterable[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def states(events: Iterable[Event]) -> list[State]:
    return [event.state for event in of(StateChanged, events)]


def reasons(events: Iterable[Event]) -> list[tuple[EndReason, int]]:
    return [(event.reason, event.finals) for event in of(SessionEnded, events)]


def continuous(command: str = COMMAND) -> Scene:
    return Scene().silence(2000).wake(late_ms=80).say(command).silence(2000)


def paused(command: str = COMMAND, *, pause_ms: float = 600) -> Scene:
    return Scene().silence(2000).wake(late_ms=80).silence(pause_ms).say(command).silence(2000)


def in_speech(rig: Rig) -> list[Event]:
    """Play a continuous scene until somebody is in the middle of the command."""
    return rig.play(until=rig.scene.wakes[0] + ms_to_samples(900))
