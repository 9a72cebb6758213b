"""The examples of docs/mqtt.md work: run word for word against a real broker."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rigs.brokers import HOST, Mosquitto, Observer, eventually, password_program
from support.mqtt_clients import settings_for
from tools.asyncapi.catalogue import AT, EVENTS, SETTINGS, TOPICS, VERBS, sent
from tools.asyncapi.reader import Reader
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.commands import Command, Kind, parse_command
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.topics import Leaf

DOCS = Path(__file__).parents[2] / "docs"
FLOW = DOCS / "node-red" / "voice-daemon.json"
WRONG_ON_PURPOSE = "cancle"


def shell_lines() -> list[str]:
    """Give the lines of the page that a reader would type, less their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "mqtt.md").read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+#.*$|\s*&$", "", line) for line in lines if not line.startswith("#")]


LISTENING = [line for line in shell_lines() if line.startswith("mosquitto_sub")]
SAYING = [line for line in shell_lines() if line.startswith("mosquitto_pub")]


@pytest.fixture
def observer(broker: Mosquitto) -> Iterator[Observer]:
    with contextlib.closing(Observer(broker.port)) as observer:
        yield observer


@pytest.fixture
def environment(broker: Mosquitto, tmp_path: Path) -> dict[str, str]:
    """Where mosquitto's programs find the broker, so that the lines can stay as they are."""
    for program in ("mosquitto_sub", "mosquitto_pub"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: `apt-get install mosquitto-clients jq`")
        (tmp_path / program).write_text(f"-h {HOST}\n-p {broker.port}\n")
    return {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}


def test_the_page_has_examples_of_both_kinds() -> None:
    assert len(LISTENING) > 5
    assert len(SAYING) > 3
    assert len(LISTENING) + len(SAYING) == len(shell_lines())


@pytest.mark.parametrize("line", LISTENING)
def test_a_subscription_prints_something(
    broker: Mosquitto, observer: Observer, environment: dict[str, str], tmp_path: Path, line: str
) -> None:
    printed = tmp_path / "printed"
    with printed.open("w") as out:
        shell = subprocess.Popen(
            ["/bin/bash", "-c", line], env=environment, stdout=out, start_new_session=True
        )
    try:
        eventually(lambda: broker.log_text().count("SUBSCRIBE") > 1, f"it subscribes: {line}")
        for entry in sent():
            payload = entry.example if entry.is_text else json.dumps(entry.example)
            topic = entry.topic.replace("{base}/{node}", TOPICS.root).replace("{verb}", "listen")
            observer.publish(topic, payload, retain=entry.retain)
        eventually(printed.read_text, f"it prints something: {line}")
    finally:
        # mosquitto_sub ends, and with its input what stands behind it, which prints the rest.
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait()


@pytest.mark.parametrize("line", SAYING)
def test_a_command_of_the_page_is_understood(
    observer: Observer, environment: dict[str, str], line: str
) -> None:
    subprocess.run(["/bin/bash", "-c", line], env=environment, check=True)
    eventually(lambda: observer.seen, "it is published")
    (seen,) = observer.seen
    assert not seen.retain
    command = parse_command(seen.topic, seen.payload, topics=TOPICS)
    assert command is not None
    known = {*VERBS, WRONG_ON_PURPOSE} if command.kind is Kind.CALL else set(SETTINGS)
    assert command.verb in known


def access_rules() -> str:
    """Give the page's rules for the daemon, and a user beside it who may do everything."""
    page = (DOCS / "mqtt.md").read_text()
    (rules,) = re.findall(r"```\n(user .*?)```\n", page, flags=re.DOTALL)
    return f"{rules}user guest\ntopic readwrite #\n"


def test_the_access_rules_of_the_page_are_enough(tmp_path: Path) -> None:
    passwords, rules, secret = (tmp_path / name for name in ("passwords", "rules", "secret"))
    for options, user in ((["-c", "-b"], "voice"), (["-b"], "guest")):
        subprocess.run([password_program(), *options, passwords, user, "pw"], check=True)
    rules.write_text(access_rules())
    secret.write_text("pw")
    secret.chmod(0o600)
    broker = Mosquitto(tmp_path, (f"password_file {passwords}", f"acl_file {rules}")).start()
    commands: list[Command] = []
    client = MqttClient(
        settings_for(broker.port, username="voice", password_file=secret),
        client_id="voice-daemon-mac-mini",
        topics=TOPICS,
        on_command=commands.append,
        announce=lambda: (),
    )
    client.start()
    guest = Observer(broker.port, login=("guest", "pw"))
    try:
        guest.wait(TOPICS.path(Leaf.AVAILABILITY), b"online")
        said = [
            message
            for event, _ in EVENTS.values()
            for message in for_event(event, topics=TOPICS, at=AT)
        ]
        for message in said:
            client.publish(message)
            guest.wait(message.topic)
        guest.publish(TOPICS.command("listen"), b"")
        guest.publish(TOPICS.setting("mute"), b"ON")
        eventually(lambda: len(commands) == 2, f"every command is heard: {commands}")
        eventually(lambda: client._online_returned, "it hears its own availability")
        assert client.status().last_error is None
    finally:
        guest.close()
        client.stop(1)
        broker.kill()


@pytest.fixture(scope="module")
def flow() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = json.loads(FLOW.read_text(encoding="utf-8"))
    return nodes


def test_the_flow_holds_together(flow: list[dict[str, Any]]) -> None:
    by_id = {node["id"]: node for node in flow}
    assert len(by_id) == len(flow)
    for node in flow:
        assert by_id[node["z"]]["type"] == "tab" if "z" in node else "x" not in node
        assert {target for wire in node.get("wires", []) for target in wire} <= set(by_id)
        if node["type"].startswith("mqtt "):
            assert by_id[node["broker"]]["type"] == "mqtt-broker"


def test_the_flow_speaks_on_topics_that_there_are(flow: list[dict[str, Any]]) -> None:
    document = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
    reader = Reader(document, {"base": "voice"})
    topics = {node["topic"] for node in flow if node["type"].startswith("mqtt ")}
    assert topics == {"voice/+/transcript/final", "voice/mac-mini/cmd/listen"}
    assert all(reader.channel(topic) for topic in topics)
    (button,) = (node for node in flow if node["type"] == "inject")
    assert reader.message("voice/mac-mini/cmd/listen", button["payload"].encode())
