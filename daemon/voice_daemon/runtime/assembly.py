"""The daemon's parts, built from the settings and joined to one another; nothing is started here.

Knows who is told of what. Knows nothing of signals, deadlines or the order of start and stop:
those are the app's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from voice_daemon.audio.input import Intake
from voice_daemon.control.server import ControlServer
from voice_daemon.homeassistant.announce import Lifecycle
from voice_daemon.mqtt.arbitration import claims_filter
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.hermes import Hermes
from voice_daemon.mqtt.mailbox import steady_s
from voice_daemon.mqtt.messages import (
    Command,
    MqttMessage,
    Topics,
    availability,
    default_client_id,
    for_event,
    health_message,
)
from voice_daemon.mqtt.publisher import Announcer
from voice_daemon.mqtt.rivals import BrokerRivals
from voice_daemon.runtime.commands import Orders
from voice_daemon.runtime.health import Reporter
from voice_daemon.runtime.introduction import device_of, info_of
from voice_daemon.runtime.live_view import Glance
from voice_daemon.runtime.reconfigurable import Reconfigurable
from voice_daemon.runtime.reload import Reloader
from voice_daemon.runtime.scheduler import Turns
from voice_daemon.runtime.worker import Engine, Outcome, Worker
from voice_daemon.wyoming.server import WyomingServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_daemon.audio import AudioSource
    from voice_daemon.audio.replay import Replay
    from voice_daemon.control.server import Handler
    from voice_daemon.runtime.live_settings import LiveSettings
    from voice_daemon.runtime.reload import Configuration


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
        """Build them in the order in which they need each other."""
        self._live = live
        self._settings = settings = live.settings
        self._topics = Topics(settings.mqtt.base_topic, settings.node_id)
        self._hooks = hooks
        self._build_engine = build_engine
        hermes = Hermes(self._topics, steady_s) if settings.mqtt.format == "hermes" else None
        glance = Glance()
        turns = Turns()
        self.store = live.store
        self.homeassistant = self._build_homeassistant()
        self.mqtt = self._build_mqtt(hermes)
        self.announcer = self._build_announcer(glance, hermes)
        self._rivals = self._build_rivals()
        self.intake = self._build_intake(audio)
        self.wyoming = self._build_wyoming(turns)
        self.worker = self._build_worker(audio.replay, glance, turns)
        self._reporter = self._build_reporter(glance, places.log_file)
        self.orders = self._build_orders()
        self.reloader = (
            self._build_reloader(configuration, is_live=audio.replay is None)
            if configuration
            else None
        )
        self.control = self._build_control(places.socket_path) if places.socket_path else None

    def publish_health(self) -> None:
        """Say how the daemon is; callable from any thread."""
        self.mqtt.publish(self._health())

    def announce_again(self) -> None:
        """Say all that is retained anew; no event is."""
        online = availability(self._topics, online=True)
        for message in (online, *self._retained()):
            self.mqtt.publish(message)

    def _build_homeassistant(self) -> Lifecycle:
        settings = self._settings
        device = device_of(self._live, self._topics, model=settings.asr.model)
        return Lifecycle(
            device if settings.homeassistant.discovery else None,
            topics=self._topics,
            settings=self._live.names,
            store=self.store,
            wake=self._hooks.nudge,
        )

    def _build_mqtt(self, hermes: Hermes | None) -> MqttClient:
        settings = self._settings
        listeners = {settings.homeassistant.status_topic: self.homeassistant.on_status}
        return MqttClient(
            settings.mqtt,
            client_id=settings.mqtt.client_id or default_client_id(settings.node_id),
            topics=self._topics,
            on_command=self._on_command,
            announce=self._announce,
            listeners=listeners if settings.homeassistant.discovery else {},
            live={claims_filter(self._topics): self._on_claim} if self._contends else {},
            foreign=hermes,
        )

    def _build_announcer(self, glance: Glance, hermes: Hermes | None) -> Announcer:
        return Announcer(
            publish=self.mqtt.publish,
            topics=self._topics,
            info=info_of(self._live),
            settings=self._live.values,
            final_ttl_s=self._settings.mqtt.final_ttl_s,
            wording=hermes.for_event if hermes else for_event,
            on_event=glance.read,
        )

    def _build_rivals(self) -> BrokerRivals:
        return BrokerRivals(
            topics=self._topics,
            publish=self.mqtt.publish,
            is_connected=lambda: self.mqtt.status().connected,
            has_problem=lambda: bool(self.announcer.picture().problems),
        )

    def _build_intake(self, audio: Input) -> Intake:
        return Intake(
            audio.new_source,
            name_of=audio.name_of,
            stall_timeout_s=self._settings.audio.stall_timeout_s,
        )

    def _build_wyoming(self, turns: Turns) -> WyomingServer | None:
        wanted = self._settings.wyoming
        return WyomingServer(wanted.host, wanted.port, schedule=turns) if wanted.enabled else None

    def _build_worker(self, replay: Replay | None, glance: Glance, turns: Turns) -> Worker:
        return Worker(
            build=self._engine_in_service,
            intake=self.intake,
            announcer=self.announcer,
            silence_alarm_s=None if replay else self._settings.audio.silence_alarm_s,
            replay=replay,
            before_opening=self._hooks.before_opening,
            on_end=self._hooks.ended,
            turns=turns,
            on_scores=glance.scored,
        )

    def _build_reporter(self, glance: Glance, log_file: Path | None) -> Reporter:
        return Reporter(
            settings=self._settings,
            announcer=self.announcer,
            intake=self.intake,
            worker=self.worker,
            mqtt=self.mqtt,
            started_s=time.monotonic(),
            log_file=log_file,
            glance=glance,
        )

    def _build_orders(self) -> Orders:
        return Orders(
            worker=self.worker,
            announcer=self.announcer,
            reporter=self._reporter,
            live=self._live,
            topics=self._topics,
            publish=self.mqtt.publish,
            publish_health=self.publish_health,
            changed=self._hooks.nudge,
        )

    def _build_reloader(self, configuration: Configuration, *, is_live: bool) -> Reloader:
        reached = Reconfigurable(
            live=self._live,
            topics=self._topics,
            homeassistant=self.homeassistant,
            announcer=self.announcer,
            worker=self.worker,
            orders=self.orders,
            watches_silence=is_live,
        )
        return Reloader(configuration, reached.hands())

    def _build_control(self, socket_path: Path) -> ControlServer:
        reloading = _reload_handlers(self.reloader) if self.reloader else {}
        return ControlServer(socket_path, {**self.orders.control_handlers(), **reloading})

    def _engine_in_service(self) -> Engine:
        """Build the models, and let others use them once they are warm.

        Raises what keeps them from being built, and when the others' port is taken.
        """
        engine = self._build_engine(self.intake.now_sample)
        if self._contends:
            engine.pipeline.arbitrate(self._topics.node, self._rivals)
        if self.wyoming is not None and engine.dictations is not None:
            self.wyoming.start(engine.dictations)
        return engine

    @property
    def _contends(self) -> bool:
        """Whether others on the broker have a say in who answers."""
        return self._settings.arbitration.enabled

    def _health(self) -> MqttMessage:
        return health_message(self._reporter.health(), topics=self._topics, at=datetime.now(UTC))

    def _retained(self) -> list[MqttMessage]:
        """Give what a broker that may have forgotten everything must be told."""
        health = [self._health()] if self.worker.engine_ready else []
        return [*self.homeassistant.messages(), *self.announcer.retained(), *health]

    def _on_claim(self, topic: str, payload: bytes) -> None:
        self._rivals.on_message(topic, payload)

    def _on_command(self, command: Command) -> None:
        self.orders.on_command(command)

    def _announce(self) -> list[MqttMessage]:
        """Give what a broker is told after each connect."""
        self._hooks.connected()
        return self._retained()


def _reload_handlers(reloader: Reloader) -> dict[str, Handler]:
    return {
        "reload": lambda _arguments: reloader.reload().to_dict(),
        "reload-progress": lambda _arguments: reloader.progress(),
    }
