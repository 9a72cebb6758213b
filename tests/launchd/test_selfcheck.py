"""`daemonctl selfcheck` on a Mac by Apple's rules, with the real daemon under the fake launchd."""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigs.fake_launchd.mac import Mac
from support.statuses import RUNNING
from voice_daemon.cli import selfcheck
from voice_daemon.cli.context import Context
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import ServiceError
from voice_daemon.runtime.status import Status

METAL = {"platform": "darwin", "code": 'print("""{"fast": true, "metal": true, "ms": 3}""")'}
SECRET = "hunter2"


@pytest.fixture
def installed(mac: Mac) -> Mac:
    config = mac.config_file.read_text()
    mac.config_file.write_text(f'{config}username = "zoe"\nhost = "127.0.0.1"\n')
    assert mac.daemonctl("install").code == 0
    # An ELF Python stands for one of a Mac.
    python = mac.home / "python"
    pretends = 'case "$*" in *platform*) echo 3.12.9 arm64; exit;; esac'
    python.write_text(f'#!/bin/sh\n{pretends}\nexec {mac.python} "$@"\n')
    python.chmod(0o755)
    mac.python = python
    assert mac.daemonctl("install").code == 0
    return mac


def checked(mac: Mac, *, as_json: bool = True) -> tuple[int, str]:
    out = io.StringIO()
    context = Context(None, mac.environ, out, io.StringIO(), machine=mac.machine)
    args = argparse.Namespace(json=as_json)
    code = selfcheck.run(args, context, compute_options=METAL)
    return code, out.getvalue()


def by_name(mac: Mac) -> dict[str, dict[str, str]]:
    document: dict[str, Any] = json.loads(checked(mac)[1])
    assert document["schema"] == 1
    return {check["check"]: check for check in document["checks"]}


@pytest.fixture
def says(installed: Mac) -> Iterator[list[Status]]:
    """Stand in for the daemon of the agent: it says the newest of these."""
    installed.daemonctl("stop")
    statuses = [RUNNING]
    socket = installed.voice_home / "voice-daemon.sock"
    server = ControlServer(socket, {"status": lambda _: statuses[-1].to_dict()})
    server.start()
    yield statuses
    server.stop()


def test_what_an_installation_made_is_as_expected_by_macos_own_programs(installed: Mac) -> None:
    found = by_name(installed)
    seen = {name: check["verdict"] for name, check in found.items()}
    assert {
        name: seen[name]
        for name in ("macos", "processor", "python", "metal", "agent file", "app's Info.plist")
    } == dict.fromkeys(
        ("macos", "processor", "python", "metal", "agent file", "app's Info.plist"), "as expected"
    )
    for name in ("signature", "identity", "program", "launcher", "agent", "launcher's child"):
        assert seen[name] == "as expected", found[name]
    for name in ("memory", "name", "sleep", "power cut", "disk encryption"):
        assert seen[name] == "as expected", found[name]
    assert "CDHash=" in found["identity"]["seen"]
    assert "minimum runtime = 10" in found["agent"]["seen"]


def test_a_daemon_that_works_is_as_expected(installed: Mac, says: list[Status]) -> None:
    mic = replace(RUNNING.mic, permission="authorized")
    says.append(replace(RUNNING, mic=mic, asr=replace(RUNNING.asr, self_test="pass")))
    found = by_name(installed)
    told = ("microphone permission", "sound", "wake word's self-test", "recogniser's self-test")
    assert {found[name]["verdict"] for name in (*told, "broker")} == {"as expected"}


def test_what_is_wrong_differs_and_is_shown_beside_what_is_expected(
    installed: Mac, says: list[Status]
) -> None:
    mic = replace(RUNNING.mic, permission="denied", level_dbfs=-math.inf)
    refused = "mqtt://secret-house.local:1883: no route to the host"
    broker = replace(
        RUNNING.mqtt, url="mqtt://secret-house.local:1883", connected=False, last_error=refused
    )
    says.append(replace(RUNNING, mic=mic, mqtt=broker))
    installed.state.put("sw_vers", "13.6")
    installed.state.put("pmset", " sleep 10\n")
    (installed.places.app / "Contents" / "Resources" / "more").touch()
    code, text = checked(installed)
    assert code == 1
    found = by_name(installed)
    assert found["macos"]["seen"] == "13.6"
    assert "a sealed resource is missing or invalid" in found["signature"]["seen"]
    assert found["microphone permission"]["seen"] == "denied"
    assert found["sound"]["seen"] == "silence"
    assert found["broker"]["seen"] == "no route to the host"
    assert found["sleep"]["seen"] == "sleep 10"
    assert found["power cut"]["seen"] == "autorestart is not told"
    assert found["agent"]["seen"].startswith("exit code 113")
    differing = {name for name, check in found.items() if check["verdict"] == "differs"}
    assert differing >= {"macos", "signature", "microphone permission", "sound", "broker", "sleep"}
    assert "secret-house" not in text


def test_the_report_can_be_pasted(installed: Mac) -> None:
    password = installed.home / "password"
    password.write_text(SECRET)
    password.chmod(0o600)
    code, text = checked(installed, as_json=False)
    assert code == 1, "its model is missing"
    assert text.startswith("A report to paste into an issue.")
    assert text.rstrip().endswith("as expected")
    assert "expected: Mach-O 64-bit executable arm64" in text
    for private in (str(installed.home), SECRET, "zoe", "127.0.0.1"):
        assert private not in text


def test_without_an_installation_each_check_still_stands_for_itself(mac: Mac) -> None:
    found = by_name(mac)
    assert found["macos"]["verdict"] == "as expected"
    assert found["signature"]["verdict"] == "differs"
    assert found["daemon"]["verdict"] == "not seen"
    assert "daemonctl install" in found["daemon"]["seen"]
    assert found["name"]["seen"] == "written down"


def test_elsewhere_there_is_nothing_to_check(mac: Mac) -> None:
    mac.platform = "linux"
    with pytest.raises(ServiceError, match="this is linux"):
        checked(mac)


def test_the_programs_are_macos_own(installed: Mac) -> None:
    checked(installed)
    run = {words[0] for words in installed.runs()}
    assert run >= {"codesign", "plutil", "file", "sw_vers", "pmset", "vmmap", "fdesetup"}
    assert Path("/usr/bin/true").exists()
