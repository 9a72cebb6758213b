"""`daemonctl serve-wyoming`: the recogniser as a Wyoming server alone.

No microphone, no wake word, no broker: the models live on the main thread, which takes the
clients' steps in turn until a signal comes.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from voice_daemon.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from voice_daemon.asr import WhisperTranscriber
    from voice_daemon.cli.context import Context
    from voice_daemon.config import Settings
    from voice_daemon.paths import Paths

NAME = "serve-wyoming"
HELP = "serve the recogniser to Home Assistant and others by Wyoming"
EXAMPLE = "daemonctl serve-wyoming --host 0.0.0.0 --port 10300"

LOOK_UP_S: Final = 0.2
"""How often the wait for clients looks whether a signal came."""
STOP_S: Final = 2.0
PORTS: Final = range(65_536)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--host", metavar="H", help="address to listen on (wyoming.host)")
    parser.add_argument(
        "--port", type=int, metavar="P", help="port to listen on, 0 for any (wyoming.port)"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Serve until SIGINT or SIGTERM; raises `VoiceDaemonError` for a port or a model."""
    from voice_daemon._lib import process as core_dumps  # noqa: PLC0415 - only when it is run
    from voice_daemon.logs import setup as logs  # noqa: PLC0415 - only when it is run
    from voice_daemon.runtime.build import load_transcriber, transcription_service  # noqa: PLC0415 - MLX
    from voice_daemon.runtime.scheduler import RoundRobin  # noqa: PLC0415 - only when it is run
    from voice_daemon.wyoming.server import WyomingServer  # noqa: PLC0415 - as above

    settings, paths = context.settings(), context.paths()
    host = settings.wyoming.host if args.host is None else args.host
    port = settings.wyoming.port if args.port is None else args.port
    if port not in PORTS:
        raise UsageError(
            "wyoming.port",
            f"--port {port} is none",
            remedy=f"give a number from {PORTS[0]} to {PORTS[-1]}; 0 takes any that is free",
        )
    core_dumps.forbid()
    logs.configure(
        settings.log,
        log_file=paths.wyoming_log_file,
        console=context.err.isatty(),
        log_transcripts=settings.privacy.log_transcripts,
    )
    scheduler = RoundRobin()
    server = WyomingServer(host, port, schedule=scheduler)
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
    return 128 + stop.number if stop.number == signal.SIGINT else 0


def _learn_names(transcriber: WhisperTranscriber, settings: Settings, paths: Paths) -> None:
    """Use the home's names that the daemon has, or the owner's file."""
    from voice_daemon.asr.cooperative import at_once  # noqa: PLC0415 - only when it is run
    from voice_daemon.runtime.build import vocabulary_at_work  # noqa: PLC0415 - MLX
    from voice_daemon.vocabulary.store import known_document  # noqa: PLC0415 - as above

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
