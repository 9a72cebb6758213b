"""The daemon as a whole on fake models, with a real broker and a real control socket."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Mosquitto
from support.apps import (
    NODE,
    WAIT_S,
    EndlessRoom,
    Running,
    command,
    hear_it_leave,
    make_app,
    on,
    replay_of,
)
from support.fakes import Scene
from support.subscriber import Subscriber
from voice_daemon.app import Input
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import (
    EXIT_CONFIG,
    EXIT_FAULT,
    AlreadyRunningError,
    AudioDeviceError,
    BrokerError,
    ModelError,
    VoiceDaemonError,
    exit_code,
)
from voice_daemon.events import AudioBlock, State
from voice_daemon.runtime.worker import Outcome


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
    monkeypatch.setattr("voice_daemon.runtime.parts.BROKER_WAIT_S", 0.1)
    scene = command()
    with pytest.raises(BrokerError, match="finals among them: 1") as caught:
        make_app(1, replay_of(scene), scene=scene).run()
    assert caught.value.exit_code == 1


def test_a_replay_whose_final_the_broker_does_not_take_ends_with_1(
    make_broker: Callable[..., Mosquitto],
) -> None:
    broker = make_broker("allow_anonymous true", "max_packet_size 150").start()
    scene = command()
    with pytest.raises(BrokerError, match="finals among them: 1") as caught:
        make_app(broker.port, replay_of(scene), scene=scene).run()
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
        subscriber.publish(f"{root}/cmd/speak", b" ")
        subscriber.publish(f"{root}/cmd/speak", b"dinner is ready")
        subscriber.wait_for(lambda m: m.topic == f"{root}/response/speak" and b"none" in m.payload)

    assert Running(app, script).run() == 0
    refused = [answer["error"]["code"] for answer in on(subscriber, "response/speak")]
    assert refused == ["command.bad_value", "output.none"]
    assert on(subscriber, "response/listen")[0]["transaction"] == "t1"
    assert [e.get("reason") for e in on(subscriber, "session")] == [None, "cancelled"]
    assert on(subscriber, "error")[0]["code"] == "command.out_of_range"
    assert on(subscriber, "health")[-1]["threads"] > 1
    assert on(subscriber, "response/dance")[0]["status"] == "error"


def test_a_second_daemon_names_the_first_ones_pid(mosquitto_port: int, voice_home: Path) -> None:
    socket_path = voice_home / "s"
    first = make_app(mosquitto_port, Input(EndlessRoom), socket_path=socket_path)
    first.parts.control.start()  # type: ignore[union-attr]
    second = make_app(mosquitto_port, Input(EndlessRoom), socket_path=socket_path)
    try:
        with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}") as caught:
            second.run()
        assert caught.value.exit_code == 0
    finally:
        first.parts.control.stop()  # type: ignore[union-attr]
        first.parts.mqtt.stop(0)


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
    app.parts.mqtt.stop(0)
    assert codes == [130]


def test_a_worker_that_hangs_is_given_up(
    mosquitto_port: int, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_daemon.runtime.start.WORKER_SILENT_S", 0.2)
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


def test_a_fault_on_the_main_thread_ends_everything_in_order(
    mosquitto_port: int, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(mosquitto_port, Input(EndlessRoom))

    def fail() -> None:
        if app.parts.publisher.snapshot().state is State.IDLE:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(app.parts.housekeeper, "run", fail)
    with pytest.raises(VoiceDaemonError, match="Too many open files") as caught:
        app.run()
    assert caught.value.exit_code == EXIT_FAULT
    hear_it_leave(subscriber)
    assert on(subscriber, "error")[-1]["code"] == "daemon.crashed"


def test_a_daemon_that_is_asked_to_end_does_not_wait_for_a_better_model(
    mosquitto_port: int,
) -> None:
    app = make_app(mosquitto_port, Input(EndlessRoom))
    broken = ModelError("asr.broken", "the model is broken", remedy="get it again")
    app.startup()
    app._on_signal(signal.SIGTERM, None)
    # Raised, it would have a supervised daemon wait, and the signal would be lost.
    assert app.shutdown(Outcome(broken)) == 0


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
