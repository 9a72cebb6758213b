from __future__ import annotations

import pytest

from voice_daemon.cli.diagnosis import Condition, ProbeResult, ServiceView, explain


def found(
    service: ServiceView | None = None, *, holder_pid: int | None = None, socket_left: bool = False
) -> ProbeResult:
    return ProbeResult("/s", service, holder_pid=holder_pid, socket_left=socket_left)


def loaded(
    *, pid: int | None = None, runs: int | None = None, last_exit: str | None = None
) -> ServiceView:
    return ServiceView(installed=True, loaded=True, pid=pid, runs=runs, last_exit=last_exit)


@pytest.mark.parametrize(
    ("evidence", "condition", "exit_code"),
    [
        (found(), Condition.STOPPED, 3),
        (found(socket_left=True), Condition.STALE_SOCKET, 3),
        (found(holder_pid=7, socket_left=True), Condition.STARTING, 1),
        (found(ServiceView(installed=False, loaded=False)), Condition.NOT_INSTALLED, 4),
        (
            found(ServiceView(installed=False, loaded=False), socket_left=True),
            Condition.NOT_INSTALLED,
            4,
        ),
        (found(ServiceView(installed=True, loaded=False)), Condition.NOT_LOADED, 3),
        (
            found(ServiceView(installed=True, loaded=False, logged_in=False)),
            Condition.NOT_LOADED,
            3,
        ),
        (found(loaded(pid=5, runs=1)), Condition.STARTING, 1),
        (found(loaded(last_exit="(never exited)")), Condition.STARTING, 1),
        (found(loaded(last_exit="75: EX_TEMPFAIL")), Condition.CRASH_LOOPING, 3),
        (found(loaded(last_exit="Killed: 9", runs=1)), Condition.CRASH_LOOPING, 3),
        (
            found(loaded(pid=5, runs=4, last_exit="75: EX_TEMPFAIL")),
            Condition.CRASH_LOOPING,
            3,
        ),
        (
            found(loaded(pid=5, runs=2, last_exit="Killed: 9")),
            Condition.STARTING,
            1,
        ),
        (found(loaded(last_exit="0")), Condition.STOPPED, 3),
        (found(loaded(last_exit="0"), socket_left=True), Condition.STALE_SOCKET, 3),
    ],
)
def test_each_absence_has_its_name_its_exit_code_and_a_remedy(
    evidence: ProbeResult, condition: Condition, exit_code: int
) -> None:
    absence = explain(evidence)
    assert (absence.condition, absence.exit_code) == (condition, exit_code)
    assert absence.remedy
