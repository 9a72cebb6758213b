"""launchctl's numbers become sentences, and its text decides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.fake_launchd.codes import TEXTS
from voice_daemon.errors import ServiceError
from voice_daemon.launchd import AgentState, Launchctl
from voice_daemon.launchd.launchctl import MEANINGS, NoSessionError, read_state
from voice_daemon.launchd.steps import StepOutcome

FILE = Path("/x.plist")
PRINTED = """gui/501/io.github.voice-daemon = {
	active count = 1
	path = /Users/owner/Library/LaunchAgents/io.github.voice-daemon.plist
	state = running

	program = /Users/owner/Applications/VoiceDaemon.app/Contents/MacOS/voice-daemon
	environment = {
		pid = not this one
	}
	runs = 3
	pid = 812
	last exit code = 75: EX_TEMPFAIL
}
"""


class Script:
    """A launchctl that answers with these codes, one after the other, then with the last."""

    def __init__(self, **codes: list[int]) -> None:
        self._codes = codes
        self.asked: list[str] = []

    def __call__(self, arguments: tuple[str | Path, ...]) -> StepOutcome:
        verb = str(arguments[0])
        self.asked.append(verb)
        codes = self._codes.get(verb, [0])
        code = codes.pop(0) if len(codes) > 1 else codes[0]
        return StepOutcome(
            code, "", f"{verb} failed: {code}: {TEXTS.get(code, '')}\n" if code else ""
        )


def launchctl(script: Script) -> Launchctl:
    return Launchctl(501, script, bootstrap_patience_s=0.5)


@pytest.mark.parametrize("code", sorted(set(MEANINGS) - {5, 37, 36, 3, 113}))
def test_every_known_refusal_has_a_remedy(code: int) -> None:
    with pytest.raises(ServiceError, match=f"failed with {code}: ") as refused:
        launchctl(Script(bootstrap=[code])).bootstrap("x", FILE)
    assert refused.value.remedy
    assert refused.value.code == f"service.launchctl_{code}"


def test_an_unknown_refusal_says_how_to_ask_what_it_means() -> None:
    with pytest.raises(ServiceError) as refused:
        launchctl(Script(enable=[99])).enable("x")
    assert "launchctl error NUMBER" in refused.value.remedy


@pytest.mark.parametrize("code", [112, 125])
def test_without_a_session_there_is_an_error_of_its_own(code: int) -> None:
    with pytest.raises(NoSessionError, match="session"):
        launchctl(Script(print=[code])).state("x")


@pytest.mark.parametrize("code", [3, 113])
def test_what_is_not_loaded_has_no_state_and_needs_no_bootout(code: int) -> None:
    script = Script(print=[code], bootout=[code])
    assert launchctl(script).state("x") is None
    launchctl(script).bootout("x")


def test_bootout_waits_until_the_label_is_free() -> None:
    script = Script(bootout=[0], print=[0, 0, 113])
    launchctl(script).bootout("x")
    assert script.asked == ["bootout", "print", "print", "print"]


def test_bootstrap_tries_again_while_the_label_is_still_taken() -> None:
    script = Script(bootstrap=[5, 37, 0], print=[113])
    launchctl(script).bootstrap("x", FILE)
    assert script.asked.count("bootstrap") == 3


def test_bootstrap_accepts_that_somebody_else_has_loaded_it() -> None:
    script = Script(bootstrap=[5], print=[0])
    launchctl(script).bootstrap("x", FILE)
    assert script.asked == ["bootstrap", "print"]


def test_bootstrap_gives_up_and_names_what_it_may_be() -> None:
    with pytest.raises(ServiceError, match=r"still loaded, it is disabled, .* not logged in"):
        launchctl(Script(bootstrap=[5], print=[113])).bootstrap("x", FILE)


@pytest.mark.parametrize("code", [0, 37])
def test_what_runs_already_need_not_be_started(code: int) -> None:
    script = Script(kickstart=[code])
    launchctl(script).kickstart("x")
    assert script.asked == ["kickstart"]


def test_what_print_says_is_read_where_it_can_be() -> None:
    assert read_state(PRINTED) == AgentState(pid=812, last_exit="75: EX_TEMPFAIL", runs=3)


@pytest.mark.parametrize("text", ["", "state = ?", "\tpid = none\n\truns = many\n", "\x00\n" * 9])
def test_text_of_another_macos_is_no_error(text: str) -> None:
    assert read_state(text) == AgentState(pid=None, last_exit=None, runs=None)


def test_a_signal_counts_more_than_an_older_exit_code() -> None:
    text = "\tlast exit code = 0\n\tlast terminating signal = Killed: 9\n"
    assert read_state(text).last_exit == "Killed: 9"
