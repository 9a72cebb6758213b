"""The recogniser's settings, from the configuration to the message: language and task.

Other languages than English are read where `VOICE_DAEMON_TEST_MODEL` names a multilingual model
and `VOICE_DAEMON_TEST_DATA` the recordings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from support.daemon_process import run_daemonctl
from support.subscriber import Subscriber
from tools.bench.clips import load_clips

NODE = "settings"
WAKE_WORD_SAMPLES = 26_000
PAUSE_SAMPLES = 12_000


@dataclass(frozen=True)
class Daemon:
    """Runs the daemon over a recording that begins with the wake word."""

    port: int
    subscriber: Subscriber
    home: Path
    demo_clip: Path

    def transcripts(self, command: NDArray[np.int16], **asr: str) -> list[Any]:
        """What is published while it hears the wake word, a pause and a command."""
        wake: NDArray[np.int16] = soundfile.read(self.demo_clip, dtype="int16")[0]
        pause = np.zeros(PAUSE_SAMPLES, np.int16)
        file = self.home / "session.wav"
        heard = np.concatenate([wake[:WAKE_WORD_SAMPLES], pause, command, pause])
        soundfile.write(file, heard, 16_000)
        done = run_daemonctl(
            *("run", "--input", file, "--fast"),
            home=self.home,
            VOICE_DAEMON_NODE_ID=NODE,
            VOICE_DAEMON_MQTT__PORT=str(self.port),
            **{f"VOICE_DAEMON_ASR__{key.upper()}": value for key, value in asr.items()},
        )
        assert (done.returncode, done.stderr) == (0, "")
        base = f"voice/{NODE}"
        self.subscriber.wait_for(
            lambda m: m.topic == f"{base}/availability" and m.payload == b"offline"
        )
        topics = [f"{base}/transcript/{leaf}" for leaf in ("partial", "final")]
        return [json.loads(m.payload) for m in self.subscriber.seen if m.topic in topics]


@pytest.fixture
def daemon(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, demo_clip: Path
) -> Daemon:
    return Daemon(mosquitto_port, subscriber, voice_home, demo_clip)


@pytest.fixture(scope="module")
def german_command(data_folder: Path) -> NDArray[np.int16]:
    clips = load_clips(data_folder / "multi_lang", longest_s=4)
    question = next(clip for clip in clips if clip.text == "wie ist die temperatur")
    return (question.samples() * 32_767).astype(np.int16)


@pytest.mark.parametrize(
    ("language", "task", "heard"),
    [("auto", "transcribe", "Temperatur"), ("de", "translate", "temperature")],
)
def test_language_and_task_in_the_configuration_reach_the_recogniser(
    daemon: Daemon,
    multilingual_folder: str,
    german_command: NDArray[np.int16],
    *,
    language: str,
    task: str,
    heard: str,
) -> None:
    said = daemon.transcripts(
        german_command, model=multilingual_folder, language=language, task=task
    )
    assert (said[-1]["event_type"], said[-1]["language"]) == ("final", "de")
    assert heard in said[-1]["text"]
