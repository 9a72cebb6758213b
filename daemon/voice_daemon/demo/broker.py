"""A throw-away MQTT broker on loopback for the demo: mosquitto if there is one, else amqtt.

Never reachable from outside: it accepts everybody.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from voice_daemon.errors import BrokerError, UsageError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Folders where packages put mosquitto, although not on everybody's PATH."""


class DemoBroker(Protocol):
    """A running broker."""

    description: str
    port: int

    def stop(self) -> None:
        """Stop it and wait until it is gone."""


@contextlib.contextmanager
def demo_broker(port: int | None = None) -> Iterator[DemoBroker]:
    """Run a broker on `port` (None: any free one) while the block runs.

    Raises `UsageError` when the port is taken and `BrokerError` when no broker starts.
    """
    port = _claim(port)
    mosquitto = find_mosquitto()
    broker: DemoBroker = MosquittoBroker(mosquitto, port) if mosquitto else AmqttBroker(port)
    try:
        yield broker
    finally:
        broker.stop()


def find_mosquitto() -> str | None:
    """Give mosquitto's path, also from the sbin folders that are often not on PATH."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))


def _claim(port: int | None) -> int:
    """Give a port that can be bound on loopback right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port or 0))
        except OSError as error:
            raise UsageError(
                "demo.port_in_use",
                f"port {port} on {LOOPBACK} cannot be used: {error.strerror}",
                remedy="leave --port out to get a free one",
            ) from error
        free: int = probe.getsockname()[1]
        return free


class _ProcessBroker:
    """A broker as a child process."""

    def __init__(self, command: Sequence[str], *, remedy: str) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not take the broker before `offline` is sent
        )
        self._remedy = remedy

    def wait_until_it_answers(self, port: int, name: str) -> None:
        """Return once it accepts connections; raises `BrokerError` when it does not."""
        give_up = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
                return
            time.sleep(0.02)
        self.stop()
        raise BrokerError("demo.broker", f"{name} did not start", remedy=self._remedy)

    def stop(self) -> None:
        """Stop the process and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class MosquittoBroker:
    """mosquitto with a configuration of its own."""

    description = "mosquitto"

    def __init__(self, program: str, port: int) -> None:
        self.port = port
        self._folder = tempfile.TemporaryDirectory(prefix="voice-daemon-demo-")
        config = Path(self._folder.name) / "mosquitto.conf"
        config.write_text(
            f"listener {port} {LOOPBACK}\nallow_anonymous true\npersistence false\nlog_type error\n"
        )
        self._process = _ProcessBroker(
            [program, "-c", str(config)], remedy="try `mosquitto -p 18830` by hand"
        )
        try:
            self._process.wait_until_it_answers(port, "mosquitto")
        except BrokerError:
            self._folder.cleanup()
            raise

    def stop(self) -> None:
        """Stop the process and remove its folder."""
        self._process.stop()
        self._folder.cleanup()


class AmqttBroker:
    """amqtt, which comes with the demo."""

    description = "amqtt"

    def __init__(self, port: int) -> None:
        self.port = port
        self._process = _ProcessBroker(
            [sys.executable, "-P", "-m", "voice_daemon.demo.amqtt", str(port)],
            remedy="pip install 'voice-daemon[demo]', or install mosquitto",
        )
        self._process.wait_until_it_answers(port, "amqtt")

    def stop(self) -> None:
        """Stop the process."""
        self._process.stop()
