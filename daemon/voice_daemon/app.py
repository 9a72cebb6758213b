"""The daemon: starts its parts, watches, and stops them in order.

Run by the main thread. It owns signals, exit codes and deadlines, and touches neither audio nor
models; docs/adr/0001-threads.md says which thread does what.
"""

import logging
import os
import queue
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from voice_daemon import __version__
from voice_daemon._lib.signals import SIGNALS, EarlySignals, accept_signals, in_a_terminal
from voice_daemon._lib.terminal import print_error
from voice_daemon.errors import (
    EXIT_CONFIG,
    AlreadyRunningError,
    BrokerError,
    VoiceDaemonError,
    crash,
    exit_code,
)
from voice_daemon.events import EndReason
from voice_daemon.mqtt.messages import error_event
from voice_daemon.runtime.live_settings import LiveSettings
from voice_daemon.runtime.parts import Input, Nudge, Parts, Reload, Signal
from voice_daemon.runtime.reloader import Configuration
from voice_daemon.runtime.start import StartSupervisor, Watchdog
from voice_daemon.runtime.worker import Engine, Outcome
from voice_daemon.session.metrics import ComputeCost

__all__ = ["Daemon", "Input"]

log = structlog.get_logger()

STOP_DEADLINE_S: Final = 10.0
"""From a signal to the exit, whatever hangs."""
WORKER_STOP_S: Final = 4.0
FLUSH_S: Final = 3.0
CONTROL_STOP_S: Final = 1.0
WYOMING_STOP_S: Final = 1.0
"""Shares of `STOP_DEADLINE_S`."""


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
        self.parts = Parts(
            live,
            audio,
            build_engine=build_engine,
            socket_path=socket_path,
            log_file=log_file,
            journal_folder=journal_folder,
            vocabulary_file=vocabulary_file,
            configuration=configuration,
        )
        self._leave = leave
        self._early = early or EarlySignals()
        self._stop_signal: int | None = None
        self._watchdog = Watchdog(self.parts.start, self.parts.worker, self.parts.publisher)

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
        left = self.parts.journal.begin()
        # A device that was announced must not have another identity after a crash.
        self.parts.housekeeper.save()
        self.parts.mqtt.start()
        # What an earlier process was killed over comes before anything of this one.
        if not left.is_empty:
            log.warning("journal.settled", sessions=left.sessions, finals=list(left.finals))
        self.parts.publisher.events(left.events(), ComputeCost)
        if self.parts.speaker is not None:
            self.parts.speaker.start()
        if self.parts.satellite is not None:
            self.parts.satellite.start()
        self.parts.commands.restore()
        self.parts.vocabulary.restore()
        self.parts.worker.start()

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
        # A replay may still wait for its broker.
        self.parts.broker_met.set()
        worker_ended = self.parts.worker.stop(WORKER_STOP_S)
        if error is not None:
            self.parts.publisher.error(error_event(error))
        self.parts.publisher.close(EndReason.SHUTDOWN if error is None else EndReason.ERROR)
        # Else the worker may be inside of it.
        if worker_ended:
            self.parts.audio_input.close()
        # While there is a connection to say it on.
        self.parts.withdraw()
        delivered = self.parts.mqtt.stop(FLUSH_S)
        self.parts.journal.close()
        self.parts.housekeeper.finish(delivered=delivered)
        if self.parts.control is not None:
            self.parts.control.stop(timeout_s=CONTROL_STOP_S)
        for part in (self.parts.wyoming, self.parts.satellite, self.parts.speaker):
            if part is not None:
                part.stop(WYOMING_STOP_S)
        if error is None and self._stop_signal is None:
            error = self._undelivered(delivered=delivered)
        if self._stop_signal is not None and exit_code(error, None) == EXIT_CONFIG:
            # It was told already. Raised, it would have the process wait for a better
            # configuration, and the signal that asked it to end would be lost.
            error = None
        code = exit_code(error, self._stop_signal)
        log.info("daemon.stopped", exit_code=code)
        if not worker_ended:
            self._leave_threads_behind(code, error)
        if error is not None:
            error.exit_code = code
            raise error
        return code

    def _take_over(self, early: EarlySignals) -> None:
        """Act on the signals that came before there was a daemon."""
        if early.stop is not None:
            self._on_signal(early.stop, None)
        if early.reload:
            self._on_signal(signal.SIGHUP, None)

    def _take_the_lock(self) -> None:
        if self.parts.control is None:
            return
        try:
            self.parts.control.start()
        except VoiceDaemonError as error:
            self.parts.mqtt.stop(0)
            if not isinstance(error, AlreadyRunningError):
                error.exit_code = exit_code(error, None)
            raise

    def _next_outcome(self) -> Outcome | None:
        """Take one notice, or wait until something is due; return why the daemon is to end."""
        try:
            notice = self.parts.notices.get(timeout=self.parts.housekeeper.pause_s)
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
        self.parts.housekeeper.run()
        return None

    def _reload(self) -> None:
        """Read the configuration again; one that is refused is reported, and changes nothing."""
        if self.parts.reloader is None:
            return
        try:
            self.parts.reloader.reload()
        except VoiceDaemonError as error:
            log.error("config.refused", code=error.code, problem=error.message)  # noqa: TRY400 - an error with a remedy needs no traceback
            self.parts.publisher.error(error_event(error))

    def _leave_threads_behind(self, code: int, error: VoiceDaemonError | None) -> None:
        """End the process although a thread hangs; an ordinary exit would wait for it."""
        log.error("daemon.threads_left_behind", exit_code=code)
        if error is not None:
            print_error(error, sys.stderr)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(code)

    def _undelivered(self, *, delivered: bool) -> VoiceDaemonError | None:
        """Build the error for what the broker did not get of a replay; None where it got all."""
        status = self.parts.mqtt.status()
        n_finals = status.finals_lost + status.finals_unconfirmed
        if delivered and not n_finals:
            return None
        n_lost = max(status.dropped + status.expired, n_finals)
        return BrokerError(
            "mqtt.undelivered",
            f"{n_lost} messages were not delivered to {status.url}, finals among them: {n_finals}",
            remedy=status.last_error.message if status.last_error else "`daemonctl logs` says why",
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self.parts.reloader is not None and not in_a_terminal():
            self.parts.notices.put(Reload())
            return
        if self._stop_signal is not None:
            self._leave(128 + number)
        self._stop_signal = number
        self.parts.notices.put(Signal(number))
