"""The daemon: starts its parts, stops them in order, and watches.

Run by the main thread. It owns signals, exit codes and deadlines, and touches neither audio nor
models; `voice_daemon.app` builds the parts; docs/adr/0001-threads.md says which thread
does what.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from voice_daemon import __version__
from voice_daemon._lib.process import accept_signals
from voice_daemon._lib.terminal import print_error
from voice_daemon.audio import AudioSource
from voice_daemon.audio.file import FileReplay
from voice_daemon.audio.input import AudioInput
from voice_daemon.config import Settings
from voice_daemon.control.server import ControlServer, Handler
from voice_daemon.errors import BrokerError, VoiceDaemonError, crash, exit_code
from voice_daemon.events import EndReason
from voice_daemon.homeassistant.announce import DiscoveryAnnouncer
from voice_daemon.mqtt.arbitration import MqttPeers, claims_filter
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.messages import (
    Command,
    MqttMessage,
    Topics,
    availability,
    default_client_id,
    error_event,
    health_message,
)
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.runtime.commands import CommandHandler
from voice_daemon.runtime.live_settings import LiveSettings, device_of, info_of
from voice_daemon.runtime.live_view import LiveView
from voice_daemon.runtime.microphone import MicrophoneWatch
from voice_daemon.runtime.reload import Configuration, Reconfigurable, Reloader
from voice_daemon.runtime.scheduler import RoundRobin
from voice_daemon.runtime.status import StatusCollector
from voice_daemon.runtime.worker import Engine, Outcome, Worker
from voice_daemon.wake.models import wake_choices
from voice_daemon.wyoming.server import WyomingServer


@dataclass(frozen=True, slots=True)
class Input:
    """Where the audio comes from. With `replay` it is a file, and the daemon ends with it."""

    new_source: Callable[[], AudioSource]
    name_of: Callable[[AudioSource], str] = lambda source: source.description
    replay: FileReplay | None = None
    watch: MicrophoneWatch | None = None
    """What is known of a microphone beside its sound."""


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
        live_view = LiveView()
        scheduler = RoundRobin()
        self.store = live.store
        self.homeassistant = self._build_homeassistant()
        self.mqtt = self._build_mqtt()
        self.publisher = self._build_announcer(live_view)
        self._peers = self._build_rivals()
        self.audio_input = self._build_intake(audio)
        self.wyoming = self._build_wyoming(scheduler)
        self.worker = self._build_worker(audio, live_view, scheduler)
        self._reporter = self._build_reporter(live_view, places.log_file)
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

    def _build_homeassistant(self) -> DiscoveryAnnouncer:
        settings = self._settings
        device = device_of(self._live, self._topics, model=settings.asr.model)
        return DiscoveryAnnouncer(
            device if settings.homeassistant.discovery else None,
            topics=self._topics,
            settings=self._live.names,
            store=self.store,
            wake=self._hooks.nudge,
        )

    def _build_mqtt(self) -> MqttClient:
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
        )

    def _build_announcer(self, live_view: LiveView) -> Publisher:
        return Publisher(
            publish=self.mqtt.publish,
            topics=self._topics,
            info=info_of(self._live),
            settings=self._live.values,
            final_ttl_s=self._settings.mqtt.final_ttl_s,
            on_event=live_view.read,
        )

    def _build_rivals(self) -> MqttPeers:
        return MqttPeers(
            topics=self._topics,
            publish=self.mqtt.publish,
            is_connected=lambda: self.mqtt.status().connected,
            has_problem=lambda: bool(self.publisher.picture().problems),
        )

    def _build_intake(self, audio: Input) -> AudioInput:
        return AudioInput(
            audio.new_source,
            name_of=audio.name_of,
            stall_timeout_s=self._settings.audio.stall_timeout_s,
        )

    def _build_wyoming(self, scheduler: RoundRobin) -> WyomingServer | None:
        wanted = self._settings.wyoming
        return (
            WyomingServer(wanted.host, wanted.port, schedule=scheduler) if wanted.enabled else None
        )

    def _build_worker(self, audio: Input, live_view: LiveView, scheduler: RoundRobin) -> Worker:
        replay = audio.replay
        return Worker(
            build=self._engine_in_service,
            audio_input=self.audio_input,
            publisher=self.publisher,
            silence_alarm_s=None if replay else self._settings.audio.silence_alarm_s,
            replay=replay,
            before_opening=self._hooks.before_opening,
            on_end=self._hooks.ended,
            scheduler=scheduler,
            on_scores=live_view.scored,
            microphone=audio.watch,
        )

    def _build_reporter(self, live_view: LiveView, log_file: Path | None) -> StatusCollector:
        return StatusCollector(
            settings=self._settings,
            publisher=self.publisher,
            audio_input=self.audio_input,
            worker=self.worker,
            mqtt=self.mqtt,
            started_s=time.monotonic(),
            log_file=log_file,
            live_view=live_view,
        )

    def _build_orders(self) -> CommandHandler:
        return CommandHandler(
            worker=self.worker,
            publisher=self.publisher,
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
            publisher=self.publisher,
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
        engine = self._build_engine(self.audio_input.now_sample)
        if self._contends:
            engine.pipeline.arbitrate(self._topics.node, self._peers)
        if self.wyoming is not None and engine.transcriptions is not None:
            self.wyoming.start(engine.transcriptions)
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
        return [*self.homeassistant.messages(), *self.publisher.retained(), *health]

    def _on_claim(self, topic: str, payload: bytes) -> None:
        self._peers.on_message(topic, payload)

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


log = structlog.get_logger()

HEALTH_EVERY_S: Final = 60.0
LONGEST_PAUSE_S: Final = 1.0
SAVE_EVERY_S: Final = 1.0
"""At most, however often settings are changed."""


class Chores:
    """Does what is due. `pause_s` is how long there is nothing to do."""

    def __init__(self, parts: Assembly, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock_s = clock_s
        self._next_health_s = 0.0
        self._next_save_s = 0.0
        self._microphone_problems: tuple[str, ...] = ()
        self._save_fault: str | None = None

    @property
    def pause_s(self) -> float:
        """Until the next chore that is known of; others may come sooner."""
        due_s = self._parts.homeassistant.due_s
        times_s = [LONGEST_PAUSE_S] if due_s is None else [LONGEST_PAUSE_S, due_s - self._clock_s()]
        if self._parts.store.is_dirty:
            times_s.append(self._next_save_s - self._clock_s())
        return max(0.0, min(times_s))

    def do(self) -> None:
        """Do what is due now."""
        now_s = self._clock_s()
        self._report_health(now_s)
        due_s = self._parts.homeassistant.due_s
        if due_s is not None and now_s >= due_s:
            self._parts.announce_again()
        status = self._parts.mqtt.status()
        if status.connected and not status.queued:
            self._parts.homeassistant.confirmed()
        if self._parts.store.is_dirty and now_s >= self._next_save_s:
            self._next_save_s = now_s + SAVE_EVERY_S
            self._save()

    def finish(self, *, delivered: bool) -> None:
        """Leave everything in order; `delivered`: the broker has all that was said."""
        if delivered:
            self._parts.homeassistant.confirmed()
        self._save()

    def _report_health(self, now_s: float) -> None:
        """Report every minute, and at once when something becomes of the microphone."""
        if not self._parts.worker.engine_ready:
            return
        problems = self._parts.publisher.picture().problems
        of_microphone = tuple(code for code, problem in problems.items() if problem.part == "mic")
        if now_s >= self._next_health_s or of_microphone != self._microphone_problems:
            self._next_health_s = now_s + HEALTH_EVERY_S
            self._microphone_problems = of_microphone
            self._parts.publish_health()

    def _save(self) -> None:
        """Write the changed settings; a fault is told once, and it is tried again."""
        try:
            if self._parts.store.save():
                changes = self._parts.store.memory.changes
                log.info("settings.saved", **{name: c.value for name, c in changes.items()})
            self._save_fault = None
        except VoiceDaemonError as error:
            if error.message != self._save_fault:
                self._save_fault = error.message
                log.warning("settings.not_saved", reason=error.message, remedy=error.remedy)
                self._parts.publisher.error(error_event(error))


__all__ = ["App", "Input"]


STOP_DEADLINE_S: Final = 10.0
"""From a signal to the exit, whatever hangs."""
WORKER_STOP_S: Final = 4.0
FLUSH_S: Final = 3.0
CONTROL_STOP_S: Final = 1.0
WYOMING_STOP_S: Final = 1.0
"""Shares of `STOP_DEADLINE_S`."""
WORKER_SILENT_S: Final = 30.0
"""A worker that was not seen alive for this long hangs in a model."""
STOPPED_S: Final = 5.0
"""The main thread looks every second. Once it is this late the whole process was stopped, and what
the worker did not do meanwhile says nothing about it."""
BROKER_WAIT_S: Final = 5.0
"""How long a replay waits for the broker: partials are not kept for one that comes later."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """There is a chore to do."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration is to be read again."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal arrived."""

    number: int


class App:
    """One daemon, from start to stop. `run` may be called once, on the main thread.

    `build_engine` gets the input's live clock and is called on the worker thread.
    `live`: the settings and what was changed in earlier runs; without it nothing is remembered.
    `socket_path`: None means no control socket and no lock (a replay).
    `configuration`: how it is read again; without it SIGHUP is as good as SIGTERM.
    `leave` ends the process without waiting for threads that hang.
    """

    def __init__(
        self,
        settings: Settings,
        audio: Input,
        *,
        build_engine: Callable[[Callable[[], int]], Engine],
        socket_path: Path | None,
        log_file: Path | None,
        live: LiveSettings | None = None,
        configuration: Configuration | None = None,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._replay = audio.replay
        self._leave = leave
        self._notices: queue.SimpleQueue[Signal | Outcome | Nudge | Reload] = queue.SimpleQueue()
        self._stop_signal: int | None = None
        self._broker_met = threading.Event()
        self._looked_s = self._awake_since_s = 0.0
        self._parts = Assembly(
            live or LiveSettings(settings, wake_choices=wake_choices(settings.wake.models)),
            audio,
            build_engine=build_engine,
            places=Places(socket_path, log_file),
            hooks=Hooks(
                connected=self._broker_met.set,
                before_opening=self._await_broker,
                ended=self._notices.put,
                nudge=lambda: self._notices.put(Nudge()),
            ),
            configuration=configuration,
        )
        self._chores = Chores(self._parts)
        self._mqtt = self._parts.mqtt
        self._publisher = self._parts.publisher
        self._worker = self._parts.worker
        self._control = self._parts.control

    def run(self) -> int:
        """Run until a signal, the end of a replay or a fault; give the exit code.

        Raises the `VoiceDaemonError` that ended it, with the exit code that it means.
        """
        if self._control is not None:
            try:
                self._control.start()
            except VoiceDaemonError:
                self._mqtt.stop(0)
                raise
        signal_numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in signal_numbers}
        accept_signals()
        try:
            log.info("daemon.started", version=__version__, pid=os.getpid())
            self._mqtt.start()
            self._parts.orders.restore()
            self._worker.start()
            return self._end(self._watch())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self) -> Outcome:
        """Give why the daemon ends; whatever happens here, it ends in order."""
        try:
            return self._wait_for_the_end()
        except Exception as error:
            log.exception("daemon.crashed")
            return Outcome(crash(error))

    def _wait_for_the_end(self) -> Outcome:
        self._looked_s = time.monotonic()
        while True:
            try:
                notice = self._notices.get(timeout=self._chores.pause_s)
            except queue.Empty:
                notice = None
            if isinstance(notice, Outcome):
                return notice
            if isinstance(notice, Signal):
                log.info("daemon.stopping", signal=signal.Signals(notice.number).name)
                return Outcome()
            if isinstance(notice, Reload):
                self._reload()
            overdue = self._worker_overdue()
            if overdue is not None:
                return overdue
            self._chores.do()

    def _reload(self) -> None:
        """Read the configuration again; one that is refused is told, and changes nothing."""
        if self._parts.reloader is None:
            return
        try:
            self._parts.reloader.reload()
        except VoiceDaemonError as error:
            log.error("config.refused", code=error.code, problem=error.message)  # noqa: TRY400 - an error with a remedy needs no traceback
            self._publisher.error(error_event(error))

    def _worker_overdue(self) -> Outcome | None:
        now_s = time.monotonic()
        if now_s - self._looked_s > STOPPED_S:
            log.warning("daemon.was_stopped", for_s=round(now_s - self._looked_s))
            self._awake_since_s = now_s
        self._looked_s = now_s
        silent_s = now_s - max(self._worker.beat_s, self._awake_since_s)
        if not self._worker.engine_ready or silent_s < WORKER_SILENT_S:
            return None
        return Outcome(
            VoiceDaemonError(
                "daemon.worker_hung",
                f"the recogniser did not answer for {silent_s:.0f} s",
                remedy="launchd restarts the daemon; if it comes again, try another asr.model",
            )
        )

    def _end(self, outcome: Outcome) -> int:
        """Stop everything in order and give the exit code, or raise what went wrong."""
        error = outcome.error
        self._broker_met.set()
        worker_ended = self._worker.stop(WORKER_STOP_S)
        if error is not None:
            self._publisher.error(error_event(error))
        self._publisher.close(EndReason.SHUTDOWN if error is None else EndReason.ERROR)
        if worker_ended:
            self._parts.audio_input.close()
        delivered = self._mqtt.stop(FLUSH_S)
        self._chores.finish(delivered=delivered)
        if self._control is not None:
            self._control.stop(timeout_s=CONTROL_STOP_S)
        if self._parts.wyoming is not None:
            self._parts.wyoming.stop(WYOMING_STOP_S)
        if error is None and self._stop_signal is None and not delivered:
            error = self._undelivered()
        code = exit_code(error, self._stop_signal)
        log.info("daemon.stopped", exit_code=code)
        if not worker_ended:
            self._leave_behind(code, error)
        if error is not None:
            error.exit_code = code
            raise error
        return code

    def _leave_behind(self, code: int, error: VoiceDaemonError | None) -> None:
        """End the process although a thread hangs; an ordinary exit would wait for it."""
        log.error("daemon.threads_left_behind", exit_code=code)
        if error is not None:
            print_error(error, sys.stderr)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(code)

    def _undelivered(self) -> VoiceDaemonError:
        """Say what the broker did not get of a replay."""
        status = self._mqtt.status()
        n_lost = status.dropped + status.expired
        return BrokerError(
            "mqtt.undelivered",
            f"{n_lost} messages were not delivered to {status.url}, "
            f"finals among them: {status.finals_lost}",
            remedy=status.last_error.message if status.last_error else "is the broker running?",
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._parts.reloader is not None and not _in_a_terminal():
            self._notices.put(Reload())
            return
        if self._stop_signal is not None:
            self._leave(128 + number)
        self._stop_signal = number
        self._notices.put(Signal(number))

    def _await_broker(self) -> None:
        if self._replay is not None and not self._broker_met.wait(BROKER_WAIT_S):
            log.warning("replay.no_broker", waited_s=BROKER_WAIT_S)


def _in_a_terminal() -> bool:
    """Tell whether SIGHUP means that a terminal was closed, and the daemon with it."""
    return os.isatty(sys.__stdin__.fileno()) if sys.__stdin__ is not None else False
