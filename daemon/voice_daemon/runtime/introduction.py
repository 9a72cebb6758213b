"""How the daemon introduces itself: the device in Home Assistant, and the retained `info`.

Takes both from the settings in force. Knows nothing of how or when they are said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_daemon import __version__
from voice_daemon.homeassistant.discovery import Device
from voice_daemon.mqtt.messages import Info
from voice_daemon.runtime.live_settings import SILENCE_RANGE_MS, THRESHOLD_RANGE, WAKE_WORD

if TYPE_CHECKING:
    from voice_daemon.mqtt.messages import Topics
    from voice_daemon.runtime.live_settings import LiveSettings


def device_of(live: LiveSettings, topics: Topics, *, model: str) -> Device:
    """Describe the device to Home Assistant; `model` is the recogniser that runs."""
    settings = live.settings
    return Device(
        topics=topics,
        prefix=settings.homeassistant.prefix,
        version=__version__,
        model=model,
        wake_words=live.wake_words,
        threshold_range=THRESHOLD_RANGE,
        silence_range_ms=SILENCE_RANGE_MS,
        speaks_events=settings.mqtt.format == "native",
    )


def info_of(live: LiveSettings) -> Info:
    """Say what the daemon starts with."""
    settings = live.settings
    return Info(
        __version__,
        settings.asr.model,
        live.listening_for(live.values[WAKE_WORD]),
        settings.audio.device,
    )
