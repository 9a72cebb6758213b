"""The Wyoming server in the real program: beside the microphone, and alone."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rigs.brokers import Seen, free_port
from rigs.wyoming_servers import connected, dictate
from support.daemon_process import DaemonProcess, daemonctl_here, run_daemonctl
from support.subscriber import Subscriber
from support.wyoming_process import wyoming_process

NODE = "wyoming"
COMMAND = "turn on the kitchen lights"
PATIENCE_S = 180.0


def environment(mqtt_port: int, port: int) -> dict[str, str]:
    return {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(mqtt_port),
        "VOICE_DAEMON_WYOMING__ENABLED": "true",
        "VOICE_DAEMON_WYOMING__PORT": str(port),
        # A slow machine shall be late, not give up.
        "VOICE_DAEMON_AUDIO__QUEUE_MAX_MS": "60000",
    }


def is_on(leaf: str) -> Any:
    def wanted(message: Seen) -> bool:
        return message.topic == f"voice/{NODE}/{leaf}" and not message.retain

    return wanted


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = soundfile.read(demo_clip, dtype="int16")[0]
    return samples


async def dictate_when_it_listens(port: int, samples: NDArray[np.int16]) -> str:
    """Speak in real time, beginning as soon as the daemon's models are warm."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                async with connected(port):
                    break
            except OSError:
                await asyncio.sleep(0.02)
        return plain((await dictate(port, samples, pace_s=0.064)).text)


def test_two_clients_do_not_change_what_the_microphone_hears(
    mosquitto_port: int,
    subscriber: Subscriber,
    voice_home: Path,
    tmp_path: Path,
    speech: NDArray[np.int16],
) -> None:
    port = free_port()
    texts: list[str] = []

    async def two() -> None:
        texts.extend(
            await asyncio.gather(*(dictate_when_it_listens(port, speech) for _ in range(2)))
        )

    # The silence behind it keeps the daemon there until all clients are done.
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.concatenate([speech, np.zeros(120 * 16_000, np.int16)]), 16_000)
    clients = threading.Thread(target=lambda: asyncio.run(two()))
    clients.start()
    with DaemonProcess(("--input", clip), voice_home, environment(mosquitto_port, port)) as daemon:
        clients.join()
        assert texts == [f"hey jarvis {COMMAND}"] * 2
        final = subscriber.wait_for(is_on("transcript/final"))
        assert plain(json.loads(final.payload)["text"]) == COMMAND
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_it_serves_alone_without_microphone_and_broker(
    voice_home: Path, speech: NDArray[np.int16]
) -> None:
    with wyoming_process(voice_home) as port:
        heard = asyncio.run(dictate(port, speech))
    assert plain(heard.text) == f"hey jarvis {COMMAND}"
    log = (voice_home / "logs" / "serve-wyoming.jsonl").read_text()
    assert "wyoming.transcribed" in log
    assert "kitchen" not in log


@pytest.mark.slow  # the error: tests/wyoming/test_server.py; its exit code: tests/test_app.py
def test_a_port_that_is_taken_ends_the_daemon(
    mosquitto_port: int, voice_home: Path, demo_clip: Path
) -> None:
    port = mosquitto_port
    variables = environment(mosquitto_port, port)
    done = run_daemonctl("run", "--input", demo_clip, home=voice_home, **variables)
    assert done.returncode == 75
    assert f"127.0.0.1:{port}" in done.stderr
    assert "wyoming.port" in done.stderr


def test_a_port_that_is_none_is_a_usage_error(voice_home: Path) -> None:
    done = daemonctl_here("serve-wyoming", "--port", "70000", home=voice_home)
    assert done.returncode == 2
    assert "70000" in done.stderr
