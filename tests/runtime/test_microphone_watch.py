"""What keeps sound away from a microphone is told by name, and looked at again until it is gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rigs.macos.state import State
from rigs.macos.tcc import MICROPHONE, Answer, Tcc
from support.permissions import ScriptedPermission
from voice_daemon.audio.authorization import Authorization
from voice_daemon.runtime.microphone_watch import MicrophoneReport, MicrophoneWatch

ALARM_S = 10.0


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        self.now_s += 2
        return self.now_s


def watch(*statuses: Authorization, may_ask: bool = False) -> MicrophoneWatch:
    return MicrophoneWatch(ScriptedPermission(list(statuses)), may_ask=may_ask, clock_s=Clock())


def look(watched: MicrophoneWatch, silent_s: float) -> MicrophoneReport:
    return watched.look(silent_s, alarm_s=ALARM_S)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Authorization.NOT_DETERMINED, "macOS is asking"),
        (Authorization.DENIED, "macOS does not allow the microphone"),
        (Authorization.RESTRICTED, "a profile or Screen Time"),
    ],
)
def test_a_refusal_is_told_by_name_and_at_once(status: Authorization, told: str) -> None:
    report = look(watch(status), silent_s=0)
    assert set(report.problems) == {"mic.permission"}
    assert report.problems["mic.permission"].message.startswith(told)
    assert not report.reopen


def test_the_remedy_of_a_refusal_knows_of_a_switch_that_lies() -> None:
    remedy = look(watch(Authorization.DENIED), 0).problems["mic.permission"].remedy
    assert "tccutil reset Microphone io.github.voice-daemon" in remedy


def test_silence_with_the_permission_is_a_switch_of_the_microphones() -> None:
    report = look(watch(Authorization.AUTHORIZED), silent_s=ALARM_S)
    assert set(report.problems) == {"mic.silent"}
    assert "Settings" not in report.problems["mic.silent"].remedy


def test_silence_where_nobody_can_be_asked_may_be_either() -> None:
    remedy = look(MicrophoneWatch(), silent_s=ALARM_S).problems["mic.silent"].remedy
    assert "Privacy & Security > Microphone" in remedy
    assert "mute switch" in remedy


def test_a_permission_that_was_just_given_has_the_input_opened_anew_once() -> None:
    watched = watch(Authorization.DENIED, Authorization.AUTHORIZED)
    assert not look(watched, silent_s=3).reopen
    assert look(watched, silent_s=4) == MicrophoneReport({}, reopen=True)
    assert not look(watched, silent_s=5).reopen


def test_while_silence_lasts_the_input_is_opened_anew_every_fifteen_seconds() -> None:
    watched = watch(Authorization.AUTHORIZED)
    look(watched, silent_s=0)
    reopened = [s for s in range(61) if look(watched, silent_s=s).reopen]
    assert reopened == [15, 30, 45, 60]
    assert not look(watched, silent_s=0).problems
    assert [s for s in range(31) if look(watched, silent_s=s).reopen] == [15, 30]


def test_elsewhere_silence_is_no_reason_to_open_anew() -> None:
    watched = MicrophoneWatch()
    assert not any(look(watched, silent_s=s).reopen for s in range(100))


@pytest.mark.parametrize(
    ("status", "may_ask", "n_requests"),
    [
        (Authorization.NOT_DETERMINED, True, 1),
        (Authorization.NOT_DETERMINED, False, 0),
        (Authorization.DENIED, True, 0),
        (Authorization.AUTHORIZED, True, 0),
    ],
)
def test_the_question_is_put_once_and_only_in_the_apps_name(
    status: Authorization, *, may_ask: bool, n_requests: int
) -> None:
    permission = ScriptedPermission([status])
    MicrophoneWatch(permission, may_ask=may_ask).opening()
    assert permission.requests == n_requests


@dataclass
class TccPermission:
    """AVCaptureDevice's answer as TCC gives it for one program."""

    tcc: Tcc
    program: Path
    asked: list[bool] = field(default_factory=list)

    def status(self) -> Authorization:
        return {
            Answer.GRANTED: Authorization.AUTHORIZED,
            Answer.DENIED: Authorization.DENIED,
            Answer.PROMPT: Authorization.NOT_DETERMINED,
        }[self.tcc.ask(MICROPHONE, self.program)]

    def request(self) -> None:
        self.asked.append(True)


def test_the_first_grant_works_without_a_restart(tmp_path: Path) -> None:
    """From the question on the screen to sound, with an app that is signed by Apple's rules."""
    program = signed_app(tmp_path)
    tcc = Tcc(State(tmp_path))
    permission = TccPermission(tcc, program)
    watched = MicrophoneWatch(permission, may_ask=True, clock_s=Clock())
    watched.opening()
    assert permission.asked == [True]
    assert set(look(watched, 1).problems) == {"mic.permission"}
    tcc.answer(MICROPHONE, program, allowed=True)
    assert look(watched, 2) == MicrophoneReport({}, reopen=True)


def signed_app(folder: Path) -> Path:
    from rigs.macos.code import Bundle as Signed  # noqa: PLC0415 - beside its only use
    from voice_daemon.launchd.agent import LABEL, program_of  # noqa: PLC0415 - as above
    from voice_daemon.launchd.app_bundle import AD_HOC, LAUNCHER, Bundle  # noqa: PLC0415 - as above

    app = folder / "VoiceDaemon.app"
    for step in Bundle(LAUNCHER, ("/bin/sh",), AD_HOC).steps_into(app):
        step.do()
    Signed(app).sign(LABEL, AD_HOC)
    return program_of(app)
