"""Home Assistant's own Wyoming integration uses our server for speech-to-text."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from websockets.sync.connection import Connection

from rigs.homeassistant.environment import LOG, N_TIMES, TOKEN_FILE, URL, print_times
from rigs.homeassistant.hub import Hub, soon
from support.wyoming_process import wyoming_process

NAME = "livetest wyoming"
SPEAK_S = 120.0
CHUNK_SAMPLES = 512
END = b""
COMMAND = ["turn", "on", "the", "kitchen", "lights"]


@pytest.fixture(scope="module")
def hub() -> Hub:
    """Give the Home Assistant under test as it is: speech-to-text needs no broker."""
    log = os.environ.get(LOG)
    token = Path(os.environ[TOKEN_FILE]).read_text().strip()
    hub = Hub(os.environ[URL], token, restart_command=(), log=Path(log) if log else None)
    hub.wait_until_it_runs()
    return hub


@pytest.fixture(scope="module")
def engine(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Set up the integration as its dialogue does, and find its speech-to-text entity."""
    flows = "/api/config/config_entries/flow"
    with wyoming_process(tmp_path_factory.mktemp("wyoming")) as port:
        form = hub.request("POST", flows, {"handler": "wyoming"})
        done = hub.request(
            "POST", f"{flows}/{form['flow_id']}", {"host": "127.0.0.1", "port": port}
        )
        assert (done["type"], done["title"]) == ("create_entry", "voice-daemon")
        entry = done["result"]["entry_id"]

        def look() -> str:
            known = hub.ask("config/entity_registry/list")
            ours = [e["entity_id"] for e in known if e["config_entry_id"] == entry]
            return next((entity for entity in ours if entity.startswith("stt.")), "")

        yield soon(look, "there is a speech-to-text entity")
        hub.request("DELETE", f"/api/config/config_entries/entry/{entry}")


@pytest.fixture(scope="module")
def pipeline(hub: Hub, engine: str) -> Iterator[str]:
    """Make an assistant that hears with our engine."""
    made = hub.ask(
        "assist_pipeline/pipeline/create",
        name=NAME,
        language="en",
        conversation_engine="conversation.home_assistant",
        conversation_language="en",
        stt_engine=engine,
        stt_language="en",
        tts_engine=None,
        tts_language=None,
        tts_voice=None,
        wake_word_entity=None,
        wake_word_id=None,
    )
    yield made["id"]
    hub.ask("assist_pipeline/pipeline/delete", pipeline_id=made["id"])


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = soundfile.read(demo_clip, dtype="int16")[0]
    return samples[26_000:]


def run(
    hub: Hub,
    pipeline: str,
    samples: NDArray[np.int16],
    *,
    end_stage: str = "stt",
    live: bool = False,
) -> dict[str, Any]:
    """Speak to an assistant; give the data of each event of its run by its type.

    `live`: as fast as it is spoken, and without ever saying that it is over. Each event's data
    says in `at_s` when it came.
    """
    told: dict[str, Any] = {}
    over = threading.Event()

    def speak(line: Connection, handler: bytes) -> None:
        begun_s = time.monotonic()
        for first in range(0, samples.size, CHUNK_SAMPLES):
            if live:
                over.wait(max(0.0, begun_s + first / 16_000 - time.monotonic()))
            if over.is_set():
                return
            line.send(handler + samples[first : first + CHUNK_SAMPLES].tobytes())
        if not live:
            line.send(handler + END)

    with hub._line() as line:
        request = {
            "id": 1,
            "type": "assist_pipeline/run",
            "start_stage": "stt",
            "end_stage": end_stage,
            "pipeline": pipeline,
            "input": {"sample_rate": 16_000},
        }
        line.send(json.dumps(request))
        while "run-end" not in told:
            message = json.loads(line.recv(SPEAK_S))
            if message["type"] != "event":
                assert message["success"], message
                continue
            data = {**(message["event"]["data"] or {}), "at_s": time.monotonic()}
            told[message["event"]["type"]] = data
            if message["event"]["type"] == "stt-start":
                handler = bytes([told["run-start"]["runner_data"]["stt_binary_handler_id"]])
                threading.Thread(target=speak, args=(line, handler), daemon=True).start()
        over.set()
    return told


def test_the_engine_is_there_with_its_language(hub: Hub, engine: str) -> None:
    engines = hub.ask("stt/engine/list")["providers"]
    ours = next(one for one in engines if one["engine_id"] == engine)
    assert "en" in ours["supported_languages"]


def test_an_assistant_hears_with_it(hub: Hub, pipeline: str, speech: NDArray[np.int16]) -> None:
    told = run(hub, pipeline, speech)
    assert "error" not in told
    text = told["stt-end"]["stt_output"]["text"]
    assert re.findall(r"[a-z]+", text.lower()) == COMMAND


def test_an_assistant_that_hears_nothing_says_so(hub: Hub, pipeline: str) -> None:
    told = run(hub, pipeline, np.zeros(3 * 16_000, np.int16))
    assert told["error"]["code"] == "stt-no-text-recognized"


def test_it_understands_a_second_time(hub: Hub, pipeline: str, speech: NDArray[np.int16]) -> None:
    texts = {run(hub, pipeline, speech)["stt-end"]["stt_output"]["text"] for _ in range(2)}
    assert len(texts) == 1


SPEECH_S = 1.41
"""Where the speech ends in `speech`."""


def live(speech: NDArray[np.int16]) -> NDArray[np.int16]:
    """Let a room be quiet behind what is said, for longer than anybody waits."""
    noise = np.random.default_rng(5).integers(-3, 4, 16_000 * 12)
    return np.concatenate([speech, noise.astype(np.int16)])


def test_a_command_ends_without_home_assistants_own_detector(
    hub: Hub, pipeline: str, speech: NDArray[np.int16]
) -> None:
    told = [run(hub, pipeline, live(speech), live=True) for _ in range(2)]
    texts = [run["stt-end"]["stt_output"]["text"].lower() for run in told]
    assert all(re.findall(r"[a-z]+", text) == COMMAND for text in texts)
    if "audio_processing" not in told[1]["stt-start"]:
        pytest.skip(f"Home Assistant {hub.version()} ends commands itself")
    assert "stt-vad-end" not in told[1]


def test_times(hub: Hub, pipeline: str, speech: NDArray[np.int16]) -> None:
    """Print the times from the end of speech; `VOICE_DAEMON_TIMES` says how many."""
    if not N_TIMES:
        pytest.skip("no times are asked for")
    run(hub, pipeline, live(speech), live=True)
    times = []
    for _ in range(N_TIMES):
        told = run(hub, pipeline, live(speech), live=True, end_stage="intent")
        begun_s = told["stt-start"]["at_s"]
        times.append(told["intent-end"]["at_s"] - begun_s - SPEECH_S)
    print_times("Wyoming pipeline, end of speech to intent-end", times)
