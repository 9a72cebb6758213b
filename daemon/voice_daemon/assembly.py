"""The daemon's parts, built from the settings and joined to one another; nothing is started here.

Knows who is told of what. Knows nothing of signals, deadlines or the order of start and stop:
those are the app's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from voice_daemon import __version__
from voice_daemon.announcer import Announcer
from voice_daemon.control.server import ControlServer
from voice_daemon.glance import Glance
from voice_daemon.health import Reporter
from voice_daemon.homeassistant.discovery import Device
from voice_daemon.homeassistant.lifecycle import Lifecycle
from voice_daemon.intake import Intake
from voice_daemon.live_settings import (
    SILENCE_RANGE_MS,
    THRESHOLD_RANGE,
    WAKE_WORD,
    LiveSettings,
)
from voice_daemon.mqtt.claims import claims_filter
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.hermes import Hermes
from voice_daemon.mqtt.mailbox import steady_s
from voice_daemon.mqtt.messages import (
    Command,
    Info,
    MqttMessage,
    Topics,
    availability,
    default_client_id,
    for_event,
    health_message,
)
from voice_daemon.orders import Orders
from voice_daemon.reload import Hands, Reloader
from voice_daemon.rivals import BrokerRivals
from voice_daemon.turns import Turns
from voice_daemon.wake_models import wake_choices
from voice_daemon.worker import Engine, Outcome, Worker
from voice_daemon.wyoming_server.server import WyomingServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_daemon.audio import AudioSource
    from voice_daemon.config import Settings
    from voice_daemon.control.server import Handler
    from voice_daemon.reload import Configuration
    from voice_daemon.replay import Replay
    from voice_daemon.settings_store import Value


@dataclass(frozen=True, slots=True)
class Input:
    """Where the audio comes from. With `replay` it is a file, and the daemon ends with it."""

    new_source: Callable[[], AudioSource]
    name_of: Callable[[AudioSource], str] = lambda source: source.description
    replay: Replay | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where this daemon meets others; None where it does not."""

    socket_path: Path | None = None
    """The control socket and, beside it, the lock: a replay has neither."""
    log_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the parts tell the app, each on a thread of its own."""

    connected: Callable[[], None]
    """The broker is there."""
    before_opening: Callable[[], None]
    """The models are warm; may wait, for the input is opened afterwards."""
    ended: Callable[[Outcome], None]
    """The worker is done."""
    nudge: Callable[[], None]
    """There is a chore."""


class Assembly:
    """One daemon's parts.

    `build_engine` gets the input's live clock and is called on the worker thread.
    `configuration`: how it is read again; None where it cannot be.
    """

    def __init__(
        self,
        live: LiveSettings,
        audio: Input,
        *,
        build_engine: Callable[[Callable[[], int]], Engine],
        places: Places,
        hooks: Hooks,
        configuration: Configuration | None = None,
    ) -> None:
        settings = live.settings
        self.store = live.store
        self._topics = Topics(settings.mqtt.base_topic, settings.node_id)
        self._hooks = hooks
        hermes = Hermes(self._topics, steady_s) if settings.mqtt.format == "hermes" else None
        contends = settings.arbitration.enabled
        self.homeassistant = Lifecycle(
            _device(live, self._topics, settings.asr.model)
            if settings.homeassistant.discovery
            else None,
            topics=self._topics,
            settings=live.names,
            store=live.store,
            wake=hooks.nudge,
        )
        self.mqtt = MqttClient(
            settings.mqtt,
            client_id=settings.mqtt.client_id or default_client_id(settings.node_id),
            topics=self._topics,
            on_command=self._on_command,
            announce=self._announce,
            listeners={settings.homeassistant.status_topic: self.homeassistant.on_status}
            if settings.homeassistant.discovery
            else {},
            live={claims_filter(self._topics): self._on_claim} if contends else {},
            foreign=hermes,
        )
        glance = Glance()
        self.announcer = Announcer(
            publish=self.mqtt.publish,
            topics=self._topics,
            info=Info(
                __version__,
                settings.asr.model,
                live.listening_for(live.values[WAKE_WORD]),
                settings.audio.device,
            ),
            settings=live.values,
            final_ttl_s=settings.mqtt.final_ttl_s,
            wording=hermes.for_event if hermes else for_event,
            on_event=glance.read,
        )
        self._rivals = BrokerRivals(
            topics=self._topics,
            publish=self.mqtt.publish,
            is_connected=lambda: self.mqtt.status().connected,
            has_problem=lambda: bool(self.announcer.picture().problems),
        )
        self.intake = Intake(
            audio.new_source,
            name_of=audio.name_of,
            stall_timeout_s=settings.audio.stall_timeout_s,
        )
        turns = Turns()
        self.wyoming = (
            WyomingServer(settings.wyoming.host, settings.wyoming.port, schedule=turns)
            if settings.wyoming.enabled
            else None
        )
        self.worker = Worker(
            build=lambda: self._serving(self._engine(build_engine, contends=contends)),
            intake=self.intake,
            announcer=self.announcer,
            silence_alarm_s=None if audio.replay else settings.audio.silence_alarm_s,
            replay=audio.replay,
            before_opening=hooks.before_opening,
            on_end=hooks.ended,
            turns=turns,
            on_scores=glance.scored,
        )
        self._reporter = Reporter(
            settings,
            self.announcer,
            self.intake,
            self.worker,
            self.mqtt,
            time.monotonic(),
            places.log_file,
            glance,
        )
        self.orders = Orders(
            worker=self.worker,
            announcer=self.announcer,
            reporter=self._reporter,
            live=live,
            topics=self._topics,
            publish=self.mqtt.publish,
            publish_health=self.publish_health,
            changed=hooks.nudge,
        )
        self._live = live
        self._hears_microphone = audio.replay is None
        self.reloader = Reloader(configuration, self._hands()) if configuration else None
        handlers = {**self.orders.control_handlers(), **self._reload_handlers()}
        self.control = ControlServer(places.socket_path, handlers) if places.socket_path else None

    def publish_health(self) -> None:
        """Say how the daemon is; callable from any thread."""
        self.mqtt.publish(self._health())

    def announce_again(self) -> None:
        """Say all that is retained anew; no event is."""
        online = availability(self._topics, online=True)
        for message in (online, *self._retained()):
            self.mqtt.publish(message)

    def _hands(self) -> Hands:
        return Hands(
            tune=self._tune,
            reconfigure=self._reconfigure,
            set_live=self.orders.put_in_force,
            switch=self.worker.switch,
            switched=self._switched,
            raise_problem=self.announcer.raise_problem,
            clear_problem=self.announcer.clear_problem,
        )

    def _reload_handlers(self) -> dict[str, Handler]:
        reloader = self.reloader
        if reloader is None:
            return {}
        return {
            "reload": lambda _arguments: reloader.reload().to_dict(),
            "reload-progress": lambda _arguments: reloader.progress(),
        }

    def _tune(self, settings: Settings) -> None:
        if self._hears_microphone:
            self.worker.silence_alarm_s = settings.audio.silence_alarm_s
        self.worker.tune(settings)

    def _reconfigure(self, settings: Settings) -> dict[str, Value]:
        """Take over what can also be set by MQTT; give what changes by it."""
        choices = wake_choices(settings.wake.models)
        due = self._live.reconfigure(settings, wake_choices=choices)
        self._describe(self.announcer.picture().model)
        return due

    def _switched(self, settings: Settings) -> None:
        self.announcer.model_changed(settings.asr.model)
        self._describe(settings.asr.model)

    def _describe(self, model: str) -> None:
        self.homeassistant.describe(_device(self._live, self._topics, model))

    def _health(self) -> MqttMessage:
        return health_message(self._reporter.health(), topics=self._topics, at=datetime.now(UTC))

    def _retained(self) -> list[MqttMessage]:
        """Give what a broker that may have forgotten everything must be told."""
        health = [self._health()] if self.worker.engine_ready else []
        return [*self.homeassistant.messages(), *self.announcer.retained(), *health]

    def _engine(self, build: Callable[[Callable[[], int]], Engine], *, contends: bool) -> Engine:
        """Build the models; with `contends`, others on the broker have a say in who answers."""
        engine = build(self.intake.now_sample)
        if contends:
            engine.pipeline.arbitrate(self._topics.node, self._rivals)
        return engine

    def _serving(self, engine: Engine) -> Engine:
        """Let others use the engine, now that it is warm; raises when their port is taken."""
        if self.wyoming is not None and engine.dictations is not None:
            self.wyoming.start(engine.dictations)
        return engine

    def _on_claim(self, topic: str, payload: bytes) -> None:
        self._rivals.on_message(topic, payload)

    def _on_command(self, command: Command) -> None:
        self.orders.on_command(command)

    def _announce(self) -> list[MqttMessage]:
        """Give what a broker is told after each connect."""
        self._hooks.connected()
        return self._retained()


def _device(live: LiveSettings, topics: Topics, model: str) -> Device:
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
