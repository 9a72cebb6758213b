"""`daemonctl demo`: the whole daemon on a bundled clip, as a subscriber to its broker sees it.

Needs no sound card, no broker and no configuration: the broker is its own, the microphone is
a file, and the user's configuration is not read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from voice_daemon.app import Daemon
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import FileReplay
from voice_daemon.cli.context import Context
from voice_daemon.cli.run import file_input
from voice_daemon.config import LogSettings, Settings
from voice_daemon.demo.report import ReceivedMessage, Report
from voice_daemon.demo.screen import JsonScreen, Screen, TerminalScreen
from voice_daemon.demo.subscriber import DemoSubscriber
from voice_daemon.errors import EXIT_FAILED, EXIT_OK
from voice_daemon.logs import setup as logs
from voice_daemon.runtime.build import build_engine
from voice_daemon.runtime.live_settings import LiveSettings

NODE = "demo"


def run(args: argparse.Namespace, context: Context) -> int:
    """Show it; 0 when the final arrived and reads as it was spoken."""
    logs.configure(LogSettings(level="error"), log_file=None, console=True)
    screen = _screen(context, as_json=args.json)
    return play(screen, port=args.port, models_dir=context.paths().models_dir)


def play(screen: Screen, *, port: int | None, models_dir: Path) -> int:
    """Play the clip and show on `screen` what a subscriber gets; gives the exit code.

    `port`: the broker's; None means any free one.
    """
    from voice_daemon.demo.broker import demo_broker  # noqa: PLC0415 - only when it is run

    report = Report()

    def show(arrival: ReceivedMessage) -> None:
        screen.row(report.add(arrival), arrival)

    with demo_broker(port) as broker:
        settings = demo_settings(broker.port)
        root = f"{settings.mqtt.base_topic}/{settings.node_id}"
        screen.opening(
            clip="“Hey Jarvis, turn on the kitchen lights.” (a bundled recording)",
            broker=f"{broker.description} on 127.0.0.1:{broker.port}, started for this demo",
            watch=f"mosquitto_sub -p {broker.port} -v -t '{root}/#'",
        )
        daemon, replay = _daemon(settings, models_dir)
        with DemoSubscriber(broker.port, root, clip_sample=replay.now_sample, show=show) as last:
            code = daemon.run()
            last.wait()
    if code:
        return code
    verdict = report.verdict()
    screen.closing(verdict)
    return EXIT_OK if verdict.ok else EXIT_FAILED


def demo_settings(port: int) -> Settings:
    """Give the defaults, with the demo's broker and name."""
    defaults = Settings()
    mqtt = defaults.mqtt.model_copy(update={"port": port})
    return defaults.model_copy(update={"node_id": NODE, "mqtt": mqtt})


def _daemon(settings: Settings, models_dir: Path) -> tuple[Daemon, FileReplay]:
    audio, replay = file_input(DEMO_CLIP, settings, realtime=True)
    daemon = Daemon(
        LiveSettings(settings),
        audio,
        build_engine=lambda now_sample, start: build_engine(
            settings, models_dir=models_dir, now_sample=now_sample, start=start
        ),
    )
    return daemon, replay


def _screen(context: Context, *, as_json: bool) -> Screen:
    if as_json:
        return JsonScreen(context.out)
    return TerminalScreen(Console(file=context.out, highlight=False))
