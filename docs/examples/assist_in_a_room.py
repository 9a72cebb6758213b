"""Gives spoken commands a room: "turn on the lights" means those where the microphone stands.

Hears the finished commands of every voice-daemon on the broker, and runs each through Home
Assistant's Assist pipeline in the name of the device that heard it. Set that device's area in
Home Assistant, and switch off whatever else acts on commands, such as the blueprint.

    pip install paho-mqtt websockets
    python assist_in_a_room.py --url http://192.168.1.10:8123 --token-file token

Runs until Ctrl-C, anywhere that reaches both.
"""

from __future__ import annotations

import argparse
import json
import logging
import queue
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

TIMEOUT_S = 30.0
REMEMBERED = 256
"""Commands, to tell one that comes twice."""

log = logging.getLogger("assist_in_a_room")


class Assist:
    """One connection to Home Assistant's WebSocket."""

    def __init__(self, url: str, token: str) -> None:
        self._line = connect(f"ws{url.rstrip('/').removeprefix('http')}/api/websocket")
        self._number = 0
        self._line.recv(TIMEOUT_S)
        self._line.send(json.dumps({"type": "auth", "access_token": token}))
        if json.loads(self._line.recv(TIMEOUT_S))["type"] != "auth_ok":
            raise SystemExit("Home Assistant refuses the token")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def device_id(self, node: str) -> str | None:
        """Give Home Assistant's own id of the device that a node has announced."""
        # The sensor *State* says which node it belongs to, whatever it was renamed to.
        self._send({"type": "get_states"})
        ours = (s["entity_id"] for s in self._result() if s["attributes"].get("node") == node)
        entity_id = next(ours, None)
        if entity_id is None:
            return None
        self._send({"type": "config/entity_registry/get", "entity_id": entity_id})
        device_id: str | None = self._result()["device_id"]
        return device_id

    def run(self, text: str, device_id: str | None) -> str:
        """Do what `text` says, in the device's room; the answer."""
        self._send(
            {
                "type": "assist_pipeline/run",
                "start_stage": "intent",
                "end_stage": "intent",
                "input": {"text": text},
                "device_id": device_id,
            }
        )
        self._result()
        while True:
            event = self._receive()["event"]
            if event["type"] == "error":
                return str(event["data"]["message"])
            if event["type"] == "intent-end":
                speech = event["data"]["intent_output"]["response"]["speech"]
                return str(speech.get("plain", {}).get("speech", ""))

    def _send(self, command: dict[str, Any]) -> None:
        self._number += 1
        self._line.send(json.dumps({"id": self._number, **command}))

    def _receive(self) -> Any:
        while True:
            message = json.loads(self._line.recv(TIMEOUT_S))
            if message.get("id") == self._number:
                return message

    def _result(self) -> Any:
        answer = self._receive()
        if not answer["success"]:
            raise SystemExit(f"Home Assistant refuses: {answer['error']['message']}")
        return answer["result"]


@dataclass(frozen=True)
class Final:
    """A finished command; `key` tells one that comes twice."""

    node: str
    text: str
    key: tuple[str, int]


def read_final(topic: str, payload: bytes) -> Final | None:
    """Read a message; None for one that is no final, or that a satellite carries out already."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    if "handled_by" in message:
        return None
    session, seq, text = (message.get(key) for key in ("session_id", "seq", "text"))
    if not (isinstance(session, str) and isinstance(text, str) and type(seq) is int):
        return None
    return Final(topic.split("/")[-3], text, (session, seq))


def _secret(file: Path | None) -> str | None:
    """Read a password or a token, less what editors put around it."""
    return None if file is None else file.read_text(encoding="utf-8-sig").strip()


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", required=True, help="Home Assistant: http://host:8123")
    parser.add_argument("--token-file", required=True, type=Path, help="a long-lived token")
    parser.add_argument("--broker", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--base", default="voice", help="the daemons' mqtt.base_topic")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    finals: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if options.username:
        password = _secret(options.password_file)
        client.username_pw_set(options.username, password)
    client.on_connect = lambda c, *_: c.subscribe(f"{options.base}/+/transcript/final", qos=1)
    client.on_message = lambda _client, _data, message: finals.put(message)
    client.connect(options.broker, options.port)
    client.loop_start()
    token = _secret(options.token_file)
    done: dict[tuple[str, int], None] = {}
    while True:
        message = finals.get()
        final = read_final(message.topic, message.payload)
        if final is None or message.retain or final.key in done:
            continue
        done[final.key] = None
        if len(done) > REMEMBERED:
            done.pop(next(iter(done)))
        try:
            with Assist(options.url, token) as assist:
                log.info("%s: %s", final.node, assist.run(final.text, assist.device_id(final.node)))
        except (OSError, WebSocketException) as error:
            log.warning("%s: the command is lost, Home Assistant is away (%s)", final.node, error)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
