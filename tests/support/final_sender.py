"""A process that sends finals as the daemon does, and may be killed at any moment.

    python -m support.final_sender PORT

Reads lines of JSON with `topic`, `payload` and `session` (none: it is no final); writes a session,
or the payload, once it is confirmed.
"""

from __future__ import annotations

import json
import logging
import sys

import structlog

from support.mqtt_clients import settings_for
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.topics import MqttMessage, Topics


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    client = MqttClient(
        settings_for(int(sys.argv[1])),
        client_id="livetest-sender",
        topics=Topics("livetest", "sender"),
        on_command=lambda _: None,
        announce=lambda: (),
        on_delivered=lambda message: tell(message.final_of or message.payload.decode()),
        finals_are_heard=True,
    )
    client.start()
    for line in sys.stdin:
        one = json.loads(line)
        payload = one["payload"].encode()
        client.publish(MqttMessage(one["topic"], payload, expiry_s=60, final_of=one.get("session")))


if __name__ == "__main__":
    main()
