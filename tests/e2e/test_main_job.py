"""Wake word to MQTT: the real program, the real models, a real broker, seen from outside."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from numpy.typing import NDArray

from rigs.brokers import Seen
from support.daemon_process import DaemonProcess, run_daemonctl
from support.subscriber import Subscriber
from tools.asyncapi.catalogue import SETTINGS, VERBS
from tools.asyncapi.reader import Reader

NODE = "e2e"
ASYNCAPI = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
ODD_NAME_CLIP = Path(__file__).parent.parent / "asr" / "clips" / "turn_on_the_lights_in_zuberi.flac"
COMMAND = ["turn", "on", "the", "kitchen", "lights"]


def environment(port: int, **more: str) -> dict[str, str]:
    return {"VOICE_DAEMON_NODE_ID": NODE, "VOICE_DAEMON_MQTT__PORT": str(port), **more}


def is_on(leaf: str, payload: bytes | None = None) -> Any:
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


def write(path: Path, samples: NDArray[np.int16], **options: Any) -> Path:
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


@dataclass(frozen=True)
class Spoken:
    """A whole life of a daemon that heard one command in real time."""

    code: int
    stderr: str
    subscriber: Subscriber
    log: str
    known_verbs: set[str]
    known_settings: set[str]


def known(subscriber: Subscriber, code: bytes) -> set[str]:
    """Give the names that the daemon lists in the remedy of an error."""
    error = subscriber.wait_for(lambda m: is_on("error")(m) and code in m.payload)
    _, _, names = error.payload.decode().partition('"known: ')
    return set(names.split('"')[0].split(", "))


@pytest.fixture(scope="module")
def spoken(
    mosquitto_port: int, tmp_path_factory: pytest.TempPathFactory, demo_clip: Path
) -> Iterator[Spoken]:
    """One run for all tests that only look at it; a few questions are asked before it hears."""
    home = tmp_path_factory.mktemp("spoken")
    subscriber = Subscriber(mosquitto_port, hears_retained=False)
    with DaemonProcess(("--input", demo_clip), home, environment(mosquitto_port)) as daemon:
        subscriber.wait_for(is_on("state", b"idle"))
        subscriber.publish(f"voice/{NODE}/cmd/health", '{"transaction":"1"}')
        subscriber.publish(f"voice/{NODE}/cmd/xyzzyx", "")
        subscriber.publish(f"voice/{NODE}/xyzzyx/set", "1")
        verbs, settings = known(subscriber, b"cmd/xyzzyx"), known(subscriber, b"xyzzyx/set")
        code = daemon.wait()
        stderr = daemon.last_words()
    subscriber.wait_for(is_on("availability", b"offline"))
    log = (home / "logs" / "voice-daemon.jsonl").read_text()
    yield Spoken(code, stderr, subscriber, log, verbs, settings)
    subscriber.close()


def test_a_spoken_command_becomes_messages(spoken: Spoken) -> None:
    assert (spoken.code, spoken.stderr) == (0, "")
    subscriber = spoken.subscriber
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


def test_the_log_has_one_line_for_the_session_and_no_word_of_it(spoken: Spoken) -> None:
    done = [json.loads(line) for line in spoken.log.splitlines() if '"session.done"' in line]
    assert [(line["reason"], line["finals"]) for line in done] == [("silence", 1)]
    assert {"finalize_ms", "first_draft_ms", "rtf", "max_lag_ms"} <= done[0].keys()
    assert "kitchen" not in spoken.log


def test_all_that_it_publishes_is_in_the_asyncapi_document(spoken: Spoken) -> None:
    reader = Reader(
        yaml.safe_load(ASYNCAPI.read_text(encoding="utf-8")),
        {"base": "voice", "node": NODE, "prefix": "homeassistant"},
    )
    seen = [m for m in spoken.subscriber.seen if not is_a_command(m)]
    sent = [m for m in seen if m.topic.startswith(f"voice/{NODE}/")]
    names = [reader.message(m.topic, m.payload) for m in sent]
    assert {
        *("availability", "state", "info", "health", "wakeDetected", "sessionStarted"),
        *("transcriptPartial", "transcriptFinal", "sessionEnded", "responseOk", "responseError"),
        *("error", *(f"{setting}State" for setting in SETTINGS)),
    } <= set(names)
    for message, name in zip(sent, names, strict=True):
        bindings = reader.operation("send", name)["bindings"]["mqtt"]
        assert message.qos == bindings["qos"], name
        longest_s = bindings.get("messageExpiryInterval")
        assert (message.expiry_s is None) == (longest_s is None), name
        assert message.expiry_s is None or message.expiry_s <= longest_s, name
    announced = [m for m in seen if m.topic == f"homeassistant/device/{NODE}/config"]
    *described, last = announced
    assert described
    assert all(reader.message(m.topic, m.payload) for m in described)
    assert last.payload == b"", "a replay leaves no device behind"


def test_the_commands_and_settings_of_the_asyncapi_document_are_those_it_knows(
    spoken: Spoken,
) -> None:
    assert (spoken.known_verbs, spoken.known_settings) == (set(VERBS), set(SETTINGS))


def is_a_command(message: Seen) -> bool:
    return message.topic.endswith("/set") or "/cmd/" in message.topic


@dataclass(frozen=True)
class Another:
    """A life of a daemon with a prompt, over a file of another kind."""

    subscriber: Subscriber
    log: str


@pytest.fixture(scope="module")
def another(
    mosquitto_port: int, tmp_path_factory: pytest.TempPathFactory, clip: NDArray[np.int16]
) -> Iterator[Another]:
    """A command without the wake word, then the wake word and a command with an odd name.

    In 8 bits, in stereo, at 44.1 kHz.
    """
    home = tmp_path_factory.mktemp("another")
    pause = np.zeros(16_000, np.int16)
    odd: NDArray[np.int16] = soundfile.read(ODD_NAME_CLIP, dtype="int16")[0]
    heard = np.concatenate([clip[26_000:], pause, pause, clip[:26_000], pause[:12_000], odd, pause])
    at_44100 = np.interp(
        np.arange(0, len(heard), 16_000 / 44_100), np.arange(len(heard)), heard / 32768
    )
    path = home / "8-bit.wav"
    soundfile.write(path, np.stack([at_44100, at_44100], axis=1), 44_100, subtype="PCM_U8")
    subscriber = Subscriber(mosquitto_port, hears_retained=False)
    prompt = "Kilnsey, Quillmere, Zuberi."
    done = run_daemonctl(
        *("run", "--input", path, "--fast"),
        home=home,
        **environment(mosquitto_port, VOICE_DAEMON_ASR__PROMPT=prompt),
    )
    assert (done.returncode, done.stderr) == (0, "")
    subscriber.wait_for(is_on("availability", b"offline"))
    yield Another(subscriber, (home / "logs" / "voice-daemon.jsonl").read_text())
    subscriber.close()


def test_any_rate_channels_and_sample_format_will_do(another: Another) -> None:
    (final,) = on(another.subscriber, "transcript/final")
    assert words(final["text"])[:5] == ["turn", "on", "the", "lights", "in"]


def test_speech_without_the_wake_word_says_nothing(another: Another) -> None:
    assert len(on(another.subscriber, "wake")) == 1
    assert [event["event_type"] for event in on(another.subscriber, "session")] == [
        "started",
        "ended",
    ]
    assert "kitchen" not in str(on(another.subscriber, "transcript/partial")).lower()


def test_a_prompt_in_the_configuration_teaches_the_daemon_a_name(another: Another) -> None:
    """Without a prompt it is another name: tests/asr/test_languages.py."""
    (final,) = on(another.subscriber, "transcript/final")
    assert "Zuberi" in final["text"]
    assert "Kilnsey" not in another.log


def test_ctrl_c_in_a_session_ends_it_in_time(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, long_command: Path
) -> None:
    with DaemonProcess(
        ("--input", long_command), voice_home, environment(mosquitto_port)
    ) as daemon:
        subscriber.wait_for(is_on("transcript/partial"))
        daemon.signal(signal.SIGINT)
        assert daemon.wait(10) == 128 + signal.SIGINT
    subscriber.wait_for(is_on("availability", b"offline"))
    assert [m.get("reason") for m in on(subscriber, "session")] == [None, "shutdown"]


@pytest.mark.slow  # tests/test_app.py has it without models
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


@pytest.mark.slow  # its waits are those of a user; tests/test_app.py has it without them
def test_a_replay_without_a_broker_says_that_its_final_is_lost(
    voice_home: Path, demo_clip: Path
) -> None:
    done = run_daemonctl("run", "--input", demo_clip, "--fast", home=voice_home, **environment(1))
    assert done.returncode == 1
    assert "finals among them: 1" in done.stderr
