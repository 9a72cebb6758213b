"""`daemonctl demo`: the whole daemon on a bundled clip, as a subscriber to its broker sees it.

Needs no sound card, no broker and no configuration.
"""

import argparse
from pathlib import Path

from rich.console import Console

from voice_daemon.app import Daemon
from voice_daemon.asr import StreamingDecoder, WhisperTranscriber, load_model
from voice_daemon.asr.cooperative import at_once
from voice_daemon.asr.types import StreamingConfig
from voice_daemon.assets import DEMO_CLIP, HOME_CLIP
from voice_daemon.audio.file import FileReplay, load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.cli.context import Context
from voice_daemon.cli.run import file_input
from voice_daemon.config import LogSettings, Settings
from voice_daemon.demo.broker import demo_broker
from voice_daemon.demo.report import HomeComparison, ReceivedMessage, Report
from voice_daemon.demo.screen import JsonScreen, Screen, TerminalScreen
from voice_daemon.demo.subscriber import DemoSubscriber
from voice_daemon.errors import EXIT_FAILED, EXIT_OK
from voice_daemon.logs import setup as logs
from voice_daemon.models import resolve
from voice_daemon.runtime.build import build_engine
from voice_daemon.runtime.live_settings import LiveSettings
from voice_daemon.vocabulary.correction import Corrector, building_vocabulary
from voice_daemon.vocabulary.document import Document, Name
from voice_daemon.vocabulary.templates import installed

NODE = "demo"
MADE_UP_NAME = "Plantuary"
"""In the bundled clip of a home; no model knows it."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Show it; 0 when the final arrived and reads as it was spoken."""
    logs.configure(LogSettings(level="error"), log_file=None, console=True)
    console = Console(file=context.out, highlight=False)
    screen: Screen = JsonScreen(context.out) if args.json else TerminalScreen(console)
    return play(screen, port=args.port, models_dir=context.paths().models_dir)


def play(screen: Screen, *, port: int | None, models_dir: Path) -> int:
    """Play the clip and show on `screen` what a subscriber gets; gives the exit code.

    `port`: the broker's; None means any free one.
    """
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
    comparison = compare(resolve(settings.asr.model, models_dir=models_dir))
    if comparison is not None:
        screen.home(comparison)
    screen.closing(verdict)
    return EXIT_OK if verdict.ok else EXIT_FAILED


def demo_settings(port: int) -> Settings:
    """Give the defaults, with the demo's broker and name."""
    defaults = Settings()
    mqtt = defaults.mqtt.model_copy(update={"port": port})
    home = defaults.homeassistant.model_copy(update={"discovery": False})
    return defaults.model_copy(update={"node_id": NODE, "mqtt": mqtt, "homeassistant": home})


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


def compare(model_folder: Path) -> HomeComparison | None:
    """Read the bundled clip without and with a home's names; None without the extra `home`."""
    if not installed():
        return None
    model = load_model(model_folder)
    config = StreamingConfig(emit_partial=False)
    decoder = StreamingDecoder(model, config)
    corrector = Corrector(model, logprobs=decoder.logprobs)
    document = Document(entities=(Name(MADE_UP_NAME, domain="light"),))
    corrector.home = at_once(building_vocabulary(document, model.tokenizer.encode, language="en"))
    transcriber = WhisperTranscriber(model, config, decoder=decoder, corrector=corrector)
    transcriber.start(wake_phrase=None)
    transcriber.feed(to_int16(load_audio(HOME_CLIP)))
    heard = transcriber.finish()
    understood = at_once(transcriber.correcting(heard))
    return HomeComparison(
        f"Turn off the {MADE_UP_NAME}.", MADE_UP_NAME, heard.text, understood.text
    )
