"""Soak run: a daemon process, a subscriber that keeps its session, and faults of the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rigs.brokers import Gate
from support.daemon_process import DaemonProcess
from tools.soak.delivery_check import (
    COMMAND,
    DeliveryCheck,
    Microphone,
    change,
    fates,
    footprint,
    read_log,
)
from tools.soak.fault_injector import FaultInjector, lasting_broker
from tools.soak.gauges import Gauges, Reading
from tools.soak.recording import Recording
from tools.soak.subscribers import PersistentSubscriber
from tools.soak.voices import voice_for

NODE = "soak"
PATIENCE_S = 60.0
"""For the last words of a daemon that has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Parameters of one soak."""

    recording: Recording
    fault_every_s: float = 30.0
    """Of rest between two faults of the broker, on the wall clock."""
    ttl_s: float = 10.0
    """`mqtt.final_ttl_s`."""
    read_every_s: float = 2.0
    """Between two looks at the process."""
    microphone: bool = False
    """Whether it is spoken into a microphone, in real time, and not replayed."""


@dataclass(frozen=True, slots=True)
class SoakResult:
    """Measurements of one soak."""

    check: DeliveryCheck
    readings: tuple[Reading, ...]
    compute_ms: tuple[float, ...]
    """A session each, in order."""
    delays_s: tuple[float, ...]


def soak_daemon(plan: Plan, folder: Path) -> SoakResult:
    """Play the recording to a daemon."""
    sound, home = folder / "soak.flac", folder / "home"
    home.mkdir()
    plan.recording.write(sound)
    with ExitStack() as stack:
        broker = lasting_broker(folder).start()
        stack.callback(broker.kill)
        gate = Gate(broker.port)
        gate.open()
        stack.callback(gate.shut)
        subscriber = PersistentSubscriber(broker.port, root=f"voice/{NODE}")
        stack.callback(subscriber.close)
        voice = stack.enter_context(voice_for(sound, microphone=plan.microphone))
        began_s = time.monotonic()
        settings = {**_settings(gate.port, plan), **voice.variables}
        daemon = stack.enter_context(DaemonProcess(voice.arguments, home, settings))
        gauges = Gauges(
            daemon.pid, every_s=plan.read_every_s, n_finals=lambda: len(subscriber.finals)
        )
        stack.enter_context(gauges)
        injector = FaultInjector(broker, gate, every_s=plan.fault_every_s, ttl_s=plan.ttl_s)
        log_file = home / "logs" / "voice-daemon.jsonl"
        voice.begin(daemon, home)
        _let_it_run(
            plan,
            injector,
            is_on=lambda: daemon.is_running and voice.is_speaking,
            n_sessions=lambda: _n_sessions(log_file),
        )
        dropped_samples = voice.end(daemon)
        wall_s = time.monotonic() - began_s
        subscriber.wait(lambda: subscriber.last_state == b"offline", PATIENCE_S)
        exit_code = daemon.wait()
        readings = tuple(gauges.readings)
    with log_file.open(encoding="utf-8") as lines:
        log = read_log(lines)
    compute_ms = tuple(s["compute_ms"] for s in log.sessions if "compute_ms" in s)
    check = DeliveryCheck(
        hours=plan.recording.hours,
        wall_s=round(wall_s, 1),
        commands=plan.recording.n_commands,
        sessions=len(log.sessions),
        right_words=subscriber.words[COMMAND],
        fates=fates(log.finals, subscriber),
        footprint=footprint(readings),
        compute_ms=change(compute_ms),
        delivery_ms=change([1000 * delay_s for delay_s in subscriber.delays_s]),
        faults=injector.done,
        reconnects=max((h.get("mqtt_reconnects", 0) for h in subscriber.health), default=0),
        exit_code=exit_code,
        errors=log.errors,
        microphone=None
        if dropped_samples is None
        else Microphone(dropped_samples, log.overflows, log.inputs_lost),
    )
    return SoakResult(check, readings, compute_ms, tuple(subscriber.delays_s))


def _let_it_run(
    plan: Plan, injector: FaultInjector, *, is_on: Callable[[], bool], n_sessions: Callable[[], int]
) -> None:
    """Wait until nothing more is to be heard; no fault at the first words and the last."""
    n_commands = plan.recording.n_commands
    calm_from = n_commands - max(2, n_commands // 50)

    def wait_for(n_wanted: int) -> None:
        while is_on() and n_sessions() < n_wanted:
            time.sleep(plan.read_every_s)

    wait_for(1)
    with injector:
        wait_for(calm_from)
    while is_on():
        time.sleep(plan.read_every_s)


def _n_sessions(log_file: Path) -> int:
    """Count sessions by the daemon's log: what it says does not arrive during a fault."""
    return log_file.read_bytes().count(b'"session.started"') if log_file.exists() else 0


def _settings(port: int, plan: Plan) -> dict[str, str]:
    return {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(port),
        "VOICE_DAEMON_MQTT__FINAL_TTL_S": str(plan.ttl_s),
        "VOICE_DAEMON_MQTT__RECONNECT_MAX_S": "2",
        "VOICE_DAEMON_LOG__MAX_MB": "1000",  # one file, to be read at the end
    }
