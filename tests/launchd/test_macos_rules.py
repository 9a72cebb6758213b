"""The rig keeps Apple's rules: what the tests of an installation rest on."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.macos import native_launcher
from rigs.macos.code import AD_HOC, Bundle, RefusedError
from rigs.macos.programs import APPS, KEYCHAIN, PROGRAMS, Said
from rigs.macos.state import State
from rigs.macos.tcc import MICROPHONE, Answer, Tcc, responsible_program

IDENTIFIER = "test.app"
INFO = {
    "CFBundleIdentifier": IDENTIFIER,
    "CFBundleExecutable": "program",
    "NSMicrophoneUsageDescription": "it listens",
}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app as it should be, unsigned."""
    made = tmp_path / "Test.app"
    (made / "Contents" / "MacOS").mkdir(parents=True)
    (made / "Contents" / "Resources").mkdir()
    (made / "Contents" / "Info.plist").write_bytes(plistlib.dumps(INFO))
    (made / "Contents" / "Resources" / "command").write_bytes(b"/bin/sh\0")
    shutil.copyfile("/bin/sh", _program(made))
    _program(made).chmod(0o755)
    return made


def _program(app: Path) -> Path:
    return app / "Contents" / "MacOS" / "program"


def codesign(state: State, *arguments: str | Path) -> Said:
    return PROGRAMS["codesign"](state, [str(argument) for argument in arguments])


def sign(state: State, app: Path, identity: str = AD_HOC) -> Said:
    return codesign(state, "--force", "--identifier", IDENTIFIER, "--sign", identity, app)


def verify(state: State, app: Path) -> Said:
    return codesign(state, "--verify", "--strict", app)


def cdhash(state: State, app: Path) -> str:
    lines = codesign(state, "--display", "--verbose=4", app).err.splitlines()
    return next(line for line in lines if line.startswith("CDHash="))


def test_a_proper_app_is_signed_and_verified_and_still_runs(state: State, app: Path) -> None:
    assert sign(state, app) == Said()
    assert verify(state, app) == Said()
    assert subprocess.run([_program(app), "-c", "exit 3"], check=False).returncode == 3


def test_an_app_that_was_never_signed_does_not_verify(state: State, app: Path) -> None:
    assert "not signed at all" in verify(state, app).err


@pytest.mark.parametrize("name", ["pyvenv.cfg", "LICENSE.txt", "MacOS/script.sh", "Helpers/tool"])
def test_a_loose_file_where_code_belongs_is_refused(state: State, app: Path, name: str) -> None:
    """electron-builder#2522, mattermost/desktop#681: files directly in Contents are code."""
    loose = app / "Contents" / name
    loose.parent.mkdir(exist_ok=True)
    loose.write_text("text")
    said = sign(state, app)
    assert said.code == 1
    assert said.err.endswith(f"code object is not signed at all\nIn subcomponent: {loose}\n")


@pytest.mark.parametrize(
    "name", ["PkgInfo", "version.plist", "embedded.provisionprofile", "Resources/a/b", "lib/x.pth"]
)
def test_what_apple_lets_lie_in_an_app_may_lie_there(state: State, app: Path, name: str) -> None:
    path = app / "Contents" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    assert sign(state, app) == Said()


def test_a_link_is_never_code(state: State, app: Path) -> None:
    (app / "Contents" / "pyvenv.cfg").symlink_to("Resources/command")
    assert sign(state, app) == Said()


def test_a_script_is_no_program_for_an_app(state: State, app: Path) -> None:
    _program(app).write_text("#!/bin/sh\n")
    assert sign(state, app).code == 1


def _change_resource(app: Path) -> None:
    (app / "Contents" / "Resources" / "command").write_bytes(b"/bin/other\0")


def _add_resource(app: Path) -> None:
    (app / "Contents" / "Resources" / "more").touch()


def _lose_resource(app: Path) -> None:
    (app / "Contents" / "Resources" / "command").unlink()


def _change_info(app: Path) -> None:
    (app / "Contents" / "Info.plist").write_bytes(plistlib.dumps({**INFO, "more": "yes"}))


def _change_program(app: Path) -> None:
    content = bytearray(_program(app).read_bytes())
    content[0x80] ^= 1
    _program(app).write_bytes(bytes(content))


def _lose_the_seal(app: Path) -> None:
    shutil.rmtree(app / "Contents" / "_CodeSignature")


@pytest.mark.parametrize(
    "change",
    [
        _change_resource,
        _add_resource,
        _lose_resource,
        _change_info,
        _change_program,
        _lose_the_seal,
    ],
)
def test_any_change_after_signing_is_found(state: State, app: Path, change: object) -> None:
    sign(state, app)
    assert callable(change)
    change(app)
    assert verify(state, app).code == 1


def test_the_same_content_has_the_same_cdhash_and_another_content_another(
    state: State, app: Path
) -> None:
    sign(state, app)
    first = cdhash(state, app)
    sign(state, app)
    assert cdhash(state, app) == first
    _change_resource(app)
    sign(state, app)
    assert cdhash(state, app) != first


def test_an_identity_must_be_in_the_keychain(state: State, app: Path) -> None:
    assert "no identity found" in sign(state, app, "Mine").err
    state.put(KEYCHAIN, ["Mine"])
    assert sign(state, app, "Mine") == Said()


def test_the_question_needs_a_reason_a_signature_and_a_screen(state: State, app: Path) -> None:
    program = _program(app)
    assert Tcc(state).ask(MICROPHONE, program) is Answer.DENIED, "unsigned"
    sign(state, app)
    assert Tcc(state).ask(MICROPHONE, program) is Answer.PROMPT
    assert Tcc(state, screen=False).ask(MICROPHONE, program) is Answer.DENIED
    assert Tcc(state).ask(MICROPHONE, Path("/usr/bin/python3")) is Answer.DENIED, "in no app"
    info = {key: value for key, value in INFO.items() if not key.startswith("NS")}
    (app / "Contents" / "Info.plist").write_bytes(plistlib.dumps(info))
    sign(state, app)
    assert Tcc(state).ask(MICROPHONE, program) is Answer.DENIED, "without a usage description"


def test_a_grant_is_for_this_code_and_its_switch_lies_after_another(
    state: State, app: Path
) -> None:
    tcc, program = Tcc(state), _program(app)
    sign(state, app)
    tcc.answer(MICROPHONE, program, allowed=True)
    assert tcc.ask(MICROPHONE, program) is Answer.GRANTED
    sign(state, app)
    assert tcc.ask(MICROPHONE, program) is Answer.GRANTED, "signed again, and the same"
    _change_resource(app)
    sign(state, app)
    assert tcc.ask(MICROPHONE, program) is Answer.DENIED
    assert tcc.shown_on(MICROPHONE, IDENTIFIER) is True
    tcc.switch(MICROPHONE, IDENTIFIER, on=False)
    tcc.switch(MICROPHONE, IDENTIFIER, on=True)
    assert tcc.ask(MICROPHONE, program) is Answer.DENIED, "toggling does not help"
    PROGRAMS["lsregister"](state, ["-f", str(app)])
    PROGRAMS["tccutil"](state, ["reset", "Microphone", IDENTIFIER])
    assert tcc.ask(MICROPHONE, program) is Answer.PROMPT


def test_a_grant_to_a_certificate_outlives_other_code(state: State, app: Path) -> None:
    state.put(KEYCHAIN, ["Mine"])
    sign(state, app, "Mine")
    Tcc(state).answer(MICROPHONE, _program(app), allowed=True)
    _change_resource(app)
    sign(state, app, "Mine")
    assert Tcc(state).ask(MICROPHONE, _program(app)) is Answer.GRANTED


def test_answers_of_an_app_that_is_unknown_or_gone_cannot_be_reset(state: State, app: Path) -> None:
    reset = ["reset", "All", IDENTIFIER]
    assert "-10814" in PROGRAMS["tccutil"](state, reset).err
    assert PROGRAMS["lsregister"](state, ["-f", str(app)]) == Said()
    assert PROGRAMS["tccutil"](state, reset).code == 0
    shutil.rmtree(app)
    assert state.get(APPS, {}) == {IDENTIFIER: str(app)}
    assert PROGRAMS["tccutil"](state, reset).code == 70


def test_a_name_that_is_not_set_has_no_answer(state: State) -> None:
    assert PROGRAMS["scutil"](state, ["--get", "HostName"]).code == 1
    state.put("LocalHostName", "Zoes-Mac-mini")
    assert PROGRAMS["scutil"](state, ["--get", "LocalHostName"]).out == "Zoes-Mac-mini\n"


@pytest.mark.skipif(native_launcher.why_not() is not None, reason=native_launcher.why_not() or "")
def test_the_launcher_is_responsible_for_what_its_child_does(tmp_path: Path) -> None:
    program = native_launcher.app_around(
        native_launcher.build(tmp_path),
        tmp_path / "Test.app",
        [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
    )
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as launched:
        assert launched.stdout is not None
        child = int(launched.stdout.readline())
        assert responsible_program(child, below=os.getpid()) == program
        launched.kill()
        os.kill(child, 9)


def test_a_script_on_the_path_runs_a_program_and_notes_it(state: State, app: Path) -> None:
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-m", "rigs.macos.programs", str(state.folder), "codesign"]
    options = ["--force", "--identifier", IDENTIFIER, "--sign", "-", str(app)]
    subprocess.run([*command, *options], env={"PYTHONPATH": str(tests)}, check=True)
    log = (state.folder / "programs.log").read_text()
    assert log == f"{shlex.join(['codesign', *options])}\n"
    with pytest.raises(RefusedError):
        Bundle(app / "nothing")
