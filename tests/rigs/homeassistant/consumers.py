"""What the project ships to act on finals beside the blueprint, as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from rigs.brokers import HOST, Mosquitto
from rigs.homeassistant.environment import TOKEN_FILE, URL
from rigs.homeassistant.hub import Hub, soon

_DOCS = Path(__file__).parents[3] / "docs"
NODE = shutil.which("node")
_RUN = """
const kept = {};
const context = {get: k => kept[k], set: (k, v) => { kept[k] = v; }};
const act = new Function("msg", "context", process.argv[1]);
require("readline").createInterface({input: process.stdin}).on("line", line => {
    const out = act({topic: "voice/den/transcript/final", payload: JSON.parse(line)}, context);
    console.log(JSON.stringify(out && out.payload));
});
"""


@contextmanager
def example_script(broker: Mosquitto, *, port: int | None = None, base: str) -> Iterator[None]:
    """Run the script of the documentation, until the block ends."""
    arguments = ("--url", os.environ[URL], "--token-file", os.environ[TOKEN_FILE], "--base", base)
    script = _DOCS / "examples" / "assist_in_a_room.py"
    heard = f"{base}/+/transcript/final (QoS 1)"
    before = broker.log_text().count(heard)
    with subprocess.Popen(
        [sys.executable, script, *arguments, "--port", str(port or broker.port)],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            soon(lambda: broker.log_text().count(heard) > before, "the example listens")
            yield
        finally:
            process.terminate()


@contextmanager
def node_red(hub: Hub, port: int, *, base: str) -> Iterator[None]:
    """Run the function of the Node-RED flow behind a subscription like its own.

    What it passes on is carried out by Home Assistant, as a node for it would have it done.
    """
    flow = json.loads((_DOCS / "node-red" / "voice-daemon.json").read_text())
    (function,) = (node["func"] for node in flow if node["id"] == "voice_once")
    with subprocess.Popen(
        [str(NODE), "-e", _RUN, function],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout

        def hear(_client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
            into.write(message.payload.decode() + "\n")
            into.flush()

        def act() -> None:
            for line in out:
                if (text := json.loads(line)) is not None:
                    request = {"text": text, "language": "en"}
                    hub.request("POST", "/api/conversation/process", request)

        threading.Thread(target=act, daemon=True).start()
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = hear
        client.on_connect = lambda c, *_: c.subscribe(f"{base}/+/transcript/final", qos=1)
        client.connect(HOST, port)
        client.loop_start()
        try:
            yield
        finally:
            client.disconnect()
            client.loop_stop()
            process.terminate()
