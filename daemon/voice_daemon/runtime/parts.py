"""Builds one daemon's parts in the order in which they need each other, and ties them together.

Nothing is started here: parts call each other back only once `voice_daemon.app` has started them.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from voice_daemon.audio import AudioSource
from voice_daemon.audio.file import FileReplay
from voice_daemon.audio.input import AudioInput
from voice_daemon.config import Settings
from voice_daemon.config.persisted import SettingsStore
from voice_daemon.control.server import ControlServer
from voice_daemon.events import AudioBlock, ErrorRaised, Event, TranscriptFinal
from voice_daemon.homeassistant.announce import DiscoveryAnnouncer, Presence
from voice_daemon.homeassistant.answers import Answers
from voice_daemon.homeassistant.discovery import words_message
from voice_daemon.homeassistant.satellite import HANDLED_BY, satellite_of
from voice_daemon.homeassistant.timers import Timers
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.commands import Command
from voice_daemon.mqtt.losses import Loss, LossReason
from voice_daemon.mqtt.messages import availability, error_event, health_message
from voice_daemon.mqtt.peers import MqttPeers, claims_filter
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.mqtt.router import Listener
from voice_daemon.mqtt.topics import Leaf, MqttMessage, Topics, default_client_id
from voice_daemon.paths import TIMERS_FILE
from voice_daemon.runtime.command_handler import CommandHandler
from voice_daemon.runtime.housekeeping import Housekeeper
from voice_daemon.runtime.journal import Journal
from voice_daemon.runtime.live_settings import LiveSettings, device_of, info_of
from voice_daemon.runtime.live_view import LiveView
from voice_daemon.runtime.microphone_watch import MicrophoneWatch
from voice_daemon.runtime.reloader import Configuration, Reloader
from voice_daemon.runtime.start import SAFE_MODE, SLOW, Part, StartSupervisor
from voice_daemon.runtime.status_collector import StatusCollector
from voice_daemon.runtime.vocabulary_keeper import VocabularyKeeper, document_topics
from voice_daemon.runtime.worker import Engine, Outcome, Worker
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.sound.echo import EchoCanceller
from voice_daemon.sound.output import Loudspeaker
from voice_daemon.sound.sounds import Sounds
from voice_daemon.wyoming.server import WyomingServer

log = structlog.get_logger()

BROKER_WAIT_S: Final = 5.0
"""A replay waits this long for the broker: partials are not kept for one that comes later."""


@dataclass(frozen=True, slots=True)
class Input:
    """The audio input. With `replay` it is a file, and the daemon ends with it."""

    new_source: Callable[[], AudioSource]
    name_of: Callable[[AudioSource], str] = lambda source: source.description
    replay: FileReplay | None = None
    watch: MicrophoneWatch | None = None
    """Knowledge of a microphone beside its sound: its permission, its silence."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """Something may be due before the next look."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration is to be read again."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal arrived."""

    number: int


Notice = Nudge | Reload | Signal | Outcome
"""Messages from the other threads and the signal handler to the main thread."""


class Parts:
    """The parts, and what they tell each other. See `voice_daemon.app.Daemon` for the arguments."""

    def __init__(
        self,
        live: LiveSettings,
        audio: Input,
        *,
        build_engine: Callable[[Callable[[], int], StartSupervisor], Engine],
        socket_path: Path | None,
        log_file: Path | None,
        journal_folder: Path | None,
        vocabulary_file: Path | None,
        configuration: Configuration | None,
    ) -> None:
        settings = live.settings
        self.settings = settings
        self._topics = Topics(settings.mqtt.base_topic, settings.node_id)
        self._build_engine, self.replay = build_engine, audio.replay
        self.notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self.broker_met = threading.Event()
        scheduler, live_view = RoundRobin(), LiveView()
        self.homeassistant = DiscoveryAnnouncer(
            device_of(live, self._topics) if settings.homeassistant.discovery else None,
            topics=self._topics,
            settings=live.names,
            store=live.store,
            wake=self.nudge,
        )
        self.presence = Presence(self.report)
        self.journal = Journal(journal_folder, self._topics)
        # Before the satellite, whose answers and timers are played on it.
        self.speaker, self.sounds = _build_sound(settings, parts=self)
        self.satellite = satellite_of(
            settings,
            note=self.journal.command,
            report=self.report,
            answers=Answers(self.speaker, listen=self.listen),
            timers=Timers(
                journal_folder and journal_folder / TIMERS_FILE,
                ring=self.sounds.ring,
                report=self.report,
            ),
        )
        self.publisher = Publisher(
            publish=self._publish,
            topics=self._topics,
            info=info_of(live),
            settings=live.values,
            final_ttl_s=settings.mqtt.final_ttl_s,
            on_event=lambda event: self._on_event(event, live_view),
            on_input=self._on_input,
            take_over=self.take_over,
        )
        self.mqtt = _build_mqtt(live, self._topics, parts=self)
        self.peers = _build_peers(self._topics, self.mqtt, self.publisher)
        self.audio_input = AudioInput(
            audio.new_source, name_of=audio.name_of, stall_timeout_s=settings.audio.stall_timeout_s
        )
        self.wyoming = _build_wyoming(settings, scheduler)
        self.worker = _build_worker(audio, scheduler, on_scores=live_view.on_scores, parts=self)
        self.vocabulary = _build_vocabulary(vocabulary_file, self._topics, parts=self)
        self.collector = _build_collector(log_file, live_view, parts=self)
        self.housekeeper = _build_housekeeper(live.store, parts=self)
        self.commands = _build_commands(live, self._topics, parts=self)
        self.reloader = _build_reloader(configuration, live, self._topics, parts=self)
        self.control = _build_control(socket_path, self.commands, self.reloader)
        self.start = StartSupervisor(
            settings, live.store, may_leave_out=tuple(Part) if self.is_live else (Part.WAKE_WORD,)
        )

    @property
    def is_live(self) -> bool:
        """False for a replay."""
        return self.replay is None

    def engine_in_service(self) -> Engine | None:
        """Build the models, and let other clients use them once they are warm.

        None in safe mode without a recogniser. Raises the models' error, and `WyomingError` when
        the server's port is taken.
        """
        problem = self.start.safe_mode()
        if problem is not None:
            self.publisher.raise_problem(SAFE_MODE, problem)
        if self.start.left_out is Part.RECOGNISER:
            self.start.ended()
            return None
        engine = self._build_engine(self.audio_input.now_sample, self.start)
        self.start.ended()
        self.publisher.clear_problem(SLOW)
        if self.settings.arbitration.enabled:
            engine.pipeline.arbitrate(self._topics.node, self.peers)
        if self.wyoming is not None and engine.transcriptions is not None:
            self.wyoming.start(engine.transcriptions)
        return engine

    def _on_event(self, event: Event, live_view: LiveView) -> None:
        live_view.on_event(event)
        self.sounds.on_event(event)
        words = words_message(event, self._topics)
        if words is not None and self.settings.homeassistant.discovery:
            self.mqtt.publish(words)

    def listen(self) -> None:
        """Open a session without a wake word: a question was asked."""
        self.worker.submit(lambda pipeline: pipeline.listen())

    def cancel(self) -> None:
        """Drop the open session."""
        self.worker.submit(lambda pipeline: pipeline.cancel())

    def _on_input(self, device: str) -> None:
        if self.is_live:
            for message in self.homeassistant.input_changed(device):
                self.mqtt.publish(message)

    def withdraw(self) -> None:
        """Leave no device behind in Home Assistant that only a file's replay brought."""
        if not self.is_live:
            for message in self.homeassistant.withdraw():
                self.mqtt.publish(message)

    def take_over(self, final: TranscriptFinal) -> str | None:
        """Have the satellite carry a command out, if there is one; return who does."""
        if self.satellite is not None and self.satellite.accept(final):
            return HANDLED_BY
        self.presence.expect(final.session_id)
        return None

    def report(self, error: ErrorRaised) -> None:
        """Publish an error; for parts that are built before the publisher."""
        self.publisher.error(error)

    def on_command(self, command: Command) -> None:
        """Pass an MQTT command on; raises `CommandError` when it cannot be carried out."""
        self.commands.on_command(command)

    def on_vocabulary(self, topic: str, payload: bytes) -> None:
        """Pass a document with the home's names on."""
        self.vocabulary.on_message(topic, payload)

    def on_hub_status(self, topic: str, payload: bytes) -> None:
        """Pass on what Home Assistant says of itself."""
        self.homeassistant.on_status(topic, payload)
        self.presence.on_status(topic, payload)

    def on_claim(self, topic: str, payload: bytes) -> None:
        """Pass another device's claim to a wake word on."""
        self.peers.on_message(topic, payload)

    def on_connect(self) -> list[MqttMessage]:
        """Note that the broker is there, and return what it is told first."""
        self.broker_met.set()
        self.presence.forget()
        return self.retained()

    def retained(self) -> list[MqttMessage]:
        """List what a broker that may have forgotten everything must be told."""
        health = [self._health()] if self.worker.engine_ready else []
        names = self.vocabulary.state_message()
        return [*self.homeassistant.messages(), *self.publisher.retained(), names, *health]

    def announce_again(self) -> None:
        """Publish all that is retained again, and no event."""
        for message in (availability(self._topics, online=True), *self.retained()):
            self.mqtt.publish(message)

    def publish_health(self) -> None:
        """Publish the daemon's health; callable from any thread."""
        self.mqtt.publish(self._health())

    def _health(self) -> MqttMessage:
        return health_message(self.collector.health(), topics=self._topics, at=datetime.now(UTC))

    def on_lost(self, loss: Loss) -> None:
        """Settle a message that was given up: the client reports it, but for the end's losses."""
        is_report = loss.message.topic == self._topics.path(Leaf.ERROR)
        if loss.why is not LossReason.STOPPED and not is_report:
            self.journal.settled(loss.message)

    def _publish(self, message: MqttMessage) -> None:
        self.journal.note(message)
        self.mqtt.publish(message)

    def nudge(self) -> None:
        """Have the housekeeping looked at; callable from any thread."""
        self.notices.put(Nudge())

    def await_broker(self) -> None:
        """Give a replay's broker a moment: what is said before it is there may be lost."""
        if not self.is_live and not self.broker_met.wait(BROKER_WAIT_S):
            log.warning("replay.no_broker", waited_s=BROKER_WAIT_S)


def _build_mqtt(live: LiveSettings, topics: Topics, *, parts: Parts) -> MqttClient:
    """Build the client; the parts that it calls back are made after it, and before it starts."""
    settings, home = live.settings, live.settings.homeassistant
    listeners = [Listener(topic, parts.on_vocabulary) for topic in document_topics(topics)]
    if home.discovery:
        listeners.append(Listener(home.status_topic, parts.on_hub_status))
    if settings.arbitration.enabled:
        listeners.append(Listener(claims_filter(topics), parts.on_claim, live_only=True))
    return MqttClient(
        settings.mqtt,
        client_id=settings.mqtt.client_id or default_client_id(settings.node_id),
        topics=topics,
        on_command=parts.on_command,
        announce=parts.on_connect,
        listeners=listeners,
        on_problem=parts.publisher.set_problem,
        on_sent=parts.journal.sent,
        on_delivered=parts.journal.settled,
        on_lost=parts.on_lost,
        finals_are_heard=parts.is_live and live.store.state.finals_are_heard,
    )


def _build_sound(settings: Settings, *, parts: Parts) -> tuple[Loudspeaker | None, Sounds]:
    """Build the loudspeaker and what it is used for; a replay stays silent."""
    wanted = parts.is_live and settings.audio.plays
    speaker = Loudspeaker(settings.audio.output) if wanted else None
    return speaker, Sounds(
        speaker,
        settings.sounds,
        cancel=parts.cancel,
        report=lambda error: parts.publisher.error(error_event(error)),
    )


def _build_peers(topics: Topics, mqtt: MqttClient, publisher: Publisher) -> MqttPeers:
    return MqttPeers(
        topics=topics,
        publish=mqtt.publish,
        is_connected=lambda: mqtt.status().connected,
        has_problem=lambda: any(
            problem.hinders_hearing for problem in publisher.snapshot().problems.values()
        ),
        on_twin=mqtt.report_twin,
    )


def _build_wyoming(settings: Settings, scheduler: RoundRobin) -> WyomingServer | None:
    wanted = settings.wyoming
    if not wanted.enabled:
        return None
    return WyomingServer(
        wanted.host, wanted.port, scheduler=scheduler, ends_utterances=wanted.endpoint
    )


def _build_worker(
    audio: Input,
    scheduler: RoundRobin,
    *,
    on_scores: Callable[[Mapping[str, float]], None],
    parts: Parts,
) -> Worker:
    return Worker(
        build=parts.engine_in_service,
        audio_input=parts.audio_input,
        publisher=parts.publisher,
        silence_alarm_s=parts.settings.audio.silence_alarm_s if parts.is_live else None,
        replay=audio.replay,
        without_echo=_build_canceller(parts),
        before_opening=parts.await_broker,
        on_end=parts.notices.put,
        scheduler=scheduler,
        on_scores=on_scores,
        microphone=audio.watch,
    )


def _build_canceller(parts: Parts) -> Callable[[AudioBlock], AudioBlock | None]:
    speaker = parts.speaker
    if speaker is None:
        return lambda block: block
    return EchoCanceller(lambda: speaker.line, parts.audio_input.now_sample).feed


def _build_vocabulary(file: Path | None, topics: Topics, *, parts: Parts) -> VocabularyKeeper:
    return VocabularyKeeper(
        parts.settings.vocabulary,
        stored=file,
        topics=topics,
        learn=parts.worker.learn,
        publish=parts.mqtt.publish,
        set_problem=parts.publisher.set_problem,
        changed=parts.nudge,
    )


def _build_collector(
    log_file: Path | None, live_view: LiveView, *, parts: Parts
) -> StatusCollector:
    return StatusCollector(
        settings=parts.settings,
        publisher=parts.publisher,
        audio_input=parts.audio_input,
        worker=parts.worker,
        mqtt=parts.mqtt,
        started_s=time.monotonic(),
        log_file=log_file,
        live_view=live_view,
        vocabulary=parts.vocabulary,
        speaker=parts.speaker,
    )


def _build_housekeeper(store: SettingsStore, *, parts: Parts) -> Housekeeper:
    return Housekeeper(
        homeassistant=parts.homeassistant,
        mqtt=parts.mqtt,
        publisher=parts.publisher,
        store=store,
        vocabulary=parts.vocabulary,
        is_ready=lambda: parts.worker.engine_ready,
        publish_health=parts.publish_health,
        announce_again=parts.announce_again,
    )


def _build_commands(live: LiveSettings, topics: Topics, *, parts: Parts) -> CommandHandler:
    return CommandHandler(
        worker=parts.worker,
        publisher=parts.publisher,
        collector=parts.collector,
        live=live,
        topics=topics,
        publish=parts.mqtt.publish,
        publish_health=parts.publish_health,
        on_change=parts.nudge,
        save_now=parts.housekeeper.save,
        sounds=parts.sounds,
    )


def _build_reloader(
    configuration: Configuration | None, live: LiveSettings, topics: Topics, *, parts: Parts
) -> Reloader | None:
    if configuration is None:
        return None
    return Reloader(
        configuration,
        live=live,
        topics=topics,
        homeassistant=parts.homeassistant,
        worker=parts.worker,
        commands=parts.commands,
        vocabulary=parts.vocabulary,
        sounds=parts.sounds,
        watches_silence=parts.is_live,
    )


def _build_control(
    socket_path: Path | None, commands: CommandHandler, reloader: Reloader | None
) -> ControlServer | None:
    if socket_path is None:
        return None
    handlers = commands.control_handlers()
    if reloader is not None:
        handlers["reload"] = lambda _arguments: reloader.reload().to_dict()
    return ControlServer(socket_path, handlers)
