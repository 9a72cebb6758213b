"""What `daemonctl status` sees of an agent: the real daemon under a fake launchd."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from rigs.fake_launchd.mac import Mac
from voice_daemon.cli import status
from voice_daemon.cli.context import Context


def see(mac: Mac, *, as_json: bool = False) -> tuple[int, str]:
    """Type `daemonctl status` -> exit code, stdout."""
    out = io.StringIO()
    context = Context(None, mac.environ, out, io.StringIO(), machine=mac.machine)
    args = argparse.Namespace(watch=False, json=as_json)
    code = status.run(args, context)
    return code, out.getvalue()


def document(mac: Mac) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(see(mac, as_json=True)[1])
    return found


def test_never_installed_gives_4_and_says_how(mac: Mac) -> None:
    code, out = see(mac)
    assert code == 4
    first, problem, _ = out.splitlines()
    assert first.endswith("● not installed")
    assert problem.endswith("run `daemonctl install`, or `daemonctl run` for one in the foreground")
    assert document(mac)["condition"] == "not_installed"


def test_an_installed_agent_is_seen_waiting_for_its_model_then_stopped(mac: Mac) -> None:
    mac.daemonctl("install")
    code, out = see(mac)
    assert code == 1
    assert "● degraded" in out
    assert "! config:" in out.splitlines()[1]
    assert document(mac)["service"]["loaded"] is True
    mac.daemonctl("stop")
    code, out = see(mac)
    assert code == 3
    assert "● not loaded" in out
    assert "daemonctl start" in out
    assert document(mac)["condition"] == "not_loaded"


def test_nobody_logged_in_is_said(new_mac: Callable[..., Mac]) -> None:
    mac = new_mac(session=False)
    mac.places.agent_file.parent.mkdir(parents=True)
    mac.places.agent_file.write_text("installed")
    code, out = see(mac)
    assert code == 3
    assert "not logged in at the Mac's screen" in out


@pytest.mark.slow  # each end is that of a whole daemon; tests/cli/test_down_reasons.py has none
def test_a_daemon_that_ends_again_and_again_is_shown_with_its_last_error(
    new_mac: Callable[..., Mac], mosquitto_port: int
) -> None:
    mac = new_mac(throttle_scale=0.001)
    # A port that is taken: a restart may cure it, and does not.
    mac.config_file.write_text(
        f"[mqtt]\nport = {mosquitto_port}\n[wyoming]\nenabled = true\nport = {mosquitto_port}\n"
    )
    mac.daemonctl("install", ready_s=0.1)
    mac.launchd.await_events("ended", 3)
    seen = document(mac)
    assert seen["condition"] == "crash_looping"
    assert seen["service"]["last_exit"].startswith("75")
    assert seen["last_error"]["remedy"]
    _, out = see(mac)
    assert "● crash-looping" in out
    assert seen["last_error"]["message"] in out
    mac.daemonctl("stop")
