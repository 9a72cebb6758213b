"""A process that sends finals as the daemon does, and may be killed at any moment.

    python -m support.final_sender PORT

Reads lines of JSON with `topic`, `payload` and `session`; writes `connected` at its start, and a
session once it is confirmed.
"""

from __future__ import annotations

import json
import sys
import time

from support.mqtt_clients import settings_for
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.topics import MqttMessage, Topics


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    client = MqttClient(
        settings_for(int(sys.argv[1])),
        client_id="livetest-sender",
        topics=Topics("livetest", "sender"),
        on_command=lambda _: None,
        announce=lambda: (),
        on_delivered=lambda message: tell(message.final_of or ""),
        finals_are_heard=True,
    )
    client.start()
    while not client.status().connected:
        time.sleep(0.01)
    tell("connected")
    for line in sys.stdin:
        one = json.loads(line)
        payload = one["payload"].encode()
        client.publish(MqttMessage(one["topic"], payload, expiry_s=60, final_of=one["session"]))


if __name__ == "__main__":
    main()
