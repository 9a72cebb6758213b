"""Daemons in this process: fake models and rooms, a real broker, started and stopped by a test."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.fakes import FakeTranscriber, FakeVad, FakeWake, Scene
from support.subscriber import Subscriber
from voice_daemon.app import Daemon, Input
from voice_daemon.audio.file import FileReplay
from voice_daemon.config import AudioSettings, Settings
from voice_daemon.config.persisted import SettingsStore
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import AudioBlock
from voice_daemon.runtime.live_settings import LiveSettings
from voice_daemon.runtime.reloader import Configuration
from voice_daemon.runtime.start import StartStep, StartSupervisor
from voice_daemon.runtime.worker import Engine
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions

NODE = "app-test"
WAIT_S = 30.0


class EndlessRoom:
    """A microphone in a room that is never quite silent; delivers as fast as it is read."""

    exhausted = False
    description = "an endless room"
    dropped_samples = 0
    wanted_sample = 0

    def __init__(
        self, samples: NDArray[np.int16] | None = None, *, then: int = 3, pause_s: float = 0.005
    ) -> None:
        """`samples` come at once; after them samples of the value `then`, one block a pause."""
        self._samples = np.zeros(0, np.int16) if samples is None else samples
        self._then = then
        self._pause_s = pause_s
        self._read = 0
        self._paused = threading.Event()

    def now_sample(self) -> int:
        return self._read

    def start(self) -> None:
        self._paused.clear()

    def stop(self) -> None:
        self._paused.set()

    def read(self, timeout_s: float) -> AudioBlock | None:
        if self._read >= len(self._samples):
            self._paused.wait(min(timeout_s, self._pause_s))
        samples = self._samples[self._read : self._read + 1280]
        block = AudioBlock(
            self._read, samples if len(samples) else np.full(1280, self._then, np.int16)
        )
        self._read += len(block.samples)
        return block


def make_app(
    port: int,
    audio: Input,
    *,
    scene: Scene | None = None,
    socket_path: Path | None = None,
    build_error: VoiceDaemonError | None = None,
    changes_file: Path | None = None,
    journal_folder: Path | None = None,
    settings: Settings | None = None,
    configuration: Configuration | None = None,
    hang: StartStep | None = None,
    left: Callable[[int], None] = os._exit,
) -> Daemon:
    """`changes_file`: settings changed at run time; `hang`: the step that never ends."""
    scene = scene or Scene()
    settings = settings or Settings(node_id=NODE, audio=AudioSettings(output="none"))
    mqtt = settings.mqtt.model_copy(update={"port": port})
    live = LiveSettings(
        settings.model_copy(update={"mqtt": mqtt}),
        store=SettingsStore(changes_file),
    )

    def build(now_sample: Callable[[], int], start: StartSupervisor) -> Engine:
        if build_error is not None:
            raise build_error
        start.begin(StartStep.WAKE)
        if hang is not None and start.left_out is None:
            start.begin(hang)
            threading.Event().wait()
        timed = TimedTranscriber(FakeTranscriber(words=scene.words))
        pipeline = Pipeline(
            wake=FakeWake(scene.wakes),
            vad=FakeVad(),
            transcriber=timed,
            options=PipelineOptions(silence_ms=live.settings.session.silence_ms),
            now_sample=now_sample,
            new_session_id=lambda: os.urandom(4).hex(),
        )
        return Engine(pipeline, timed, None)

    return Daemon(
        live,
        audio,
        build_engine=build,
        socket_path=socket_path,
        configuration=configuration,
        journal_folder=journal_folder,
        leave=left,
    )


def replay_of(scene: Scene) -> Input:
    replay = FileReplay(EndlessFile(scene.samples), realtime=False, max_silence_s=30)
    return Input(lambda: replay, replay=replay)


class EndlessFile(EndlessRoom):
    """The same as a file: it has an end."""

    @property
    def exhausted(self) -> bool:  # type: ignore[override]
        return self._read >= len(self._samples)


def command() -> Scene:
    return Scene().silence(2000).wake().silence(500).say("turn on the kitchen lights").silence(400)


def on(subscriber: Subscriber, leaf: str) -> list[Any]:
    topic = f"voice/{NODE}/{leaf}"
    payloads = [m.payload for m in subscriber.seen if m.topic == topic and not m.retain]
    return [json.loads(p) if p.startswith(b"{") else p.decode() for p in payloads]


def hear_it_leave(subscriber: Subscriber) -> None:
    subscriber.wait_for(
        lambda m: (
            m.topic == f"voice/{NODE}/availability" and m.payload == b"offline" and not m.retain
        )
    )


class Running:
    """Runs an app here and a test's script on another thread, which ends with SIGTERM."""

    def __init__(self, app: Daemon, script: Callable[[], None]) -> None:
        self._app = app
        self._script = script
        self.failure: BaseException | None = None

    def run(self) -> int:
        thread = threading.Thread(target=self._act)
        thread.start()
        try:
            return self._app.run()
        finally:
            thread.join(WAIT_S)
            if self.failure is not None:
                raise self.failure

    def _act(self) -> None:
        try:
            self._script()
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self.failure = error
        finally:
            self._app._on_signal(signal.SIGTERM, None)
