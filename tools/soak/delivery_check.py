"""Delivery check of a soak: what was said, what arrived, and its cost at the start and the end.

Pure: reads the daemon's log and what the subscriber counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from tools.soak.gauges import Reading
from tools.soak.subscribers import PersistentSubscriber

PARTS: Final = 5
"""The first and the last part of so many are compared."""
GROWTH_MAX_MB: Final = 30.0
"""Of resident memory, from the first part's median to the last part's; allocators breathe."""
COST_GROWTH_MAX: Final = 1.5
"""Of CPU time a command, last part by first: other programs share caches and cores."""
COST_COMMANDS: Final = 100
"""Fewer say nothing about cost: a fifth of them is a handful, begun and ended anywhere."""
COMMAND: Final = "turn on the kitchen lights"


@dataclass(frozen=True, slots=True)
class Fates:
    """Fates of the finals that the daemon said, and of its sessions."""

    said: int
    arrived: int
    reported_lost: int
    missing: tuple[str, ...]
    """Sessions whose final neither arrived nor was reported lost."""
    doubled: tuple[str, ...]
    """Sessions with more than one final; the same one again is `redelivered`."""
    redelivered: int
    """Messages of all kinds that came again to the byte."""
    lost_and_arrived: int
    """Reported lost although it arrived: its acknowledgement was."""
    unbalanced_sessions: tuple[str, ...]
    """Without exactly one `started` and one `ended`."""


def fates(said: Sequence[str], subscriber: PersistentSubscriber) -> Fates:
    """Follow each final that the daemon's log has."""
    unnamed = subscriber.n_reported_lost - len(subscriber.reported_lost)
    missing = [s for s in said if s not in subscriber.finals and s not in subscriber.reported_lost]
    sessions = subscriber.started.keys() | subscriber.ended.keys()
    return Fates(
        said=len(said),
        arrived=len(subscriber.finals),
        reported_lost=subscriber.n_reported_lost,
        missing=tuple(missing[unnamed:]),
        doubled=tuple(s for s, count in subscriber.finals.items() if count > 1),
        redelivered=subscriber.redelivered,
        lost_and_arrived=len(subscriber.reported_lost & subscriber.finals.keys()),
        unbalanced_sessions=tuple(
            s for s in sessions if (subscriber.started[s], subscriber.ended[s]) != (1, 1)
        ),
    )


@dataclass(frozen=True, slots=True)
class Log:
    """Sessions in the daemon's log."""

    finals: tuple[str, ...]
    """Sessions with a final, in order."""
    sessions: tuple[Mapping[str, Any], ...]
    """The line of each session that ended."""
    errors: tuple[str, ...]
    """Names of events at level error."""
    overflows: int
    """How often audio was lost before it reached the daemon, by PortAudio."""
    inputs_lost: int
    """How often the input was given up and opened again."""


def read_log(lines: Iterable[str]) -> Log:
    """Read the log's JSON lines."""
    records = [json.loads(line) for line in lines]
    return Log(
        finals=tuple(r["session_id"] for r in records if r["event"] == "transcript.final"),
        sessions=tuple(r for r in records if r["event"] == "session.done"),
        errors=tuple(r["event"] for r in records if r["level"] == "error"),
        overflows=max((r["so_far"] for r in records if r["event"] == "mic.overflow"), default=0),
        inputs_lost=sum(r["event"] == "input.lost" for r in records),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of some values."""

    p50: float
    p95: float
    largest: float


def spread(values: Sequence[float]) -> Spread:
    """Give percentiles: the smallest value that so many per cent do not exceed."""
    ordered = sorted(values)

    def at(percent: int) -> float:
        return ordered[(percent * len(ordered) + 99) // 100 - 1]

    return Spread(at(50), at(95), ordered[-1])


@dataclass(frozen=True, slots=True)
class Change:
    """A quantity in the first part of the soak and in the last."""

    first: Spread
    last: Spread


def change(values: Sequence[float]) -> Change:
    """Compare the beginning of a series with its end."""
    n_part = max(1, len(values) // PARTS)
    return Change(spread(values[:n_part]), spread(values[-n_part:]))


@dataclass(frozen=True, slots=True)
class Footprint:
    """The process at the beginning and at the end."""

    resident_mb_first: float
    resident_mb_last: float
    resident_mb_most: float
    cpu_s_a_command_first: float
    cpu_s_a_command_last: float
    threads_most: tuple[int, int] | None
    """In the first part and in the last; None where the system does not tell."""
    descriptors_most: tuple[int, int] | None

    @property
    def growth_mb(self) -> float:
        """Between the medians of the first part and of the last."""
        return self.resident_mb_last - self.resident_mb_first


def footprint(readings: Sequence[Reading]) -> Footprint:
    """Compare the readings since the first command: before it, models are loaded."""
    working = [reading for reading in readings if reading.n_finals]
    n_part = max(2, len(working) // PARTS)
    first, last = working[:n_part], working[-n_part:]
    return Footprint(
        resident_mb_first=median(r.resident_mb for r in first),
        resident_mb_last=median(r.resident_mb for r in last),
        resident_mb_most=max(r.resident_mb for r in working),
        cpu_s_a_command_first=_cost(first),
        cpu_s_a_command_last=_cost(last),
        threads_most=_most([r.threads for r in first], [r.threads for r in last]),
        descriptors_most=_most([r.descriptors for r in first], [r.descriptors for r in last]),
    )


def _cost(part: Sequence[Reading]) -> float:
    n_finals = part[-1].n_finals - part[0].n_finals
    return (part[-1].cpu_s - part[0].cpu_s) / max(1, n_finals)


def _most(first: Sequence[int | None], last: Sequence[int | None]) -> tuple[int, int] | None:
    known = [[count for count in part if count is not None] for part in (first, last)]
    return (max(known[0]), max(known[1])) if all(known) else None


@dataclass(frozen=True, slots=True)
class Microphone:
    """Audio lost between the room and the daemon."""

    dropped_samples: int
    """That came while the daemon's queue was full."""
    overflows: int
    losses: int
    """How often the input was given up and opened again."""

    @property
    def lost_nothing(self) -> bool:
        """True when the daemon heard everything."""
        return not (self.dropped_samples or self.overflows or self.losses)


@dataclass(frozen=True, slots=True)
class DeliveryCheck:
    """The whole soak."""

    hours: float
    wall_s: float
    commands: int
    sessions: int
    right_words: int
    """Finals that hold the command word for word."""
    fates: Fates
    footprint: Footprint
    compute_ms: Change
    """Of the recogniser, a session."""
    delivery_ms: Change
    """From a final's time to the subscriber."""
    faults: Mapping[str, int]
    reconnects: int
    exit_code: int
    errors: tuple[str, ...]
    microphone: Microphone | None = None
    """None where it was a file."""

    def failures(self) -> tuple[str, ...]:
        """Say what is not as promised; nothing when all is."""
        used, ends = self.footprint, self.fates
        promises = (
            (not ends.missing, f"finals neither arrived nor reported: {ends.missing}"),
            (not ends.doubled, f"finals that arrived twice: {ends.doubled}"),
            (not ends.unbalanced_sessions, f"sessions unbalanced: {ends.unbalanced_sessions}"),
            (
                self.sessions == self.commands,
                f"{self.commands} commands were spoken, and {self.sessions} sessions opened",
            ),
            (
                ends.said == self.commands,
                f"{self.commands} commands were spoken, and {ends.said} finals said",
            ),
            (used.growth_mb <= GROWTH_MAX_MB, f"memory grew by {used.growth_mb:.1f} MB"),
            (
                self.commands < COST_COMMANDS
                or used.cpu_s_a_command_last <= COST_GROWTH_MAX * used.cpu_s_a_command_first,
                (
                    f"a command costs {used.cpu_s_a_command_last:.2f} s of CPU at the end, "
                    f"{used.cpu_s_a_command_first:.2f} s at the start"
                ),
            ),
            (_kept(used.threads_most), f"threads grew: {used.threads_most}"),
            (_kept(used.descriptors_most), f"descriptors grew: {used.descriptors_most}"),
            (
                # A replay that lost a final ends with 1.
                self.exit_code == 0 or (self.exit_code == 1 and ends.reported_lost > 0),
                f"the daemon's exit code is {self.exit_code}",
            ),
            (
                self.microphone is None or self.microphone.lost_nothing,
                f"the microphone lost sound: {self.microphone}",
            ),
            (not self.errors, f"errors in the log: {sorted(set(self.errors))}"),
        )
        return tuple(text for is_kept, text in promises if not is_kept)

    def to_dict(self) -> dict[str, object]:
        """Give all of it as JSON knows it."""
        return {
            "schema": 1,
            **asdict(self),
            "faults": dict(self.faults),
            "growth_mb": round(self.footprint.growth_mb, 1),
            "failures": self.failures(),
        }


def _kept(most: tuple[int, int] | None) -> bool:
    """Tell whether a count at the end is that of the start: the two more are a reconnection's."""
    return most is None or most[1] <= most[0] + 2
