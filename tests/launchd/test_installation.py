"""Installing, repairing and removing, under a launchd that keeps the real one's rules."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import voice_daemon
from rigs.brokers import eventually
from rigs.fake_launchd import property_list
from rigs.fake_launchd.mac import Mac
from voice_daemon.launchd import LABEL


@pytest.fixture
def installed(mac: Mac) -> Mac:
    done = mac.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    return mac


def commands(out: str) -> list[str]:
    """The launchctl verbs that were told."""
    lines = [line.removeprefix("would ") for line in out.splitlines()]
    return [line.split()[2] for line in lines if line.startswith("run launchctl ")]


def inodes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_ino for path in folder.rglob("*")}


def test_install_makes_agent_and_app_and_starts_them(installed: Mac) -> None:
    agent = plistlib.loads(installed.places.agent_file.read_bytes())
    assert property_list.findings(agent) == []
    assert agent["ProgramArguments"][0] == str(installed.places.program)
    assert agent["ProgramArguments"][-1] == str(installed.config_file)
    assert agent["EnvironmentVariables"]["VOICE_DAEMON_HOME"] == str(installed.voice_home)
    state = installed.launchctl().state(LABEL)
    assert state is not None
    assert (state.runs, state.pid is not None) == (1, True)
    options = f"--force --identifier {LABEL} --sign - "
    app = installed.places.app.with_name(".VoiceDaemon-building.app")
    assert installed.signatures() == [f"{options}{app}"]


def test_the_agent_runs_the_program_in_the_app(installed: Mac) -> None:
    state = installed.launchctl().state(LABEL)
    assert state is not None
    assert Path(f"/proc/{state.pid}/exe").readlink() == installed.places.program


def test_it_says_what_ails_the_daemon(mac: Mac) -> None:
    done = mac.daemonctl("install")
    assert "there is no model 'small.en' here\n    -> daemonctl models pull small.en" in done.out


def test_a_dry_run_tells_everything_and_does_nothing(mac: Mac) -> None:
    before = mac.files()
    dry = mac.daemonctl("install", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert (mac.files(), mac.launchd.journal(), mac.signatures()) == (before, [], [])
    told = [line.removeprefix("would ") for line in dry.out.splitlines()]
    assert told.pop() == "nothing was changed"
    done = mac.daemonctl("install")
    assert done.out.splitlines()[: len(told)] == told
    for name in mac.files() - before:
        if name.startswith(("Applications", "Library")):
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
    assert commands(done.out) == ["kickstart"]
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


def test_another_python_gets_another_app_and_a_restart(installed: Mac) -> None:
    upgraded = installed.home / "python3.99"
    shutil.copyfile(installed.interpreter.program, upgraded)
    with upgraded.open("ab") as file:
        file.write(b"another build")
    upgraded.chmod(0o755)
    pid = installed.launchctl().state(LABEL)
    installed.interpreter = replace(installed.interpreter, program=upgraded)
    done = installed.daemonctl("install")
    assert done.code == 0
    assert commands(done.out) == ["bootout", "enable", "bootstrap", "kickstart"]
    assert installed.launchctl().state(LABEL) != pid
    assert installed.places.program.read_bytes() == upgraded.read_bytes()


def test_an_upgrade_of_the_daemon_restarts_it_in_the_same_app(
    installed: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed.launchctl().state(LABEL)
    with monkeypatch.context() as patch:
        patch.setattr(voice_daemon, "__version__", "99.0")  # the running one is older now
        done = installed.daemonctl("install")
    assert commands(done.out) == ["bootout", "enable", "bootstrap", "kickstart"]
    assert installed.launchctl().state(LABEL) != before
    assert len(installed.signatures()) == 1


def test_an_identity_is_handed_to_codesign(mac: Mac) -> None:
    assert mac.daemonctl("install", "--sign", "My Certificate").code == 0
    assert "--sign My Certificate " in mac.signatures()[0]


def test_a_signature_that_fails_leaves_what_was_there(installed: Mac) -> None:
    whole, state = installed.files(), installed.launchctl().state(LABEL)
    installed.launchd.add_program("codesign", 'echo "no identity found" >&2; exit 1\n')
    done = installed.daemonctl("install", "--sign", "Nobody")
    assert done.code == 1
    assert "could not sign" in done.err
    assert "no identity found" in done.err
    assert whole <= installed.files()
    assert installed.launchctl().state(LABEL) == state


def test_an_interpreter_that_does_not_start_is_found_out_before_launchd_has_it(mac: Mac) -> None:
    broken = mac.home / "python3"
    broken.write_bytes(b"\x7fELF but not really")
    mac.interpreter = replace(mac.interpreter, program=broken)
    done = mac.daemonctl("install")
    assert done.code == 1
    assert mac.launchd.journal() == []
    assert not mac.places.agent_file.exists()


def test_a_wrong_configuration_is_told_and_not_installed(mac: Mac) -> None:
    mac.config_file.write_text("[wake]\nthreshold = 7\n")
    done = mac.daemonctl("install")
    assert done.code == 2
    assert "threshold" in done.err
    assert not mac.places.agent_file.exists()


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
        assert commands(done.out) == verbs
    assert {note["code"] for note in installed.launchd.journal("ended")} == {0}


def test_the_answer_can_be_json(installed: Mac) -> None:
    done = installed.daemonctl("restart", "--json")
    document = json.loads(done.out)
    state = installed.launchctl().state(LABEL)
    assert state is not None
    assert (document["schema"], document["command"], document["pid"]) == (1, "restart", state.pid)
    assert len(document["steps"]) == 4


def test_uninstall_leaves_what_it_names_and_nothing_else(installed: Mac) -> None:
    done = installed.daemonctl("uninstall")
    assert (done.code, done.err) == (0, "")
    stays = {line.removeprefix("stays: ") for line in done.out.splitlines()}
    assert {str(installed.home / name) for name in installed.files()} <= stays
    assert installed.config_file.exists()
    assert installed.launchctl().state(LABEL) is None
    again = installed.daemonctl("uninstall")
    assert again.code == 0
    assert commands(again.out) == []


def test_a_purge_keeps_the_configuration_alone(installed: Mac) -> None:
    models = installed.voice_home / "models" / "small.en"
    models.mkdir(parents=True)
    (models / "weights").touch()
    (installed.voice_home / "audio").mkdir()
    (installed.voice_home / "audio" / "session.wav").touch()
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
    program = [str(installed.places.program), "-m", "voice_daemon", "run", "--supervised"]
    with subprocess.Popen(program, env={**os.environ, **installed.environ}) as terminal:
        eventually((installed.voice_home / "voice-daemon.sock").exists, "it runs")
        for command in (["start"], ["install"], ["uninstall", "--purge", "--yes"]):
            done = installed.daemonctl(*command)
            assert done.code == 1
            assert "a daemon is running that launchd did not start" in done.err
        terminal.terminate()
