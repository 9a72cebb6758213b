"""A daemon with a real microphone, a real broker and a network between them that can be hurt.

Gives a test what the world sees of it: messages, status, the log, the process's footprint. The
delivery check that every test ends with is here too. Knows no fault.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from faults.wire import Wire
from rigs.brokers import Mosquitto, Seen
from rigs.virtual_microphone import DEVICE, VirtualMicrophone
from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError

NODE = "faults"
SOON_S = 60.0
"""For what comes in a few seconds on a machine with nothing else to do."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    threads: int
    descriptors: int
    resident_mb: float

    @classmethod
    def of(cls, pid: int) -> Footprint:
        process = Path(f"/proc/{pid}")
        pages = int((process / "statm").read_text().split()[1])
        return cls(
            len(list((process / "task").iterdir())),
            len(list((process / "fd").iterdir())),
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        )


class FaultRig:
    """Everything but the daemon runs from the start; `daemon` gives that one."""

    def __init__(self, microphone: VirtualMicrophone, *broker_settings: str) -> None:
        # A Unix socket's path must be short, and pytest's folders are not.
        self.folder = Path(tempfile.mkdtemp(prefix="rig-"))
        self.home = self.folder / "home"
        self.home.mkdir()
        self.view = self.home
        """Where the test sees what the daemon sees as its home."""
        self.microphone = microphone
        settings = broker_settings or ("allow_anonymous true",)
        self.broker = Mosquitto(self.folder, settings).start()
        self.wire = Wire(self.broker.port)
        self._ears = [Subscriber(self.broker.port)]
        self._daemon: DaemonProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()
        for ear in self._ears:
            ear.close()
        self.broker.kill()
        shutil.rmtree(self.folder)

    def daemon(self, *program: str, **changes: str) -> DaemonProcess:
        """Make a daemon that hears the microphone.

        `program`: what is to run in the place of `daemonctl`; `changes`: environment variables.
        """
        variables = {
            "VOICE_DAEMON_NODE_ID": NODE,
            "VOICE_DAEMON_MQTT__PORT": str(self.wire.port),
            "VOICE_DAEMON_MQTT__RECONNECT_MAX_S": "2",
            "VOICE_DAEMON_AUDIO__DEVICE": DEVICE,
            "VOICE_DAEMON_AUDIO__OUTPUT": "none",
            # A busy machine is no fault of the daemon's.
            "VOICE_DAEMON_AUDIO__QUEUE_MAX_MS": "20000",
            # Between two clips the virtual microphone is perfectly silent.
            "VOICE_DAEMON_AUDIO__SILENCE_ALARM_S": "3600",
            "ALSA_CONFIG_PATH": self.microphone.environ["ALSA_CONFIG_PATH"],
            **changes,
        }
        self._daemon = DaemonProcess((), self.home, variables, *([program] if program else []))
        return self._daemon

    def revive_broker(self) -> None:
        """Start the broker again, and listen before the daemon can reach it."""
        self.wire.cut()
        self.broker.kill()
        self._ears[-1].close()
        self.broker.start()
        self._ears.append(Subscriber(self.broker.port))
        self.wire.mend()

    @property
    def seen(self) -> list[Seen]:
        """What a subscriber heard live, over all lives of the broker."""
        return [message for ear in self._ears for message in ear.seen if not message.retain]

    def on(self, leaf: str) -> list[Any]:
        """Give what was said on a topic, JSON decoded."""
        payloads = [m.payload for m in self.seen if m.topic == f"voice/{NODE}/{leaf}"]
        return [json.loads(p) if p.startswith(b"{") else p.decode() for p in payloads]

    def wait_for(self, condition: Callable[[], object], what: str, within_s: float = SOON_S) -> Any:
        """Give what `condition` gives, as soon as that is something."""
        give_up_s = time.monotonic() + within_s
        while not (found := condition()):
            if time.monotonic() > give_up_s:
                log = self.log_lines()[-15:]
                pytest.fail(f"never: {what}\nheard: {self.seen[-15:]}\nlog: {log}")
            time.sleep(0.02)
        return found

    def wait_for_state(self, state: str) -> dict[str, Any]:
        """Wait until the daemon says by itself that it is in a state; give its status."""

        def there() -> dict[str, Any] | None:
            now = self.status()
            if now is None and self._daemon is not None and not self._daemon.is_running:
                pytest.fail(f"the daemon has ended: {self._daemon.last_words()}")
            return now if now and now["session"]["state"] == state else None

        return dict(self.wait_for(there, f"state {state}"))

    def wait_for_ready(self) -> dict[str, Any]:
        """Wait until it listens, and until the broker knows."""

        def there() -> dict[str, Any] | None:
            now = self.wait_for_state("idle")
            return now if now["mqtt"]["connected"] and not now["mqtt"]["queued"] else None

        return dict(self.wait_for(there, "idle and connected"))

    def status(self) -> dict[str, Any] | None:
        """What the daemon says of itself; None when it does not answer."""
        try:
            return ControlClient(self.view / "voice-daemon.sock").request("status")
        except ControlError:
            return None

    def order(self, verb: str) -> None:
        """Give a command over the control socket."""
        ControlClient(self.view / "voice-daemon.sock").request(verb)

    def tell(self, leaf: str, payload: str) -> None:
        """Give an order over MQTT."""
        self._ears[-1].publish(f"voice/{NODE}/{leaf}", payload)

    def hears(self, clip: Path) -> dict[str, Any]:
        """Say a command, and give the one final that must come of it."""
        n_before, n_ended = len(self.on("transcript/final")), len(self.on("session"))
        self.microphone.play(clip)
        self.wait_for(lambda: len(self.on("transcript/final")) > n_before, "the final")
        self.wait_for(lambda: len(self.on("session")) >= n_ended + 2, "the session's end")
        final: dict[str, Any] = self.on("transcript/final")[-1]
        assert "kitchen lights" in final["text"].lower()
        return final

    def log_lines(self) -> list[dict[str, Any]]:
        """Read the daemon's log."""
        path = self.view / "logs" / "voice-daemon.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log_lines() if line["event"] == event]

    def assert_nothing_is_lost_or_doubled(self) -> None:
        """Assert what holds after every fault.

        Every session that started has ended, once; one that ended without was announced too
        late to be told of. Every final was heard under one number only, or a report says that it
        is lost. A message that came twice, because its acknowledgement was lost, is known by its
        session and number.
        """
        sessions = {(m["event_type"], m["session_id"]) for m in self.on("session")}
        started = {session for kind, session in sessions if kind == "started"}
        ended = {m["session_id"]: m for m in self.on("session") if m["event_type"] == "ended"}
        too_late = [
            line
            for line in self.logged("mqtt.message_lost")
            if line["topic"].endswith("/session") and line["why"] == "expired"
        ]
        assert started <= set(ended), self.on("session")
        assert len(set(ended) - started) <= len(too_late), self.on("session")
        finals = {(m["session_id"], m["seq"]) for m in self.on("transcript/final")}
        assert max(Counter(session for session, _ in finals).values(), default=1) == 1
        promised = {session for session, m in ended.items() if m["finals"]}
        lost = promised - {session for session, _ in finals}
        told = {"mqtt.final_lost", "mqtt.final_unconfirmed"}
        reports = [m["message"] for m in self.on("error") if m["code"] in told]
        assert all(any(session in report for report in reports) for session in lost), lost
