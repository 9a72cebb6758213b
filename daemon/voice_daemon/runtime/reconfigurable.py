"""The running parts that a reloaded configuration reaches, as the hands of `reload.Reloader`.

Knows who is told of which value. Knows nothing of what has changed, nor of how it was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_daemon.runtime.introduction import device_of
from voice_daemon.runtime.reload import Hands
from voice_daemon.wake.models import wake_choices

if TYPE_CHECKING:
    from voice_daemon.config import Settings
    from voice_daemon.config.state import Value
    from voice_daemon.homeassistant.announce import Lifecycle
    from voice_daemon.mqtt.messages import Topics
    from voice_daemon.mqtt.publisher import Announcer
    from voice_daemon.runtime.commands import Orders
    from voice_daemon.runtime.live_settings import LiveSettings
    from voice_daemon.runtime.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconfigurable:
    """The parts, and what is needed to describe them anew."""

    live: LiveSettings
    topics: Topics
    homeassistant: Lifecycle
    announcer: Announcer
    worker: Worker
    orders: Orders
    watches_silence: bool
    """False for a file, which may be silent."""

    def hands(self) -> Hands:
        """Give what puts values in force."""
        return Hands(
            tune=self._tune,
            reconfigure=self._reconfigure,
            set_live=self.orders.put_in_force,
            switch=self.worker.switch,
            switched=self._switched,
            raise_problem=self.announcer.raise_problem,
            clear_problem=self.announcer.clear_problem,
        )

    def _tune(self, settings: Settings) -> None:
        if self.watches_silence:
            self.worker.silence_alarm_s = settings.audio.silence_alarm_s
        self.worker.tune(settings)

    def _reconfigure(self, settings: Settings) -> dict[str, Value]:
        """Take over what can also be set by MQTT; give what changes by it."""
        choices = wake_choices(settings.wake.models)
        due = self.live.reconfigure(settings, wake_choices=choices)
        self._describe(self.announcer.picture().model)
        return due

    def _switched(self, settings: Settings) -> None:
        self.announcer.model_changed(settings.asr.model)
        self._describe(settings.asr.model)

    def _describe(self, model: str) -> None:
        self.homeassistant.describe(device_of(self.live, self.topics, model=model))
