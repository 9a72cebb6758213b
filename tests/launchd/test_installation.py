"""Installing, repairing and removing, under a launchd that keeps the real one's rules."""

from __future__ import annotations

import io
import json
import os
import plistlib
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.brokers import eventually
from rigs.fake_launchd import property_list
from rigs.fake_launchd.mac import Mac, allow_the_microphone, python_in, told_commands
from rigs.macos.code import Bundle
from rigs.macos.programs import KEYCHAIN
from rigs.macos.tcc import MICROPHONE, Answer, parent_of, responsible_program
from voice_daemon.cli import service
from voice_daemon.cli.context import Context
from voice_daemon.config import values
from voice_daemon.control.client import ControlClient
from voice_daemon.launchd import LABEL, app_bundle
from voice_daemon.launchd.app_bundle import LAUNCHER


def daemon_pid(mac: Mac) -> int:
    """Ask the daemon: launchd knows the launcher's."""
    pid: int = ControlClient(mac.voice_home / "voice-daemon.sock").request("status")["pid"]
    return pid


def inodes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_ino for path in folder.rglob("*")}


def test_install_makes_agent_and_app_and_starts_them(installed: Mac) -> None:
    agent = plistlib.loads(installed.places.agent_file.read_bytes())
    assert property_list.findings(agent) == []
    assert agent["ProgramArguments"] == [str(installed.places.program)]
    sealed = (installed.places.app / "Contents" / "Resources" / "command").read_bytes()
    command = sealed.decode().split("\0")
    assert command[0] == str(installed.python)
    assert command[-3:] == ["--config", str(installed.config_file), ""]
    assert agent["EnvironmentVariables"]["VOICE_DAEMON_HOME"] == str(installed.voice_home)
    state = installed.launchctl().state(LABEL)
    assert state is not None
    assert (state.runs, state.pid is not None) == (1, True)
    app = str(installed.places.app.with_name(".VoiceDaemon-building.app"))
    options = ["--force", "--identifier", LABEL, "--sign", "-"]
    assert installed.signatures() == [["codesign", *options, app]]
    assert ["codesign", "--verify", "--strict", app] in installed.runs("codesign")
    assert Bundle(installed.places.app).verify().identifier == LABEL


def test_the_launcher_in_the_app_is_responsible_for_the_daemon(installed: Mac) -> None:
    """macOS asks it, with its reason, and the answer is for its bytes."""
    state = installed.launchctl().state(LABEL)
    assert state is not None
    assert state.pid is not None
    daemon = daemon_pid(installed)
    assert daemon != state.pid
    launchd = parent_of(state.pid)
    assert responsible_program(daemon, below=launchd) == installed.places.program
    assert installed.tcc.ask(MICROPHONE, installed.places.program) is Answer.PROMPT


def test_it_says_what_ails_the_daemon(mac: Mac) -> None:
    done = mac.daemonctl("install")
    assert (
        "there is no model 'small.en' here\n    -> run `daemonctl models pull small.en`" in done.out
    )


def test_a_dry_run_tells_everything_and_does_nothing(mac: Mac) -> None:
    before = mac.files()
    dry = mac.daemonctl("install", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert (mac.files(), mac.launchd.journal(), mac.runs()) == (before, [], [])
    told = [line.removeprefix("would ") for line in dry.out.splitlines()]
    assert told.pop() == "nothing was changed"
    done = mac.daemonctl("install")
    assert done.out.splitlines()[: len(told)] == told
    for name in mac.files() - before:
        made_by_codesign = "_CodeSignature" in name
        if name.startswith(("Applications", "Library")) and not made_by_codesign:
            place = str(mac.home / name)
            built = place.replace("/VoiceDaemon.app", "/.VoiceDaemon-building.app")
            assert place in dry.out or built in dry.out


def test_the_agent_file_is_not_writable_by_others_whatever_the_umask(mac: Mac) -> None:
    before = os.umask(0)
    try:
        mac.daemonctl("install")
    finally:
        os.umask(before)
    assert stat.S_IMODE(mac.places.agent_file.stat().st_mode) == 0o644
    assert stat.S_IMODE(mac.places.log_folder.stat().st_mode) == 0o700


def test_installing_again_changes_nothing_and_disturbs_nobody(installed: Mac) -> None:
    state, before = installed.launchctl().state(LABEL), inodes(installed.home / "Applications")
    done = installed.daemonctl("install")
    assert done.code == 0
    assert told_commands(done.out) == ["kickstart"]
    assert installed.launchctl().state(LABEL) == state
    assert inodes(installed.home / "Applications") == before
    assert len(installed.signatures()) == 1, "a new signature would lose the permission"


def _lose_the_agent_file(mac: Mac) -> None:
    mac.places.agent_file.unlink()


def _lose_the_app(mac: Mac) -> None:
    shutil.rmtree(mac.places.app)


def _lose_the_program(mac: Mac) -> None:
    mac.places.program.unlink()


def _be_unloaded(mac: Mac) -> None:
    mac.launchctl().bootout(LABEL)


def _be_disabled(mac: Mac) -> None:
    mac.launchctl().bootout(LABEL)
    mac.launchd.launchctl("disable", mac.launchctl().target(LABEL))


def _open_the_agent_file_to_others(mac: Mac) -> None:
    mac.launchctl().bootout(LABEL)
    mac.places.agent_file.chmod(0o666)


def _damage_the_agent_file(mac: Mac) -> None:
    mac.places.agent_file.write_text("<plist>")


def _stop_in_the_middle_of_building(mac: Mac) -> None:
    shutil.rmtree(mac.places.app)
    half = mac.places.app.with_name(".VoiceDaemon-building.app") / "Contents" / "MacOS"
    half.mkdir(parents=True)
    (half / "leftover").touch()


@pytest.mark.parametrize(
    "break_it",
    [
        _lose_the_agent_file,
        _lose_the_app,
        _lose_the_program,
        _be_unloaded,
        _be_disabled,
        _open_the_agent_file_to_others,
        _damage_the_agent_file,
        _stop_in_the_middle_of_building,
    ],
)
def test_half_an_installation_is_repaired(installed: Mac, break_it: Callable[[Mac], None]) -> None:
    whole = installed.files()
    break_it(installed)
    done = installed.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    assert installed.files() == whole
    assert installed.launchctl().state(LABEL) is not None
    assert "leftover" not in str(inodes(installed.home))


def test_a_loose_file_in_the_app_would_end_the_installation_with_codesigns_two_lines(
    mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How earlier versions failed on every Mac: a pyvenv.cfg in Contents."""
    texts = app_bundle.Bundle._texts
    monkeypatch.setattr(
        app_bundle.Bundle, "_texts", lambda self: {**texts(self), "Contents/pyvenv.cfg": b"home"}
    )
    done = mac.daemonctl("install")
    assert done.code == 1
    assert "code object is not signed at all: In subcomponent: " in done.err
    assert "Contents/pyvenv.cfg" in done.err
    assert mac.launchd.journal() == []


def test_a_signature_that_does_not_hold_stops_the_installation(mac: Mac) -> None:
    mac.launchd.add_program("codesign", "exit 0\n")  # it says that it signed
    mac.launchd.add_program(
        "codesign",
        'case "$1" in --force) exit 0;; *) echo "invalid signature" >&2; exit 1;; esac\n',
    )
    done = mac.daemonctl("install")
    assert done.code == 1
    assert "codesign failed: invalid signature" in done.err
    assert mac.launchd.journal() == []


def test_an_app_that_macos_keeps_is_left_whole_and_the_switch_is_named(
    installed: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    """App Management (macOS 13 and newer) may refuse to touch an app."""
    whole = Bundle(installed.places.app).verify()
    rename = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self == installed.places.app:
            raise PermissionError(1, "Operation not permitted")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    installed.python = python_in(installed.home / "elsewhere")
    done = installed.daemonctl("install")
    assert done.code == 1
    assert "Operation not permitted" in done.err
    assert "Privacy & Security > App Management" in done.err
    assert Bundle(installed.places.app).verify() == whole


def test_a_program_that_only_helps_may_fail_and_is_told(mac: Mac) -> None:
    mac.launchd.add_program("tccutil", 'echo "tccutil: Failed to reset" >&2; exit 1\n')
    done = mac.daemonctl("install")
    assert done.code == 0
    assert "warning: tccutil failed: tccutil: Failed to reset" in done.err
    assert f"run `tccutil reset Microphone {LABEL}`" in done.err


def test_an_upgrade_of_the_daemon_restarts_it_in_the_same_app(
    installed: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed.launchctl().state(LABEL)
    with monkeypatch.context() as patch:
        patch.setattr(service, "__version__", "99.0")  # the running one is older now
        done = installed.daemonctl("install")
    assert told_commands(done.out) == ["bootout", "enable", "bootstrap", "kickstart"]
    assert installed.launchctl().state(LABEL) != before
    assert len(installed.signatures()) == 1


def test_an_identity_is_handed_to_codesign(mac: Mac) -> None:
    mac.state.put(KEYCHAIN, ["My Certificate"])
    assert mac.daemonctl("install", "--sign", "My Certificate").code == 0
    assert "My Certificate" in mac.signatures()[0]


def test_a_signature_that_fails_leaves_what_was_there(installed: Mac) -> None:
    whole, state = installed.files(), installed.launchctl().state(LABEL)
    done = installed.daemonctl("install", "--sign", "Nobody")
    assert done.code == 1
    assert "codesign failed: Nobody: no identity found" in done.err
    assert "lists the identities" in done.err
    assert whole <= installed.files()
    assert installed.launchctl().state(LABEL) == state


def test_a_python_that_does_not_start_is_found_out_before_launchd_has_it(mac: Mac) -> None:
    mac.python = mac.home / "python3"
    mac.python.write_text("#!/bin/sh\necho 'No module named voice_daemon' >&2; exit 1\n")
    mac.python.chmod(0o755)
    done = mac.daemonctl("install")
    assert done.code == 1
    assert "does not find the daemon: No module named voice_daemon" in done.err
    assert mac.launchd.journal() == []
    assert not mac.places.agent_file.exists()


def test_a_launcher_that_does_not_run_here_is_found_out_before_launchd_has_it(mac: Mac) -> None:
    mac.launcher = LAUNCHER  # for a Mac
    done = mac.daemonctl("install")
    assert done.code == 1
    assert "could not be run" in done.err
    assert mac.launchd.journal() == []


def test_a_wrong_configuration_is_told_and_not_installed(mac: Mac) -> None:
    mac.config_file.write_text("[wake]\nthreshold = 7\n")
    done = mac.daemonctl("install")
    assert done.code == 2
    assert "threshold" in done.err
    assert not mac.places.agent_file.exists()


def test_the_devices_name_is_kept_so_that_it_does_not_follow_the_network(
    mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "machine_name", lambda: "Zoes-Mac-mini")
    assert mac.daemonctl("install").code == 0
    monkeypatch.setattr(values, "machine_name", lambda: "Zoes-Mac-mini-2")
    assert mac.daemonctl("install").code == 0
    context = Context(None, mac.environ, io.StringIO(), io.StringIO())
    assert context.settings().node_id == "zoes-mac-mini"


def test_a_missing_configuration_is_made_private_and_without_settings(mac: Mac) -> None:
    mac.config_file.unlink()
    dry = mac.daemonctl("install", "--dry-run")
    assert f"would write {mac.config_file} " in dry.out
    assert not mac.config_file.exists()


def test_settings_of_the_environment_are_named_because_the_agent_does_not_see_them(
    mac: Mac,
) -> None:
    mac.environ["VOICE_DAEMON_MQTT__HOST"] = "127.0.0.1"
    done = mac.daemonctl("install", "--dry-run")
    assert "the agent will not see VOICE_DAEMON_MQTT__HOST" in done.err


@pytest.mark.parametrize("name", ["install", "uninstall", "start", "stop", "restart"])
def test_root_is_refused(mac: Mac, name: str) -> None:
    mac.uid = 0
    done = mac.daemonctl(name)
    assert done.code == 1
    assert "this is root\n  -> run it again without sudo" in done.err


@pytest.mark.parametrize("name", ["install", "uninstall", "start", "stop", "restart"])
def test_linux_is_told_of_systemd(mac: Mac, name: str) -> None:
    mac.platform = "linux"
    done = mac.daemonctl(name)
    assert done.code == 1
    assert "launchd is part of macOS, and this is linux" in done.err
    assert "systemd" in done.err


@pytest.mark.parametrize("name", ["start", "stop", "restart"])
def test_what_is_not_installed_has_its_own_exit_code(mac: Mac, name: str) -> None:
    done = mac.daemonctl(name)
    assert done.code == 4
    assert "the agent is not installed" in done.err
    assert "run `daemonctl install`" in done.err


def test_without_a_login_session_the_remedy_is_to_log_in(
    new_mac: Callable[..., Mac], mosquitto_port: int
) -> None:
    mac = new_mac(session=False)
    mac.config_file.write_text(f"[mqtt]\nport = {mosquitto_port}\n")
    done = mac.daemonctl("install")
    assert done.code == 1
    assert "no login session with a screen" in done.err
    assert "automatic login" in done.err
    assert mac.daemonctl("uninstall").code == 0, "files can go from a remote session too"


def test_stop_and_start_and_restart_may_be_repeated(installed: Mac) -> None:
    for name, verbs in (
        ("stop", ["bootout"]),
        ("stop", []),
        ("start", ["enable", "bootstrap", "kickstart"]),
        ("start", ["kickstart"]),
        ("restart", ["bootout", "enable", "bootstrap", "kickstart"]),
    ):
        done = installed.daemonctl(name)
        assert (done.code, done.err) == (0, "")
        assert told_commands(done.out) == verbs
    assert {note["code"] for note in installed.launchd.journal("ended")} == {0}


def test_the_answer_can_be_json(installed: Mac) -> None:
    done = installed.daemonctl("restart", "--json")
    document = json.loads(done.out)
    assert (document["schema"], document["command"]) == (1, "restart")
    assert document["pid"] == daemon_pid(installed)
    assert len(document["steps"]) == 4


def test_uninstall_leaves_what_it_names_and_nothing_else(installed: Mac) -> None:
    allow_the_microphone(installed)
    done = installed.daemonctl("uninstall")
    assert (done.code, done.err) == (0, "")
    assert installed.tcc.shown_on(MICROPHONE, LABEL) is None
    stays = {line.removeprefix("stays: ") for line in done.out.splitlines()}
    assert {str(installed.home / name) for name in installed.files()} <= stays
    assert installed.config_file.exists()
    assert installed.launchctl().state(LABEL) is None
    again = installed.daemonctl("uninstall")
    assert again.code == 0
    assert told_commands(again.out) == []


def test_a_purge_keeps_the_configuration_alone(installed: Mac) -> None:
    models = installed.voice_home / "models" / "small.en"
    models.mkdir(parents=True)
    (models / "weights").touch()
    (installed.voice_home / "audio").mkdir()
    (installed.voice_home / "audio" / "session.wav").touch()
    for name in ("vocabulary.json", "timers.json", "state.json"):
        (installed.voice_home / name).write_text("{}")
    (installed.voice_home / "password").write_text("secret")  # named by the configuration
    refused = installed.daemonctl("uninstall", "--purge")
    assert refused.code == 2
    assert "not confirmed" in refused.err
    assert models.exists()
    assert installed.launchctl().state(LABEL) is not None
    done = installed.daemonctl("uninstall", "--purge", "--yes")
    assert (done.code, done.err) == (0, "")
    assert installed.files() == {"voice/config.toml", "voice/password"}
    assert "config.toml" in done.out


def test_a_daemon_in_a_terminal_is_not_joined_by_a_second_one(installed: Mac) -> None:
    installed.launchctl().bootout(LABEL)
    program = [str(installed.python), "-m", "voice_daemon", "run", "--supervised"]
    with subprocess.Popen(program, env={**os.environ, **installed.environ}) as terminal:
        try:
            eventually((installed.voice_home / "voice-daemon.sock").exists, "it runs")
            for command in (["start"], ["install"], ["uninstall", "--purge", "--yes"]):
                done = installed.daemonctl(*command)
                assert done.code == 1, done.err
                assert "a daemon is running that launchd did not start" in done.err
        finally:
            terminal.kill()
