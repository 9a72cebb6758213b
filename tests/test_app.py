"""The daemon as a whole on fake models, with a real broker and a real control socket."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fakes import FakeTranscriber, FakeVad, FakeWake, Scene
from voice_daemon.app import App, Input
from voice_daemon.config import Settings
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import (
    AlreadyRunningError,
    AudioDeviceError,
    BrokerError,
    ModelError,
    VoiceDaemonError,
)
from voice_daemon.events import AudioBlock
from voice_daemon.exit_codes import EXIT_CONFIG, EXIT_FAULT, exit_code
from voice_daemon.pipeline import Pipeline, PipelineOptions
from voice_daemon.replay import Replay
from voice_daemon.stopwatch import Stopwatch
from voice_daemon.worker import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from subscriber import Subscriber

NODE = "app-test"
WAIT_S = 30.0


class EndlessRoom:
    """A microphone in a room that is never quite silent; delivers as fast as it is read."""

    exhausted = False
    description = "an endless room"
    dropped_samples = 0

    def __init__(
        self, samples: NDArray[np.int16] | None = None, *, then: int = 3, pause_s: float = 0.005
    ) -> None:
        """`samples` come at once; after them samples of the value `then`, one block a pause."""
        self._samples = np.zeros(0, np.int16) if samples is None else samples
        self._then = then
        self._pause_s = pause_s
        self._read = 0
        self._paused = threading.Event()

    @property
    def clock(self) -> EndlessRoom:
        return self

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
    left: Callable[[int], None] = os._exit,
) -> App:
    scene = scene or Scene()

    def build(now_sample: Callable[[], int]) -> Engine:
        if build_error is not None:
            raise build_error
        stopwatch = Stopwatch(FakeTranscriber(words=scene.words))
        pipeline = Pipeline(
            wake=FakeWake(scene.wakes),
            vad=FakeVad(),
            transcriber=stopwatch,
            options=PipelineOptions(),
            now_sample=now_sample,
            new_session_id=lambda: os.urandom(4).hex(),
        )
        return Engine(pipeline, stopwatch, None)

    defaults = Settings()
    mqtt = defaults.mqtt.model_copy(update={"port": port})
    return App(
        defaults.model_copy(update={"node_id": NODE, "mqtt": mqtt}),
        audio,
        build_engine=build,
        socket_path=socket_path,
        log_file=None,
        leave=left,
    )


def replay_of(scene: Scene) -> Input:
    replay = Replay(EndlessFile(scene.samples), realtime=False, max_silence_s=30)
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

    def __init__(self, app: App, script: Callable[[], None]) -> None:
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


def test_a_replay_says_everything_in_order_and_exits_0(
    mosquitto_port: int, subscriber: Subscriber
) -> None:
    scene = command()
    assert make_app(mosquitto_port, replay_of(scene), scene=scene).run() == 0
    hear_it_leave(subscriber)
    assert on(subscriber, "availability") == ["online", "offline"]
    assert on(subscriber, "state")[-1] == "idle"  # of those that wait, only the newest is sent
    assert [e["event_type"] for e in on(subscriber, "session")] == ["started", "ended"]
    finals = on(subscriber, "transcript/final")
    assert [final["text"] for final in finals] == ["turn on the kitchen lights"]
    seqs = [e["seq"] for e in on(subscriber, "transcript/partial") + finals]
    assert seqs == list(range(1, len(seqs) + 1))
    assert on(subscriber, "info")[-1]["wake_words"] == ["hey_jarvis"]


def test_a_replay_without_a_broker_reports_its_final_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voice_daemon.app.BROKER_WAIT_S", 0.1)
    scene = command()
    with pytest.raises(BrokerError, match="finals among them: 1") as caught:
        make_app(1, replay_of(scene), scene=scene).run()
    assert caught.value.exit_code == 1


def test_sigterm_in_a_session_says_shutdown_and_offline(
    mosquitto_port: int, subscriber: Subscriber
) -> None:
    scene = Scene().silence(2000).wake().silence(500).say("turn on the kitchen lights")
    voice_goes_on = Input(lambda: EndlessRoom(scene.samples, then=95, pause_s=0.08))
    app = make_app(mosquitto_port, voice_goes_on, scene=scene)

    def script() -> None:
        subscriber.wait_for(lambda m: m.topic == f"voice/{NODE}/transcript/partial")

    assert Running(app, script).run() == 0
    hear_it_leave(subscriber)
    assert [e.get("reason") for e in on(subscriber, "session")] == [None, "shutdown"]
    assert [e["code"] for e in on(subscriber, "error")] == ["session.command_lost"]
    assert on(subscriber, "transcript/final") == []


def test_the_control_socket_shows_and_steers_it(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path
) -> None:
    socket_path = voice_home / "s"
    app = make_app(mosquitto_port, Input(EndlessRoom), socket_path=socket_path)
    client = ControlClient(socket_path)
    told: dict[str, Any] = {}

    def script() -> None:
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"voice/{NODE}/state", b"idle"))
        told["status"] = client.request("status")
        client.request("mute")
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"voice/{NODE}/mute/state", b"ON"))
        told["muted"] = client.request("status")["session"]
        with pytest.raises(VoiceDaemonError, match="muted"):
            client.request("listen")
        client.request("unmute")
        subscriber.wait_for(lambda _: on(subscriber, "mute/state") == ["OFF", "ON", "OFF"])
        client.request("listen")
        subscriber.wait_for(lambda m: m.topic == f"voice/{NODE}/session")

    assert Running(app, script).run() == 0
    assert told["status"]["mqtt"]["connected"] is True
    assert told["status"]["wake"]["self_test"] == "pass"
    assert told["status"]["healthy"] is True
    assert told["status"]["mic"]["device"] == "an endless room"
    assert told["muted"] == {**told["muted"], "muted": True, "state": "muted"}
    assert not socket_path.exists()


def test_commands_by_mqtt_are_carried_out_and_answered(
    mosquitto_port: int, subscriber: Subscriber
) -> None:
    app = make_app(mosquitto_port, Input(EndlessRoom))
    root = f"voice/{NODE}"

    def script() -> None:
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{root}/state", b"idle"))
        subscriber.publish(f"{root}/cmd/listen", b'{"transaction":"t1"}')
        subscriber.wait_for(lambda m: m.topic == f"{root}/response/listen")
        subscriber.publish(f"{root}/cmd/cancel", b"")
        subscriber.publish(f"{root}/wake_threshold/set", b"0.7")
        subscriber.wait_for(
            lambda m: (m.topic, m.payload) == (f"{root}/wake_threshold/state", b"0.7")
        )
        subscriber.publish(f"{root}/wake_threshold/set", b"7")
        subscriber.wait_for(lambda m: m.topic == f"{root}/error")
        subscriber.publish(f"{root}/cmd/health", b"")
        subscriber.wait_for(lambda m: m.topic == f"{root}/response/health")
        subscriber.publish(f"{root}/cmd/dance", b"")
        subscriber.wait_for(lambda m: m.topic == f"{root}/response/dance")

    assert Running(app, script).run() == 0
    assert on(subscriber, "response/listen")[0]["transaction"] == "t1"
    assert [e.get("reason") for e in on(subscriber, "session")] == [None, "cancelled"]
    assert on(subscriber, "error")[0]["code"] == "command.out_of_range"
    assert on(subscriber, "health")[-1]["threads"] > 1
    assert on(subscriber, "response/dance")[0]["status"] == "error"


def test_a_second_daemon_names_the_first_ones_pid(mosquitto_port: int, voice_home: Path) -> None:
    socket_path = voice_home / "s"
    first = make_app(mosquitto_port, Input(EndlessRoom), socket_path=socket_path)
    first._control.start()  # type: ignore[union-attr]
    second = make_app(mosquitto_port, Input(EndlessRoom), socket_path=socket_path)
    try:
        with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}") as caught:
            second.run()
        assert caught.value.exit_code == 0
    finally:
        first._control.stop()  # type: ignore[union-attr]
        first._mqtt.stop(0)


def test_an_unusable_model_is_a_configuration_error(
    mosquitto_port: int, subscriber: Subscriber
) -> None:
    missing = ModelError("models.missing", "no such model", remedy="pull it")
    with pytest.raises(ModelError) as caught:
        make_app(mosquitto_port, Input(EndlessRoom), build_error=missing).run()
    assert caught.value.exit_code == EXIT_CONFIG
    hear_it_leave(subscriber)


def test_a_missing_microphone_is_a_fault_that_a_restart_may_cure(mosquitto_port: int) -> None:
    class Closed(EndlessRoom):
        def start(self) -> None:
            raise AudioDeviceError("mic.none", "no such device", remedy="plug one in")

    with pytest.raises(AudioDeviceError) as caught:
        make_app(mosquitto_port, Input(Closed)).run()
    assert caught.value.exit_code == EXIT_FAULT


def test_a_second_signal_leaves_at_once() -> None:
    codes: list[int] = []
    app = make_app(1, Input(EndlessRoom), left=codes.append)
    app._on_signal(signal.SIGINT, None)
    app._on_signal(signal.SIGINT, None)
    app._mqtt.stop(0)
    assert codes == [130]


def test_a_worker_that_hangs_is_given_up(
    mosquitto_port: int, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_daemon.app.WORKER_SILENT_S", 0.2)
    monkeypatch.setattr("voice_daemon.app.WORKER_STOP_S", 0.2)
    release = threading.Event()
    codes: list[int] = []

    class Hung(EndlessRoom):
        def read(self, timeout_s: float) -> AudioBlock | None:
            if self._read > 16_000:
                release.wait(WAIT_S)
            return super().read(timeout_s)

    with pytest.raises(VoiceDaemonError, match="did not answer"):
        make_app(mosquitto_port, Input(Hung), left=codes.append).run()
    assert codes == [EXIT_FAULT]
    hear_it_leave(subscriber)
    assert on(subscriber, "error")[-1]["code"] == "daemon.worker_hung"
    release.set()


@pytest.mark.parametrize(
    ("error", "stop_signal", "expected"),
    [
        (None, None, 0),
        (None, signal.SIGTERM, 0),
        (None, signal.SIGINT, 130),
        (VoiceDaemonError("a.b", "crashed", remedy=""), signal.SIGTERM, 75),
    ],
)
def test_exit_codes(error: VoiceDaemonError | None, stop_signal: int | None, expected: int) -> None:
    assert exit_code(error, stop_signal) == expected
