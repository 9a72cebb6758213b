"""A process that sends finals as the daemon does, and may be killed at any moment.

    python -m support.final_sender PORT

Reads lines of JSON with `topic`, `payload` and `session`; writes a session once it is confirmed.
"""

from __future__ import annotations

import json
import sys

from support.mqtt_clients import settings_for
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.topics import MqttMessage, Topics


def confirm(message: MqttMessage) -> None:
    sys.stdout.write(f"{message.final_of}\n")
    sys.stdout.flush()


def main() -> None:
    client = MqttClient(
        settings_for(int(sys.argv[1])),
        client_id="livetest-sender",
        topics=Topics("livetest", "sender"),
        on_command=lambda _: None,
        announce=lambda: (),
        on_delivered=confirm,
        finals_are_heard=True,
    )
    client.start()
    for line in sys.stdin:
        one = json.loads(line)
        payload = one["payload"].encode()
        client.publish(MqttMessage(one["topic"], payload, expiry_s=60, final_of=one["session"]))


if __name__ == "__main__":
    main()
