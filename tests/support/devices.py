"""The device that tests announce to Home Assistant."""

from __future__ import annotations

from voice_daemon.homeassistant.discovery import Device
from voice_daemon.mqtt.topics import Topics
from voice_daemon.runtime.live_settings import SILENCE_RANGE_MS, THRESHOLD_RANGE


def device(node: str = "mac-mini", *, base: str = "voice", instance: str = "") -> Device:
    return Device(
        topics=Topics(base, node),
        prefix="homeassistant",
        version="1.2.3",
        model="tiny.en",
        wake_words=("hey_jarvis", "alexa"),
        threshold_range=THRESHOLD_RANGE,
        silence_range_ms=SILENCE_RANGE_MS,
        instance=instance or node,
        microphone="Anker PowerConf",
    )
