"""A throw-away MQTT broker on loopback for the demo: mosquitto if there is one, else amqtt.

Never reachable from outside: it accepts everybody. Run as a program it is amqtt:
`python -m voice_daemon.demo.broker PORT`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from voice_daemon.errors import BrokerError, UsageError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Folders where packages put mosquitto, although not on everybody's PATH."""


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


class DemoBroker:
    """A broker as a child process; raises `BrokerError` when it does not come to answer."""

    def __init__(self, description: str, port: int, *command: str, remedy: str) -> None:
        self.description = description
        self.port = port
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not take the broker before `offline` is sent
        )
        if not self._answers():
            self.stop()
            raise BrokerError("demo.broker", f"{description} did not start", remedy=remedy)

    def stop(self) -> None:
        """Stop the process and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        """Wait until it accepts connections; False when it ended or takes too long."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_s and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
                return True
            time.sleep(0.02)
        return False


def _mosquitto(program: str, port: int, folder: Path) -> DemoBroker:
    """Start mosquitto with a configuration of its own."""
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {LOOPBACK}\nallow_anonymous true\npersistence false\nlog_type error\n"
    )
    remedy = "try `mosquitto -p 18830` by hand"
    return DemoBroker("mosquitto", port, program, "-c", str(config), remedy=remedy)


def amqtt_broker(port: int) -> DemoBroker:
    """Start amqtt, which comes with the demo and speaks MQTT 3.1.1 only."""
    # A process of its own: amqtt leaves connections open when it stops.
    command = (sys.executable, "-P", "-m", "voice_daemon.demo.broker", str(port))
    remedy = "pip install 'voice-daemon[demo]', or install mosquitto"
    return DemoBroker("amqtt", port, *command, remedy=remedy)


@contextlib.contextmanager
def demo_broker(port: int | None = None) -> Iterator[DemoBroker]:
    """Run a broker on `port` (None: any free one) while the block runs.

    Raises `UsageError` when the port is taken and `BrokerError` when no broker starts.
    """
    port, program = _claim(port), find_mosquitto()
    with tempfile.TemporaryDirectory(prefix="voice-daemon-demo-") as folder:
        broker = _mosquitto(program, port, Path(folder)) if program else amqtt_broker(port)
        try:
            yield broker
        finally:
            broker.stop()


async def serve_amqtt(port: int) -> None:
    """Accept everybody on loopback until SIGTERM."""
    from amqtt.broker import Broker  # noqa: PLC0415 - an extra, and only this process's

    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
            "plugins": {ANONYMOUS: {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await terminated.wait()


if __name__ == "__main__":
    asyncio.run(serve_amqtt(int(sys.argv[1])))
