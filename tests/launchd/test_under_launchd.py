"""The real daemon as launchd runs it: real microphone, models and broker, from install to purge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Seen
from rigs.fake_hub import FakeHub
from rigs.fake_launchd.harness import patiently
from rigs.fake_launchd.mac import Mac
from rigs.macos.tcc import parent_of
from rigs.model_pull import REPO, REPOS
from rigs.virtual_microphone import DEVICE, VirtualMicrophone, why_not
from support.daemon_process import DaemonProcess, daemonctl_here, run_daemonctl
from support.processes import is_gone
from support.subscriber import Subscriber
from support.wyoming_process import wyoming_process
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError
from voice_daemon.launchd import LABEL

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

whole_daemons = pytest.mark.slow
"""The test starts several daemons that load their models, or waits for one's end."""

NODE = "agent"
THROTTLE_SCALE = 0.05
THROTTLE_S = 10 * THROTTLE_SCALE


@pytest.fixture(scope="module")
def microphone() -> Iterator[VirtualMicrophone]:
    made = VirtualMicrophone().start()
    yield made
    made.stop()


@pytest.fixture
def mac(new_mac: Callable[..., Mac], microphone: VirtualMicrophone, mosquitto_port: int) -> Mac:
    """A Mac with a microphone that every program of the login session finds."""
    made = new_mac(throttle_scale=THROTTLE_SCALE)
    made.config_file.write_text(
        f'node_id = "{NODE}"\n[audio]\ndevice = "{DEVICE}"\n[mqtt]\nport = {mosquitto_port}\n'
    )
    made.launchd.launchctl("setenv", "ALSA_CONFIG_PATH", microphone.environ["ALSA_CONFIG_PATH"])
    return made


@pytest.fixture
def installed(mac: Mac) -> Mac:
    done = mac.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    return mac


def status(mac: Mac) -> dict[str, Any] | None:
    """What the daemon says of itself; None when it does not answer."""
    try:
        return ControlClient(mac.voice_home / "voice-daemon.sock").request("status")
    except ControlError:
        return None


def launcher_pid(mac: Mac) -> int:
    state = mac.launchctl().state(LABEL)
    assert state is not None
    assert state.pid is not None
    return state.pid


def answers_as(mac: Mac, state: str, *, not_pid: int | None = None) -> dict[str, Any]:
    """Wait for a daemon in a state, of another process than the one that was there before."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        now = status(mac)
        if now and now["session"]["state"] == state and now["pid"] != not_pid:
            found.append(now)
        return bool(found)

    patiently(there, f"the daemon is {state}")
    return found[0]


def is_on(leaf: str, payload: bytes | None = None) -> Callable[[Seen], bool]:
    def wanted(message: Seen) -> bool:
        fits = payload in (None, message.payload) and not message.retain
        return fits and message.topic == f"voice/{NODE}/{leaf}"

    return wanted


def on(subscriber: Subscriber, leaf: str) -> list[dict[str, Any]]:
    return [json.loads(m.payload) for m in subscriber.seen if is_on(leaf)(m)]


def test_what_is_said_to_the_agent_is_published(
    installed: Mac, microphone: VirtualMicrophone, subscriber: Subscriber, demo_clip: Path
) -> None:
    answers_as(installed, "idle")
    microphone.play(demo_clip)
    final = json.loads(subscriber.wait_for(is_on("transcript/final")).payload)
    assert "kitchen lights" in final["text"].lower()


def test_a_crash_is_followed_by_a_start_and_never_too_soon(
    installed: Mac, subscriber: Subscriber
) -> None:
    first = answers_as(installed, "idle")["pid"]
    os.kill(first, signal.SIGKILL)
    answers_as(installed, "idle", not_pid=first)
    assert [note["code"] for note in installed.launchd.journal("ended")] == [128 + signal.SIGKILL]
    starts = installed.launchd.journal("spawned")
    assert len(starts) == 2
    assert starts[1]["at_s"] - starts[0]["at_s"] >= THROTTLE_S
    subscriber.wait_for(is_on("availability", b"offline"))


def test_a_launcher_that_is_killed_takes_the_daemon_along_and_both_come_back(
    installed: Mac,
) -> None:
    first = answers_as(installed, "idle")["pid"]
    os.kill(launcher_pid(installed), signal.SIGKILL)
    patiently(lambda: is_gone(first), "the daemon has gone")
    second = answers_as(installed, "idle", not_pid=first)["pid"]
    assert launcher_pid(installed) == parent_of(second)
    assert [note["signal"] for note in installed.launchd.journal("ended")] == [signal.SIGKILL]


@whole_daemons
def test_a_daemon_whose_launcher_was_killed_says_goodbye_where_nobody_clears_up(
    mac: Mac, subscriber: Subscriber
) -> None:
    """Started by hand or by `open`: there is no launchd to kill what is left of the group."""
    mac.daemonctl("install")
    mac.daemonctl("stop")
    variables = {**os.environ, **mac.environ}
    variables["ALSA_CONFIG_PATH"] = mac.launchd.launchctl("getenv", "ALSA_CONFIG_PATH").stdout
    launcher = subprocess.Popen([mac.places.program], env=variables, start_new_session=True)
    daemon = answers_as(mac, "idle")["pid"]
    n_said = len(subscriber.seen)
    launcher.kill()
    launcher.wait()
    patiently(lambda: is_gone(daemon), "the daemon has gone")
    left = [message for message in subscriber.seen[n_said:] if is_on("availability")(message)]
    assert [message.payload for message in left] == [b"offline"]


@whole_daemons
def test_a_reload_that_comes_while_the_daemon_starts_does_not_end_it(installed: Mac) -> None:
    before = answers_as(installed, "idle")["pid"]
    installed.daemonctl("stop")
    installed.launchctl().bootstrap(LABEL, installed.places.agent_file)
    installed.launchd.await_events("spawned", 2)
    os.kill(launcher_pid(installed), signal.SIGHUP)
    answers_as(installed, "idle", not_pid=before)
    assert len(installed.launchd.journal("spawned")) == 2
    assert [note["code"] for note in installed.launchd.journal("ended")] == [0]


@whole_daemons
def test_a_stop_that_comes_while_the_daemon_starts_is_a_clean_one(installed: Mac) -> None:
    answers_as(installed, "idle")
    installed.daemonctl("stop")
    installed.launchctl().bootstrap(LABEL, installed.places.agent_file)
    installed.launchd.await_events("spawned", 2)
    assert installed.daemonctl("stop").code == 0
    assert [note["code"] for note in installed.launchd.journal("ended")] == [0, 0]


@whole_daemons
def test_a_daemon_that_cannot_start_comes_back_at_the_throttles_pace(
    mac: Mac, mosquitto_port: int
) -> None:
    """A port that is taken may be free at the next try."""
    taken = f"[wyoming]\nenabled = true\nport = {mosquitto_port}\n"
    mac.config_file.write_text(f"{mac.config_file.read_text()}{taken}")
    done = mac.daemonctl("install", ready_s=0.1)
    assert done.code == 1
    assert "it was started, and does not answer" in done.err
    ended = mac.launchd.await_events("ended", 2)
    assert {note["code"] for note in ended} == {75}
    first, second, *_ = mac.launchd.await_events("spawned", 3)
    assert second["at_s"] - first["at_s"] >= THROTTLE_S
    state = mac.launchctl().state(LABEL)
    assert state is not None
    assert state.last_exit == "75: EX_TEMPFAIL"


def test_without_a_microphone_it_stays_up_says_so_and_works_when_one_is_plugged_in(
    mac: Mac, microphone: VirtualMicrophone, subscriber: Subscriber
) -> None:
    microphone.unplug()
    try:
        done = mac.daemonctl("install")
        assert done.code == 0
        assert "  ! mic: " in done.out
        subscriber.wait_for(is_on("state", b"degraded"))
        assert [error["code"] for error in on(subscriber, "error")] == ["mic.lost"]
        waiting = answers_as(mac, "degraded")
        shown = daemonctl_here("status", home=mac.voice_home)
        assert shown.returncode == 1
        assert "audio input" in shown.stdout
        patiently(
            lambda: (status(mac) or waiting)["uptime_s"] > waiting["uptime_s"] + 8 * THROTTLE_S,
            "it stays where another would have been started eight times",
        )
        assert (status(mac) or {})["pid"] == waiting["pid"]
    finally:
        microphone.plug_in()
    assert answers_as(mac, "idle")["pid"] == waiting["pid"]
    assert len(mac.launchd.journal("spawned")) == 1


@whole_daemons  # with a daemon that lacks its model: test_installation.py
def test_a_stop_is_clean_and_lasts_until_start_and_uninstall_leaves_nothing(
    installed: Mac, subscriber: Subscriber
) -> None:
    answers_as(installed, "idle")
    done = installed.daemonctl("stop")
    assert (done.code, done.err) == (0, "")
    subscriber.wait_for(is_on("availability", b"offline"))
    assert [note["code"] for note in installed.launchd.journal("ended")] == [0]
    assert [note["signal"] for note in installed.launchd.journal("signalled")] == ["SIGTERM"]
    assert status(installed) is None
    assert installed.daemonctl("start").code == 0
    pid = answers_as(installed, "idle")["pid"]
    assert len(installed.launchd.journal("spawned")) == 2
    assert installed.daemonctl("uninstall", "--purge", "--yes").code == 0
    assert installed.launchctl().state(LABEL) is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    left = {name for name in installed.files() if not name.startswith(".config/pulse/")}
    assert left == {"voice/config.toml"}


@whole_daemons
def test_a_purge_takes_whatever_the_daemon_and_its_commands_wrote(
    installed: Mac,
    microphone: VirtualMicrophone,
    subscriber: Subscriber,
    demo_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(installed.home))
    configured = f"{installed.config_file.read_text()}[privacy]\nsave_audio = true\n"
    installed.config_file.write_text(configured)
    voice = installed.voice_home
    before = answers_as(installed, "idle")["pid"]
    assert installed.daemonctl("restart").code == 0
    pid = answers_as(installed, "idle", not_pid=before)["pid"]
    microphone.play(demo_clip)
    subscriber.wait_for(is_on("transcript/final"))
    assert run_daemonctl("mute", home=voice).returncode == 0
    patiently((voice / "state.json").exists, "the mute is remembered")
    assert run_daemonctl("models", "measure", "tiny.en", home=voice).returncode == 0
    with wyoming_process(voice):
        pass
    with FakeHub(REPOS) as hub:
        pulled = run_daemonctl("models", "pull", REPO, home=voice, HF_ENDPOINT=hub.endpoint)
    assert pulled.returncode == 0, pulled.stderr
    os.kill(pid, signal.SIGKILL)
    for unfinished in (".state.json.abc", ".measured.json.1"):  # what a power cut leaves
        (voice / unfinished).touch()
    agent_file = installed.places.agent_file
    agent_file.with_name(f".{agent_file.name}.new").touch()
    (voice / "logs" / "serve-wyoming.jsonl.1").touch()
    written = {file.split("/")[1] for file in installed.files() if file.startswith("voice/")}
    assert written >= {"audio", "logs", "models", "measured.json", "state.json"}
    assert (voice / "logs" / "serve-wyoming.jsonl").stat().st_size
    assert installed.daemonctl("uninstall", "--purge", "--yes").code == 0
    left = {name for name in installed.files() if not name.startswith(".config/pulse/")}
    assert left == {"voice/config.toml"}
    assert {path.name for path in voice.iterdir()} == {"config.toml"}


def test_a_stop_in_the_middle_of_a_session_ends_it_before_launchd_kills(
    installed: Mac, microphone: VirtualMicrophone, subscriber: Subscriber, demo_clip: Path
) -> None:
    answers_as(installed, "idle")
    voice = threading.Thread(target=microphone.play, args=(demo_clip,))
    voice.start()
    subscriber.wait_for(is_on("transcript/partial"))
    assert installed.daemonctl("stop").code == 0
    voice.join()
    subscriber.wait_for(is_on("availability", b"offline"))
    signals = [note["signal"] for note in installed.launchd.journal("signalled")]
    assert signals == ["SIGTERM"], "SIGKILL would come after ExitTimeOut"
    assert [note["code"] for note in installed.launchd.journal("ended")] == [0]
    started, ended = on(subscriber, "session")
    assert started["session_id"] == ended["session_id"]
    assert ended["finals"] == len(on(subscriber, "transcript/final"))
    assert ended["reason"] in {"shutdown", "silence"}


@whole_daemons
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ('[asr]\nmodel = "./nothing-here"', 1, "nothing-here"),
        ("[wake]\nthreshold = 7", 2, "threshold = 7"),
    ],
)
def test_a_restart_that_would_fail_leaves_the_daemon_alone(
    installed: Mac, change: str, code: int, said: str
) -> None:
    before = answers_as(installed, "idle")["pid"]
    good = installed.config_file.read_text()
    installed.config_file.write_text(f"{good}{change}\n")
    done = installed.daemonctl("restart")
    assert done.code == code
    assert said in done.err
    assert answers_as(installed, "idle")["pid"] == before
    installed.config_file.write_text(good)
    assert "load and run tiny.en once" in installed.daemonctl("restart").out
    answers_as(installed, "idle", not_pid=before)


@whole_daemons
def test_a_wrong_configuration_waits_for_a_better_one(installed: Mac) -> None:
    before = answers_as(installed, "idle")["pid"]
    good = installed.config_file.read_text()
    installed.config_file.write_text(f"{good}[wake]\nthreshold = 7\n")
    assert installed.daemonctl("stop").code == 0
    assert installed.daemonctl("start").code == 0
    waiting = answers_as(installed, "degraded", not_pid=before)
    assert "threshold = 7" in waiting["problems"][0]["message"]
    shown = run_daemonctl("status", home=installed.voice_home)
    assert shown.returncode == 1
    assert "threshold = 7" in shown.stdout
    patiently(
        lambda: (status(installed) or waiting)["uptime_s"] > 4 * THROTTLE_S,
        "it stays where another would have been started four times",
    )
    assert launcher_pid(installed) == parent_of(waiting["pid"])
    assert len(installed.launchd.journal("spawned")) == 2
    installed.config_file.write_text(good)
    answers_as(installed, "idle", not_pid=waiting["pid"])
    assert [note["code"] for note in installed.launchd.journal("ended")] == [0, 78]


@whole_daemons
def test_a_second_one_leaves_at_once_and_is_not_started_again(
    installed: Mac, microphone: VirtualMicrophone
) -> None:
    pid = answers_as(installed, "idle")["pid"]
    second = run_daemonctl("run", home=installed.voice_home)
    assert second.returncode == 0
    assert f"already running (pid {pid};" in second.stderr
    assert installed.daemonctl("stop").code == 0
    environ = {"ALSA_CONFIG_PATH": microphone.environ["ALSA_CONFIG_PATH"]}
    with DaemonProcess((), installed.voice_home, environ) as terminal:
        answers_as(installed, "idle")
        installed.launchctl().bootstrap(LABEL, installed.places.agent_file)
        ended = installed.launchd.await_events("ended", 2)
        assert ended[-1]["code"] == 0
        assert len(installed.launchd.journal("spawned")) == 2
        terminal.signal(signal.SIGTERM)
        assert terminal.wait() == 0
