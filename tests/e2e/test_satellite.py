"""A spoken command through the satellite: the real daemon, and Home Assistant's side of Wyoming."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from wyoming.asr import Transcript
from wyoming.audio import AudioStart
from wyoming.client import AsyncTcpClient
from wyoming.pipeline import RunPipeline
from wyoming.satellite import RunSatellite

from rigs.brokers import HOST, free_port
from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber

NODE = "satellite"
PATIENCE_S = 60.0


def test_a_command_runs_home_assistants_pipeline_and_says_so_on_mqtt(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, demo_clip: Path
) -> None:
    port = free_port()
    variables = {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(mosquitto_port),
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE": "true",
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE_HOST": HOST,
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE_PORT": str(port),
    }
    with DaemonProcess(("--input", demo_clip), voice_home, variables) as daemon:
        text = asyncio.run(_home_assistant(port))
        assert daemon.wait() == 0
    assert "kitchen lights" in text.lower()
    topic = f"voice/{NODE}/transcript/final"
    (final,) = [json.loads(m.payload) for m in subscriber.seen if m.topic == topic]
    assert (final["text"], final["handled_by"]) == (text, "satellite")


async def _home_assistant(port: int) -> str:
    """Attach as soon as the satellite is there, and take the text of the one pipeline run."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                satellite = AsyncTcpClient(HOST, port)
                await satellite.connect()
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
        await satellite.write_event(RunSatellite().event())
        while True:
            event = await satellite.read_event()
            assert event is not None, "the satellite hung up"
            if RunPipeline.is_type(event.type):
                break
        async with AsyncTcpClient(HOST, port + 1) as recogniser:
            await recogniser.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            answer = await recogniser.read_event()
            assert answer is not None
            text = Transcript.from_event(answer).text
        await satellite.write_event(Transcript(text=text).event())
        await satellite.disconnect()
    return text
