"""`daemonctl serve-wyoming`: the recogniser as a Wyoming server alone.

The models live on the main thread, which takes the clients' steps in turn.
"""

import argparse
import os
import signal
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from voice_daemon._lib.process import forbid_core_dumps
from voice_daemon.asr import WhisperTranscriber
from voice_daemon.asr.cooperative import at_once
from voice_daemon.cli.context import Context
from voice_daemon.config import Settings
from voice_daemon.errors import EXIT_INTERRUPTED, EXIT_OK, UsageError
from voice_daemon.logs import setup as logs
from voice_daemon.paths import Paths
from voice_daemon.runtime.build import load_transcriber, transcription_service, vocabulary_at_work
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.vocabulary.store import known_document
from voice_daemon.wyoming.server import WyomingServer

LOOK_UP_S: Final = 0.2
"""Interval at which the wait for clients checks for a signal."""
STOP_S: Final = 2.0
PORTS: Final = range(65_536)


def run(args: argparse.Namespace, context: Context) -> int:
    """Serve until SIGINT or SIGTERM; raises `VoiceDaemonError` for a port or a model."""
    settings, paths = context.settings(), context.paths()
    host = settings.wyoming.host if args.host is None else args.host
    port = settings.wyoming.port if args.port is None else args.port
    if port not in PORTS:
        raise UsageError(
            "wyoming.port",
            f"--port {port} is not a port number",
            remedy=f"give a number from {PORTS[0]} to {PORTS[-1]}; 0 takes any that is free",
        )
    forbid_core_dumps()
    logs.configure(
        settings.log,
        log_file=paths.wyoming_log_file,
        console=context.err.isatty(),
        log_transcripts=settings.privacy.log_transcripts,
    )
    scheduler = RoundRobin()
    server = WyomingServer(
        host, port, scheduler=scheduler, ends_utterances=settings.wyoming.endpoint
    )
    transcriber = load_transcriber(settings.asr, paths.models_dir)
    _learn_names(transcriber, settings, paths)
    stop = _StopSignals()
    port = server.start(transcription_service(transcriber, settings))
    context.out.write(f"serving {settings.asr.model} by Wyoming on tcp://{host}:{port}\n")
    context.out.flush()
    while not stop.number:
        if scheduler.step() is None:
            scheduler.wait(LOOK_UP_S)
    server.stop(STOP_S)
    return EXIT_INTERRUPTED if stop.number == signal.SIGINT else EXIT_OK


def _learn_names(transcriber: WhisperTranscriber, settings: Settings, paths: Paths) -> None:
    """Use the home's names that the daemon has, or the owner's file."""
    wanted = settings.vocabulary
    known = known_document(paths.vocabulary_file, wanted.file) if wanted.enabled else None
    if known is not None:
        at_once(vocabulary_at_work(transcriber, settings).learning(known.document))


@dataclass(slots=True)
class _StopSignals:
    """The signal that asked for the end; a second one ends the process at once."""

    number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
