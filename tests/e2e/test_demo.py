"""`daemonctl demo`, as `scripts/demo` runs it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from support.daemon_process import run_daemonctl
from voice_daemon.cli.main import main


def test_the_demo_shows_the_whole_path_and_reads_no_configuration(voice_home: Path) -> None:
    (voice_home / "config.toml").write_text("[mqtt]\nport = 1\nnonsense = true\n")
    done = run_daemonctl("demo", "--json", home=voice_home)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    topics = [line["topic"] for line in lines if line["event"] == "message"]
    order = ["wake", "transcript/partial", "transcript/final"]
    assert [topics.index(topic) for topic in order] == sorted(topics.index(t) for t in order)
    assert topics[-1] == "availability"
    (home,) = (line for line in lines if line["event"] == "home")
    assert home["name"] not in home["heard"]
    assert home["understood"] == home["spoken"]
    summary = lines[-1]
    assert (summary["event"], summary["ok"]) == ("summary", True)
    assert summary["final_latency_s"] > 0


@pytest.mark.slow  # the broker alone: tests/demo/test_broker.py
def test_without_mosquitto_the_demo_runs_as_quietly_on_amqtt(
    voice_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("voice_daemon.demo.broker.find_mosquitto", lambda: None)
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(voice_home))
    assert main(["demo"]) == 0
    shown = capfd.readouterr()
    assert "amqtt" in shown.out
    assert "✓" in shown.out
    assert shown.err == ""


def test_a_port_in_use_is_one_line_and_a_usage_error(voice_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_daemonctl("demo", "--port", str(port), home=voice_home)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert len(done.stderr.splitlines()) == 2
