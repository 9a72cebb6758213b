from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigs.fake_launchd.harness import patiently
from rigs.virtual_microphone import DEVICE, OUTPUT, VirtualMicrophone, why_not
from support.daemon_process import DaemonProcess, run_daemonctl
from voice_daemon import __version__
from voice_daemon.control.client import ControlClient
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import ControlError, Problem
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)

NODE = "doctored"
WITH_OUTPUT = {"VOICE_DAEMON_AUDIO__OUTPUT": OUTPUT}
DEGRADED = Status(
    version=__version__,
    pid=812,
    uptime_s=61.0,
    mic=MicStatus("Anker", 16_000, last_block_age_ms=10),
    wake=WakeStatus(("hey_jarvis",), 0.5, "pass"),
    asr=AsrStatus("tiny.en", warm=True),
    mqtt=BrokerStatus("mqtt://127.0.0.1:1883", "c", connected=True),
    session=SessionStatus("degraded", muted=False),
    problems=(Problem("mic", "12 s of digital silence", "allow it"),),
)


@pytest.fixture
def home(short_folder: Path, mosquitto_port: int) -> Path:
    config = f'node_id = "{NODE}"\n[audio]\ndevice = "{DEVICE}"\n[mqtt]\n'
    (short_folder / "config.toml").write_text(f"{config}port = {mosquitto_port}\n")
    return short_folder


@pytest.fixture
def home_without_its_model(home: Path) -> Path:
    """A home whose recogniser is not looked at: that takes seconds."""
    config = home / "config.toml"
    config.write_text(f'{config.read_text()}[asr]\nmodel = "small.en"\n')
    return home


@pytest.fixture(scope="module")
def microphone() -> Iterator[VirtualMicrophone]:
    if why_not() is not None:
        pytest.skip(why_not() or "")
    made = VirtualMicrophone().start()
    yield made
    made.stop()


def examine(home: Path, **variables: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run the doctor -> exit code, findings by check."""
    done = run_daemonctl("doctor", "--json", home=home, **variables)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in document["checks"]:
        found.setdefault(finding["check"], []).append(finding)
        assert finding["remedy"] or finding["verdict"] in {"ok", "skip"}
    assert document["healthy"] is (done.returncode == 0)
    return done.returncode, found


def test_without_a_daemon_everything_is_looked_at(
    home: Path, microphone: VirtualMicrophone, demo_clip: Path
) -> None:
    with playing(microphone, demo_clip):
        code, found = examine(home, **microphone.environ, **WITH_OUTPUT)
    assert code == 0
    assert {check: {f["verdict"] for f in findings} for check, findings in found.items()} == {
        "daemon": {"warn"},
        "files": {"ok"},
        "device": {"ok"},
        "microphone": {"ok"},
        "output": {"ok"},
        "wake": {"ok"},
        "model": {"ok"},
        "recogniser": {"ok"},
        "vocabulary": {"skip"},
        "broker name": {"ok"},
        "broker port": {"ok"},
        "broker tls": {"ok"},
        "broker login": {"ok"},
        "broker access": {"ok"},
        "node id": {"ok"},
        "home assistant": {"warn"},
        "disk": {found["disk"][0]["verdict"]},
        "clock": {"ok"},
        "compute": {found["compute"][0]["verdict"]},
    }


@contextmanager
def playing(microphone: VirtualMicrophone, clip: Path) -> Iterator[None]:
    """Let it hear a recording, again and again."""
    stop = threading.Event()

    def play() -> None:
        while not stop.is_set():
            microphone.play(clip)

    player = threading.Thread(target=play)
    player.start()
    yield
    stop.set()
    player.join()


def test_perfect_silence_is_told_from_sound(
    home_without_its_model: Path, microphone: VirtualMicrophone
) -> None:
    """With sound all is well: test_without_a_daemon_everything_is_looked_at."""
    code, found = examine(home_without_its_model, **microphone.environ, **WITH_OUTPUT)
    assert code == 1
    assert found["device"][0]["verdict"] == "ok"
    assert found["output"][0]["message"] == f'"{OUTPUT}" opens, for sounds'
    assert found["microphone"][0]["message"] == "nothing but digital silence"
    assert "Privacy & Security > Microphone" in found["microphone"][0]["remedy"]


def test_a_microphone_that_is_not_there_is_named(home_without_its_model: Path) -> None:
    code, found = examine(home_without_its_model)
    assert code == 1
    assert (found["device"][0]["verdict"], found["microphone"][0]["verdict"]) == ("fail", "fail")
    assert found["output"][0]["verdict"] == "warn"


def test_beside_a_running_daemon_its_own_word_counts(
    home: Path, microphone: VirtualMicrophone
) -> None:
    with DaemonProcess((), home, dict(microphone.environ)) as daemon:

        def is_idle() -> bool:
            try:
                status = ControlClient(home / "voice-daemon.sock").request("status")
            except ControlError:
                return False
            return bool(status["session"]["state"] == "idle")

        patiently(is_idle, "the daemon is idle")
        _, found = examine(home, **microphone.environ, **WITH_OUTPUT)
        assert daemon.is_running
        assert (
            ControlClient(home / "voice-daemon.sock").request("status")["mqtt"]["reconnects"] == 0
        )
    assert "it runs" in found["daemon"][0]["message"]
    assert found["microphone"][0]["message"].startswith("the daemon is using")
    assert found["broker access"][0]["verdict"] == "ok"


def test_a_degraded_daemons_problems_are_the_first_findings(home_without_its_model: Path) -> None:
    server = ControlServer(
        home_without_its_model / "voice-daemon.sock", {"status": lambda _: DEGRADED.to_dict()}
    )
    server.start()
    code, found = examine(home_without_its_model)
    server.stop()
    assert code == 1
    assert next(iter(found)) == "daemon"
    assert found["daemon"][0]["message"] == "mic: 12 s of digital silence"
    assert found["microphone"][0]["remedy"] == "allow it"


def test_a_broker_that_the_agent_alone_does_not_reach_is_told_as_the_agent_meets_it(
    home_without_its_model: Path,
) -> None:
    """macOS asks for the local network in the agent's name; a terminal may always."""
    refused = Problem("mqtt", "mqtt://den:1883: no route to the host", "Local Network")
    status = replace(DEGRADED, problems=(refused,))
    server = ControlServer(
        home_without_its_model / "voice-daemon.sock", {"status": lambda _: status.to_dict()}
    )
    server.start()
    code, found = examine(home_without_its_model)
    server.stop()
    assert code == 1
    assert found["daemon"][0]["message"] == "mqtt: mqtt://den:1883: no route to the host"
    assert found["daemon"][0]["remedy"] == "Local Network"
    assert found["broker port"][0]["verdict"] == "ok"


def test_a_broken_configuration_hides_only_what_needs_it(home: Path) -> None:
    (home / "config.toml").write_text("[mqtt]\nprot = 1\n")
    code, found = examine(home)
    assert code == 1
    assert found["config"][0]["verdict"] == "fail"
    assert "prot" in found["config"][0]["message"]
    assert {"daemon", "config", "disk", "clock", "compute"} == set(found)


def test_a_pipe_gets_plain_lines_with_their_remedies(home: Path) -> None:
    (home / "config.toml").write_text("[mqtt]\nprot = 1\n")
    done = run_daemonctl("doctor", home=home)
    lines = done.stdout.splitlines()
    assert lines[0] == (
        f"warn  daemon          the daemon is not running: no control socket at "
        f"{home}/voice-daemon.sock"
    )
    assert lines[1] == "                      -> start it with `daemonctl run`"
    assert lines[-1].endswith("1 skip")
    assert "\x1b[" not in done.stdout
