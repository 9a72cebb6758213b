"""The demo's subscriber: an MQTT client of its own, on a connection of its own."""

import threading
from collections.abc import Callable
from typing import Final, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from voice_daemon.demo.broker import LOOPBACK
from voice_daemon.demo.report import ReceivedMessage, decode_payload
from voice_daemon.errors import BrokerError
from voice_daemon.events import SAMPLE_RATE

SUBSCRIBED_S: Final = 10.0
LAST_MESSAGE_S: Final = 3.0
"""Longest wait for `offline` after the daemon stopped."""


class DemoSubscriber:
    """Subscribed to everything below `root` while the block runs.

    `clip_sample` gives the sample that is playing right now; `show` is called on the client's
    thread, in the order of arrival.
    """

    def __init__(
        self,
        port: int,
        root: str,
        *,
        clip_sample: Callable[[], int],
        show: Callable[[ReceivedMessage], None],
    ) -> None:
        self._port = port
        self._root = root
        self._clip_sample = clip_sample
        self._show = show
        self._subscribed = threading.Event()
        self._heard_offline = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{root}/#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect and subscribe; raises `BrokerError`."""
        try:
            self._client.connect(LOOPBACK, self._port)
        except OSError as error:
            raise self._unreachable(str(error)) from error
        self._client.loop_start()
        if not self._subscribed.wait(SUBSCRIBED_S):
            raise self._unreachable("it does not answer")
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self) -> None:
        """Wait a moment for the daemon's last message."""
        self._heard_offline.wait(LAST_MESSAGE_S)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        clip_s = self._clip_sample() / SAMPLE_RATE
        leaf = message.topic.removeprefix(f"{self._root}/")
        payload = decode_payload(bytes(message.payload))
        self._show(ReceivedMessage(leaf, payload, clip_s))
        if (leaf, payload) == ("availability", "offline"):
            self._heard_offline.set()

    def _unreachable(self, why: str) -> BrokerError:
        return BrokerError(
            "demo.broker", f"the demo's broker cannot be used: {why}", remedy="run the demo again"
        )
