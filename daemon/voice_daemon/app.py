"""The daemon: starts its parts, stops them in order, and watches.

Run by the main thread. It owns signals, exit codes and deadlines, and touches neither audio nor
models; `voice_daemon.runtime.assembly` builds the parts; docs/adr/0001-threads.md says which thread
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from voice_daemon import __version__
from voice_daemon.cli.context import print_error
from voice_daemon.errors import BrokerError, VoiceDaemonError, crash
from voice_daemon.events import EndReason
from voice_daemon.exit_codes import exit_code
from voice_daemon.mqtt.messages import error_event
from voice_daemon.runtime.assembly import Assembly, Hooks, Input, Places
from voice_daemon.runtime.chores import Chores
from voice_daemon.runtime.live_settings import LiveSettings
from voice_daemon.runtime.worker import Outcome
from voice_daemon.wake.models import wake_choices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from voice_daemon.config import Settings
    from voice_daemon.runtime.reload import Configuration
    from voice_daemon.runtime.worker import Engine

__all__ = ["App", "Input"]

log = structlog.get_logger()

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
        self._announcer = self._parts.announcer
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
            self._announcer.error(error_event(error))

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
            self._announcer.error(error_event(error))
        self._announcer.close(EndReason.SHUTDOWN if error is None else EndReason.ERROR)
        if worker_ended:
            self._parts.intake.close()
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
