"""A subscriber in a process of its own: prints when each message arrived, as JSON lines.

    python -m tools.bench.latency_listener PORT FILTER

Apart from the daemon and the benchmark, so that neither delays what is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from rigs.brokers import HOST


def main(port: int, topic_filter: str) -> None:
    """Listen until the process is ended."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe(topic_filter, qos=1)
    client.on_subscribe = lambda *_: _say({"ready": True})
    client.on_message = _on_message
    client.connect(HOST, port)
    client.loop_forever()


def _on_message(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
    arrived_s = time.monotonic()
    text = message.payload.decode(errors="replace")
    line = {"at_s": arrived_s, "topic": message.topic, "text": text, "retained": message.retain}
    _say(line)


def _say(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
