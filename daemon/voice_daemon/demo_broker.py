"""A throw-away MQTT broker on loopback for the demo: mosquitto if there is one, else amqtt.

Knows nothing of the daemon or of topics. Never a default and never reachable from outside:
it accepts everybody, and amqtt speaks MQTT 3.1.1 only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from voice_daemon.errors import BrokerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amqtt.broker import Broker

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 10.0
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Where packages put mosquitto without it being on everybody's PATH."""


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


class MosquittoBroker:
    """mosquitto as a child process with a configuration of its own."""

    description = "mosquitto"

    def __init__(self, program: str, port: int) -> None:
        self.port = port
        self._folder = tempfile.TemporaryDirectory(prefix="voice-daemon-demo-")
        config = Path(self._folder.name) / "mosquitto.conf"
        config.write_text(
            f"listener {port} {LOOPBACK}\nallow_anonymous true\npersistence false\nlog_type error\n"
        )
        self._process = subprocess.Popen(
            [program, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not take the broker before `offline` is sent
        )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
                return
            time.sleep(0.02)
        self.stop()
        raise BrokerError(
            "demo.broker", "mosquitto did not start", remedy="try `mosquitto -p 18830` by hand"
        )

    def stop(self) -> None:
        """Stop the process and remove its folder."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


class AmqttBroker:
    """amqtt in a thread of this process."""

    description = "amqtt (embedded)"

    def __init__(self, port: int) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        # A client that leaves ends a task of amqtt with an error that nobody takes.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._broker: Broker | None = None
        # Its log calls every client that leaves an error too.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._run, name="demo-broker", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(START_TIMEOUT_S)
        except (OSError, TimeoutError, ImportError) as error:
            self.stop()
            raise BrokerError(
                "demo.broker",
                f"no broker for the demo: {error}",
                remedy="pip install 'voice-daemon[demo]', or install mosquitto",
            ) from error

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        from amqtt.broker import Broker  # noqa: PLC0415 - of an optional extra

        self._broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                },
            }
        )
        await self._broker.start()

    def stop(self) -> None:
        """Shut the broker down and end its thread."""
        if self._broker is not None:
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
