"""The daemon: builds its parts, starts them, watches, and stops them in order.

Run by the main thread. It owns signals, exit codes and deadlines, and touches neither audio nor
models; docs/adr/0001-threads.md says which thread does what.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from voice_daemon import __version__
from voice_daemon._lib.signals import SIGNALS, EarlySignals, accept_signals, in_a_terminal
from voice_daemon._lib.terminal import print_error
from voice_daemon.audio import AudioSource
from voice_daemon.audio.file import FileReplay
from voice_daemon.audio.input import AudioInput
from voice_daemon.config import Settings
from voice_daemon.config.state import SettingsStore
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import BrokerError, Problem, VoiceDaemonError, crash, exit_code
from voice_daemon.events import EndReason, ErrorRaised, TranscriptFinal
from voice_daemon.homeassistant.announce import DiscoveryAnnouncer
from voice_daemon.homeassistant.satellite import HANDLED_BY, satellite_of
from voice_daemon.mqtt.arbitration import MqttPeers, claims_filter
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.commands import Command
from voice_daemon.mqtt.losses import Loss, LossReason
from voice_daemon.mqtt.messages import availability, error_event, health_message
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.mqtt.router import Listener
from voice_daemon.mqtt.topics import MqttMessage, Topics, default_client_id
from voice_daemon.runtime.commands import CommandHandler
from voice_daemon.runtime.housekeeping import Housekeeper
from voice_daemon.runtime.journal import Journal
from voice_daemon.runtime.live_settings import LiveSettings, device_of, info_of
from voice_daemon.runtime.live_view import LiveView
from voice_daemon.runtime.microphone import MicrophoneWatch
from voice_daemon.runtime.reload import Configuration, Reloader
from voice_daemon.runtime.scheduler import RoundRobin
from voice_daemon.runtime.start import SAFE_MODE, SLOW, Part, StartSupervisor, Watchdog
from voice_daemon.runtime.status_collector import StatusCollector
from voice_daemon.runtime.vocabulary import VocabularyKeeper, document_topics
from voice_daemon.runtime.worker import Engine, Outcome, Worker
from voice_daemon.session.metrics import ComputeCost
from voice_daemon.wyoming.server import WyomingServer

log = structlog.get_logger()

STOP_DEADLINE_S: Final = 10.0
"""From a signal to the exit, whatever hangs."""
WORKER_STOP_S: Final = 4.0
FLUSH_S: Final = 3.0
CONTROL_STOP_S: Final = 1.0
WYOMING_STOP_S: Final = 1.0
"""Shares of `STOP_DEADLINE_S`."""
BROKER_WAIT_S: Final = 5.0
"""How long a replay waits for the broker: partials are not kept for one that comes later."""


@dataclass(frozen=True, slots=True)
class Input:
    """The audio input. With `replay` it is a file, and the daemon ends with it."""

    new_source: Callable[[], AudioSource]
    name_of: Callable[[AudioSource], str] = lambda source: source.description
    replay: FileReplay | None = None
    watch: MicrophoneWatch | None = None
    """What is known of a microphone beside its sound."""


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
"""What the other threads and the signal handler tell the main thread."""


class Daemon:
    """One daemon, from start to stop. `run` may be called once, on the main thread.

    `live`: the settings, and what was changed in earlier runs.
    `build_engine` gets the input's live clock and is called on the worker thread; it tells the
    supervisor each step.
    `socket_path`: None means no control socket and no lock (a replay).
    `journal_folder` holds the journal of what is unsettled; without one there is none.
    `vocabulary_file` keeps the home's names that came over MQTT.
    `configuration` reads it again; without one SIGHUP is as good as SIGTERM.
    `early`: the signals that came before.
    `leave` ends the process without waiting for threads that hang.
    """

    def __init__(
        self,
        live: LiveSettings,
        audio: Input,
        *,
        build_engine: Callable[[Callable[[], int], StartSupervisor], Engine],
        socket_path: Path | None = None,
        log_file: Path | None = None,
        journal_folder: Path | None = None,
        vocabulary_file: Path | None = None,
        configuration: Configuration | None = None,
        early: EarlySignals | None = None,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """Build the parts in the order in which they need each other."""
        settings = live.settings
        self.settings, self._leave = settings, leave
        self._topics = Topics(settings.mqtt.base_topic, settings.node_id)
        self._build_engine, self.replay = build_engine, audio.replay
        self._stop_signal: int | None = None
        self._early = early or EarlySignals()
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
        self.journal = Journal(journal_folder, self._topics)
        self.mqtt = _build_mqtt(settings, self._topics, daemon=self)
        self.satellite = satellite_of(settings, on_lost=self.on_command_lost)
        self.publisher = Publisher(
            publish=self._publish,
            topics=self._topics,
            info=info_of(live),
            settings=live.values,
            final_ttl_s=settings.mqtt.final_ttl_s,
            on_event=live_view.on_event,
            take_over=self.take_over,
        )
        self.peers = _build_peers(self._topics, self.mqtt, self.publisher)
        self.audio_input = AudioInput(
            audio.new_source, name_of=audio.name_of, stall_timeout_s=settings.audio.stall_timeout_s
        )
        self.wyoming = _build_wyoming(settings, scheduler)
        self.worker = _build_worker(audio, scheduler, on_scores=live_view.on_scores, daemon=self)
        self.vocabulary = VocabularyKeeper(
            settings.vocabulary,
            stored=vocabulary_file,
            topics=self._topics,
            learn=self.worker.learn,
            publish=self.mqtt.publish,
            raise_problem=self.publisher.raise_problem,
            clear_problem=self.publisher.clear_problem,
            changed=self.nudge,
        )
        self.collector = StatusCollector(
            settings=settings,
            publisher=self.publisher,
            audio_input=self.audio_input,
            worker=self.worker,
            mqtt=self.mqtt,
            started_s=time.monotonic(),
            log_file=log_file,
            live_view=live_view,
            vocabulary=self.vocabulary,
        )
        self.housekeeper = _build_housekeeper(live.store, daemon=self)
        self.commands = _build_commands(live, self._topics, daemon=self)
        self.reloader = _build_reloader(configuration, live, self._topics, daemon=self)
        self.control = _build_control(socket_path, self.commands, self.reloader)
        self._start = StartSupervisor(
            settings, live.store, may_leave_out=tuple(Part) if self.is_live else (Part.WAKE_WORD,)
        )
        self._watchdog = Watchdog(self._start, self.worker, self.publisher)

    @property
    def is_live(self) -> bool:
        """False for a replay."""
        return self.replay is None

    def run(self) -> int:
        """Run until a signal, the end of a replay or a fault; return the exit code.

        Raises the `VoiceDaemonError` that ended it, with the exit code that it means.
        """
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        accept_signals()
        self._take_over(self._early)
        try:
            self._take_the_lock()
            self.startup()
            return self.shutdown(self.main_loop())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def startup(self) -> None:
        """Start the threads: first the one that tells others of what happens."""
        log.info("daemon.started", version=__version__, pid=os.getpid())
        left = self.journal.begin()
        self.mqtt.start()
        # What an earlier process was killed over comes before anything of this one.
        if not left.is_empty:
            log.warning("journal.settled", sessions=left.sessions, finals=list(left.finals))
        self.publisher.events(left.events(), ComputeCost)
        if self.satellite is not None:
            self.satellite.start()
        self.commands.restore()
        self.vocabulary.restore()
        self.worker.start()

    def main_loop(self) -> Outcome:
        """Wait for the end and return its reason; whatever happens here, it ends in order."""
        try:
            while True:
                outcome = self._next_outcome()
                if outcome is not None:
                    return outcome
        except Exception as error:
            log.exception("daemon.crashed")
            return Outcome(crash(error))

    def shutdown(self, outcome: Outcome) -> int:
        """Stop everything in order and return the exit code, or raise what went wrong."""
        error = outcome.error
        self.broker_met.set()
        worker_ended = self.worker.stop(WORKER_STOP_S)
        if error is not None:
            self.publisher.error(error_event(error))
        self.publisher.close(EndReason.SHUTDOWN if error is None else EndReason.ERROR)
        if worker_ended:
            self.audio_input.close()
        delivered = self.mqtt.stop(FLUSH_S)
        self.journal.close()
        self.housekeeper.finish(delivered=delivered)
        if self.control is not None:
            self.control.stop(timeout_s=CONTROL_STOP_S)
        for server in (self.wyoming, self.satellite):
            if server is not None:
                server.stop(WYOMING_STOP_S)
        if error is None and self._stop_signal is None and not delivered:
            error = self._undelivered()
        code = exit_code(error, self._stop_signal)
        log.info("daemon.stopped", exit_code=code)
        if not worker_ended:
            self._leave_threads_behind(code, error)
        if error is not None:
            error.exit_code = code
            raise error
        return code

    def engine_in_service(self) -> Engine | None:
        """Build the models, and let other clients use them once they are warm.

        None in safe mode without a recogniser. Raises the models' error, and `WyomingError` when
        the server's port is taken.
        """
        problem = self._start.safe_mode()
        if problem is not None:
            self.publisher.raise_problem(SAFE_MODE, problem)
        if self._start.left_out is Part.RECOGNISER:
            self._start.ended()
            return None
        engine = self._build_engine(self.audio_input.now_sample, self._start)
        self._start.ended()
        self.publisher.clear_problem(SLOW)
        if self.settings.arbitration.enabled:
            engine.pipeline.arbitrate(self._topics.node, self.peers)
        if self.wyoming is not None and engine.transcriptions is not None:
            self.wyoming.start(engine.transcriptions)
        return engine

    def take_over(self, final: TranscriptFinal) -> str | None:
        """Have the satellite carry a command out, if there is one; return who does."""
        accepted = self.satellite is not None and self.satellite.accept(final)
        return HANDLED_BY if accepted else None

    def on_command_lost(self, session_id: str) -> None:
        """Report a command that the satellite took over and could not carry out."""
        self.publisher.error(
            ErrorRaised(
                "satellite.not_run",
                "Home Assistant did not ask for the command in time",
                "say it again; if it happens often, see Home Assistant's Wyoming integration",
                session_id,
            )
        )

    def on_command(self, command: Command) -> None:
        """Pass an MQTT command on; raises `CommandError` when it cannot be carried out."""
        self.commands.on_command(command)

    def on_mqtt_problem(self, code: str, problem: Problem | None) -> None:
        """Raise a problem of the MQTT client, or take it back: None."""
        if problem is None:
            self.publisher.clear_problem(code)
        else:
            self.publisher.raise_problem(code, problem)

    def on_vocabulary(self, topic: str, payload: bytes) -> None:
        """Pass a document with the home's names on."""
        self.vocabulary.on_message(topic, payload)

    def on_claim(self, topic: str, payload: bytes) -> None:
        """Pass another device's claim to a wake word on."""
        self.peers.on_message(topic, payload)

    def on_connect(self) -> list[MqttMessage]:
        """Note that the broker is there, and return what it is told first."""
        self.broker_met.set()
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

    def on_lost(self, loss: Loss) -> None:
        """Settle a message that was given up: the client reports it, but for the end's losses."""
        if loss.why is not LossReason.STOPPED:
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

    def _take_over(self, early: EarlySignals) -> None:
        """Act on the signals that came before there was a daemon."""
        if early.stop is not None:
            self._on_signal(early.stop, None)
        if early.reload:
            self._on_signal(signal.SIGHUP, None)

    def _take_the_lock(self) -> None:
        if self.control is None:
            return
        try:
            self.control.start()
        except VoiceDaemonError:
            self.mqtt.stop(0)
            raise

    def _next_outcome(self) -> Outcome | None:
        """Take one notice, or wait until something is due; return why the daemon is to end."""
        try:
            notice = self.notices.get(timeout=self.housekeeper.pause_s)
        except queue.Empty:
            notice = Nudge()
        match notice:
            case Outcome():
                return notice
            case Signal(number):
                log.info("daemon.stopping", signal=signal.Signals(number).name)
                return Outcome()
            case Reload():
                self._reload()
            case Nudge():
                pass
        overdue = self._watchdog.overdue()
        if overdue is not None:
            return Outcome(overdue)
        self.housekeeper.run()
        return None

    def _health(self) -> MqttMessage:
        return health_message(self.collector.health(), topics=self._topics, at=datetime.now(UTC))

    def _reload(self) -> None:
        """Read the configuration again; one that is refused is reported, and changes nothing."""
        if self.reloader is None:
            return
        try:
            self.reloader.reload()
        except VoiceDaemonError as error:
            log.error("config.refused", code=error.code, problem=error.message)  # noqa: TRY400 - an error with a remedy needs no traceback
            self.publisher.error(error_event(error))

    def _leave_threads_behind(self, code: int, error: VoiceDaemonError | None) -> None:
        """End the process although a thread hangs; an ordinary exit would wait for it."""
        log.error("daemon.threads_left_behind", exit_code=code)
        if error is not None:
            print_error(error, sys.stderr)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(code)

    def _undelivered(self) -> VoiceDaemonError:
        """Build the error for what the broker did not get of a replay."""
        status = self.mqtt.status()
        n_lost = status.dropped + status.expired
        return BrokerError(
            "mqtt.undelivered",
            f"{n_lost} messages were not delivered to {status.url}, "
            f"finals among them: {status.finals_lost + status.finals_unconfirmed}",
            remedy=status.last_error.message if status.last_error else "is the broker running?",
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self.reloader is not None and not in_a_terminal():
            self.notices.put(Reload())
            return
        if self._stop_signal is not None:
            self._leave(128 + number)
        self._stop_signal = number
        self.notices.put(Signal(number))


def _build_mqtt(settings: Settings, topics: Topics, *, daemon: Daemon) -> MqttClient:
    """Build the client; it calls back only once it is started, when all parts are there."""
    home = settings.homeassistant
    listeners = [Listener(topic, daemon.on_vocabulary) for topic in document_topics(topics)]
    if home.discovery:
        listeners.append(Listener(home.status_topic, daemon.homeassistant.on_status))
    if settings.arbitration.enabled:
        listeners.append(Listener(claims_filter(topics), daemon.on_claim, live_only=True))
    return MqttClient(
        settings.mqtt,
        client_id=settings.mqtt.client_id or default_client_id(settings.node_id),
        topics=topics,
        on_command=daemon.on_command,
        announce=daemon.on_connect,
        listeners=listeners,
        on_problem=daemon.on_mqtt_problem,
        on_sent=daemon.journal.sent,
        on_delivered=daemon.journal.settled,
        on_lost=daemon.on_lost,
    )


def _build_peers(topics: Topics, mqtt: MqttClient, publisher: Publisher) -> MqttPeers:
    return MqttPeers(
        topics=topics,
        publish=mqtt.publish,
        is_connected=lambda: mqtt.status().connected,
        # What is wrong between us and the broker makes us hear no worse.
        has_problem=lambda: any(
            problem.part != "mqtt" for problem in publisher.snapshot().problems.values()
        ),
        on_twin=mqtt.report_twin,
    )


def _build_wyoming(settings: Settings, scheduler: RoundRobin) -> WyomingServer | None:
    wanted = settings.wyoming
    if not wanted.enabled:
        return None
    return WyomingServer(wanted.host, wanted.port, scheduler=scheduler)


def _build_worker(
    audio: Input,
    scheduler: RoundRobin,
    *,
    on_scores: Callable[[Mapping[str, float]], None],
    daemon: Daemon,
) -> Worker:
    return Worker(
        build=daemon.engine_in_service,
        audio_input=daemon.audio_input,
        publisher=daemon.publisher,
        silence_alarm_s=daemon.settings.audio.silence_alarm_s if daemon.is_live else None,
        replay=audio.replay,
        before_opening=daemon.await_broker,
        on_end=daemon.notices.put,
        scheduler=scheduler,
        on_scores=on_scores,
        microphone=audio.watch,
    )


def _build_housekeeper(store: SettingsStore, *, daemon: Daemon) -> Housekeeper:
    return Housekeeper(
        homeassistant=daemon.homeassistant,
        mqtt=daemon.mqtt,
        publisher=daemon.publisher,
        store=store,
        vocabulary=daemon.vocabulary,
        is_ready=lambda: daemon.worker.engine_ready,
        publish_health=daemon.publish_health,
        announce_again=daemon.announce_again,
    )


def _build_commands(live: LiveSettings, topics: Topics, *, daemon: Daemon) -> CommandHandler:
    return CommandHandler(
        worker=daemon.worker,
        publisher=daemon.publisher,
        collector=daemon.collector,
        live=live,
        topics=topics,
        publish=daemon.mqtt.publish,
        publish_health=daemon.publish_health,
        on_change=daemon.nudge,
        save_now=daemon.housekeeper.save,
    )


def _build_reloader(
    configuration: Configuration | None, live: LiveSettings, topics: Topics, *, daemon: Daemon
) -> Reloader | None:
    if configuration is None:
        return None
    return Reloader(
        configuration,
        live=live,
        topics=topics,
        homeassistant=daemon.homeassistant,
        worker=daemon.worker,
        commands=daemon.commands,
        vocabulary=daemon.vocabulary,
        watches_silence=daemon.is_live,
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
