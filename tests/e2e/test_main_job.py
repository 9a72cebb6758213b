"""Wake word to MQTT: the real program, the real models, a real broker, seen from outside."""

from __future__ import annotations

import json
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rigs.brokers import Seen
from support.daemon_process import DaemonProcess, run_daemonctl
from support.subscriber import Subscriber

NODE = "e2e"
COMMAND = ["turn", "on", "the", "kitchen", "lights"]


def environment(port: int, **more: str) -> dict[str, str]:
    return {"VOICE_DAEMON_NODE_ID": NODE, "VOICE_DAEMON_MQTT__PORT": str(port), **more}


def is_on(leaf: str, payload: bytes | None = None) -> Any:  # noqa: ANN401 - a predicate
    def wanted(message: Seen) -> bool:
        fits = payload is None or message.payload == payload
        return message.topic == f"voice/{NODE}/{leaf}" and fits and not message.retain

    return wanted


def on(subscriber: Subscriber, leaf: str) -> list[Any]:
    """Give what was said live on a topic, JSON decoded."""
    payloads = [message.payload for message in subscriber.seen if is_on(leaf)(message)]
    return [json.loads(p) if p.startswith(b"{") else p.decode() for p in payloads]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def write(path: Path, samples: NDArray[np.int16], **options: Any) -> Path:  # noqa: ANN401
    soundfile.write(path, samples, options.pop("rate_hz", 16_000), **options)
    return path


@pytest.fixture(scope="module")
def clip(demo_clip: Path) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = soundfile.read(demo_clip, dtype="int16")[0]
    return samples


@pytest.fixture
def long_command(tmp_path: Path, clip: NDArray[np.int16]) -> Path:
    """The wake word, and then a voice that goes on for ten seconds."""
    command = clip[26_000:48_500]
    return write(tmp_path / "long.wav", np.concatenate([clip[:48_500], *[command] * 7]))


def test_a_spoken_command_becomes_messages(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, demo_clip: Path
) -> None:
    done = run_daemonctl(
        "run", "--input", demo_clip, home=voice_home, **environment(mosquitto_port)
    )
    assert (done.returncode, done.stderr) == (0, "")
    subscriber.wait_for(is_on("availability", b"offline"))

    assert on(subscriber, "availability") == ["online", "offline"]
    assert on(subscriber, "state") == ["starting", "idle", "listening", "transcribing", "idle"]
    wake = on(subscriber, "wake")[0]
    assert wake["wake_word"] == "hey_jarvis"
    started, ended = on(subscriber, "session")
    assert started["event_type"] == "started"
    assert (ended["reason"], ended["finals"]) == ("silence", 1)
    final = on(subscriber, "transcript/final")[0]
    assert words(final["text"]) == COMMAND
    assert final["wake_word"] == "hey_jarvis"
    partials = on(subscriber, "transcript/partial")
    assert partials, "nothing was shown while it was spoken"
    texts = [partial["text"] for partial in partials]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert [m["seq"] for m in [*partials, final]] == list(range(1, len(partials) + 2))
    ids = {m["session_id"] for m in [wake, started, ended, final, *partials]}
    assert len(ids) == 1


def test_the_log_has_one_line_for_the_session_and_no_word_of_it(
    mosquitto_port: int, voice_home: Path, demo_clip: Path
) -> None:
    run_daemonctl(
        "run", "--input", demo_clip, "--fast", home=voice_home, **environment(mosquitto_port)
    )
    log = (voice_home / "logs" / "voice-daemon.jsonl").read_text()
    done = [json.loads(line) for line in log.splitlines() if '"session.done"' in line]
    assert [(line["reason"], line["finals"]) for line in done] == [("silence", 1)]
    assert {"finalize_ms", "first_draft_ms", "rtf", "max_lag_ms"} <= done[0].keys()
    assert "kitchen" not in log


def test_any_rate_channels_and_sample_format_will_do(
    mosquitto_port: int,
    subscriber: Subscriber,
    voice_home: Path,
    tmp_path: Path,
    clip: NDArray[np.int16],
) -> None:
    at_44100 = np.interp(
        np.arange(0, len(clip), 16_000 / 44_100), np.arange(len(clip)), clip / 32768
    )
    stereo = np.stack([at_44100, at_44100], axis=1)
    path = tmp_path / "8-bit.wav"
    soundfile.write(path, stereo, 44_100, subtype="PCM_U8")
    done = run_daemonctl(
        "run", "--input", path, "--fast", home=voice_home, **environment(mosquitto_port)
    )
    assert (done.returncode, done.stderr) == (0, "")
    subscriber.wait_for(is_on("availability", b"offline"))
    assert words(on(subscriber, "transcript/final")[0]["text"]) == COMMAND


def test_speech_without_the_wake_word_says_nothing(
    mosquitto_port: int,
    subscriber: Subscriber,
    voice_home: Path,
    tmp_path: Path,
    clip: NDArray[np.int16],
) -> None:
    path = write(tmp_path / "command.wav", np.tile(clip[26_000:], 5))
    done = run_daemonctl(
        "run", "--input", path, "--fast", home=voice_home, **environment(mosquitto_port)
    )
    assert done.returncode == 0
    subscriber.wait_for(is_on("availability", b"offline"))
    assert on(subscriber, "wake") == on(subscriber, "session") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_session_ends_it_in_time(
    number: signal.Signals,
    mosquitto_port: int,
    subscriber: Subscriber,
    voice_home: Path,
    long_command: Path,
) -> None:
    with DaemonProcess(
        ("--input", long_command), voice_home, environment(mosquitto_port)
    ) as daemon:
        subscriber.wait_for(is_on("transcript/partial"))
        daemon.signal(number)
        assert daemon.wait(10) == (130 if number is signal.SIGINT else 0)
    subscriber.wait_for(is_on("availability", b"offline"))
    assert [m.get("reason") for m in on(subscriber, "session")] == [None, "shutdown"]


def test_a_second_signal_ends_it_at_once(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, long_command: Path
) -> None:
    with DaemonProcess(
        ("--input", long_command), voice_home, environment(mosquitto_port)
    ) as daemon:
        subscriber.wait_for(is_on("state", b"idle"))
        daemon.signal(signal.SIGSTOP)  # both signals are there before it can act on the first
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGINT)
        daemon.signal(signal.SIGCONT)
        assert daemon.wait(10) in {128 + signal.SIGINT, 128 + signal.SIGTERM}


def test_the_broker_says_offline_for_a_daemon_that_was_killed(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, long_command: Path
) -> None:
    with DaemonProcess(
        ("--input", long_command), voice_home, environment(mosquitto_port)
    ) as daemon:
        subscriber.wait_for(is_on("state", b"idle"))
        daemon.signal(signal.SIGKILL)
        subscriber.wait_for(is_on("availability", b"offline"))
        assert daemon.wait() == -signal.SIGKILL


def test_a_replay_without_a_broker_says_that_its_final_is_lost(
    voice_home: Path, demo_clip: Path
) -> None:
    done = run_daemonctl("run", "--input", demo_clip, "--fast", home=voice_home, **environment(1))
    assert done.returncode == 1
    assert "finals among them: 1" in done.stderr
