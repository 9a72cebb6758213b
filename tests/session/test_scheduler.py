"""Turns on the model thread: who comes next, counted in steps."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.session.scheduler import RoundRobin


@dataclass(eq=False)
class Work:
    """A job with so many steps."""

    name: str
    steps: int
    log: list[str] = field(default_factory=list)

    @property
    def due(self) -> bool:
        return self.steps > 0

    def step(self) -> None:
        self.steps -= 1
        self.log.append(self.name)


def work_off(scheduler: RoundRobin) -> None:
    while scheduler.step() is not None:
        pass


def test_jobs_take_one_step_each_in_turn() -> None:
    log: list[str] = []
    scheduler = RoundRobin()
    for name, steps in (("a", 3), ("b", 1), ("c", 2)):
        scheduler.add(Work(name, steps, log))
    work_off(scheduler)
    assert log == ["a", "b", "c", "a", "c", "a"]


def test_a_job_added_late_comes_after_those_that_are_there() -> None:
    log: list[str] = []
    scheduler = RoundRobin()
    scheduler.add(Work("a", 2, log))
    scheduler.add(Work("b", 2, log))
    scheduler.step()
    scheduler.add(Work("late", 1, log))
    work_off(scheduler)
    assert log == ["a", "b", "a", "late", "b"]


def test_a_job_that_was_removed_gets_no_turn() -> None:
    scheduler = RoundRobin()
    job = Work("a", 1)
    scheduler.add(job)
    scheduler.remove(job)
    scheduler.remove(job)
    assert not scheduler.due
    assert scheduler.step() is None


def test_a_wait_ends_when_somebody_becomes_due() -> None:
    scheduler = RoundRobin()
    job = Work("a", 0)
    scheduler.add(job)
    scheduler.wait(0)

    def become_due() -> None:
        job.steps = 1
        scheduler.notify()

    threading.Timer(0.05, become_due).start()
    scheduler.wait(60)
    assert scheduler.step() is job


@given(st.lists(st.integers(0, 12), min_size=2, max_size=8))
def test_nobody_waits_for_more_than_one_step_of_each_other(steps: list[int]) -> None:
    log: list[str] = []
    scheduler = RoundRobin()
    for number, n_steps in enumerate(steps):
        scheduler.add(Work(str(number), n_steps, log))
    work_off(scheduler)
    assert len(log) == sum(steps)
    for number, n_steps in enumerate(steps):
        mine = [at for at, name in enumerate(log) if name == str(number)]
        assert len(mine) == n_steps
        for before, after in zip([-1, *mine], mine, strict=False):
            between = log[before + 1 : after]
            assert len(between) == len(set(between))
