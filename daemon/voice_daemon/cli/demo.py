"""`daemonctl demo`: the whole daemon on a bundled clip, as a subscriber to its broker sees it.

Needs no sound card, no broker and no configuration: the broker is its own, the microphone is
a file, and the user's configuration is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from voice_daemon.app import Daemon
    from voice_daemon.audio.file import FileReplay
    from voice_daemon.cli.context import Context
    from voice_daemon.config import Settings
    from voice_daemon.demo.report import ReceivedMessage
    from voice_daemon.demo.screen import Screen

NAME = "demo"
HELP = "show the daemon at work on a bundled clip, with a broker of its own"
EXAMPLE = "daemonctl demo"

NODE = "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--port", type=int, help="the broker's port (default: any free one)")


def run(args: argparse.Namespace, context: Context) -> int:
    """Show it; 0 when the final arrived and reads as it was spoken."""
    from voice_daemon.config import LogSettings  # noqa: PLC0415 - as above
    from voice_daemon.logs import setup as logs  # noqa: PLC0415 - only when it is run

    logs.configure(LogSettings(level="error"), log_file=None, console=True)
    screen = _screen(context, as_json=args.json)
    return play(screen, port=args.port, models_dir=context.paths().models_dir)


def play(screen: Screen, *, port: int | None, models_dir: Path) -> int:
    """Play the clip and show on `screen` what a subscriber gets; gives the exit code.

    `port`: the broker's; None means any free one.
    """
    from voice_daemon.demo.broker import demo_broker  # noqa: PLC0415 - only when it is run
    from voice_daemon.demo.report import Report  # noqa: PLC0415 - as above
    from voice_daemon.demo.subscriber import DemoSubscriber  # noqa: PLC0415 - as above

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
    return 0 if verdict.ok else 1


def demo_settings(port: int) -> Settings:
    """Give the defaults, with the demo's broker and name."""
    from voice_daemon.config import Settings  # noqa: PLC0415 - only when it is run

    defaults = Settings()
    mqtt = defaults.mqtt.model_copy(update={"port": port})
    return defaults.model_copy(update={"node_id": NODE, "mqtt": mqtt})


def _daemon(settings: Settings, models_dir: Path) -> tuple[Daemon, FileReplay]:
    from voice_daemon.app import Daemon  # noqa: PLC0415 - only when it is run
    from voice_daemon.assets import DEMO_CLIP  # noqa: PLC0415 - as above
    from voice_daemon.cli.run import file_input  # noqa: PLC0415 - as above
    from voice_daemon.runtime.build import build_engine  # noqa: PLC0415 - as above
    from voice_daemon.runtime.live_settings import LiveSettings  # noqa: PLC0415 - as above

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
    from rich.console import Console  # noqa: PLC0415 - only when it is run

    from voice_daemon.demo.screen import JsonScreen, TerminalScreen  # noqa: PLC0415 - as above

    if as_json:
        return JsonScreen(context.out)
    return TerminalScreen(Console(file=context.out, highlight=False))
