"""What must stay secret, looked for in everything that a daemon writes and publishes.

A real daemon with a real login by TLS, password and client certificate, whose faults are brought
about one after another; then a search for the secrets, for what was said, and for its sound.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import soundfile
import trustme

from rigs.brokers import HOST, Mosquitto, Seen, eventually, free_port, password_program
from support.daemon_process import DaemonProcess, daemonctl_here, run_daemonctl
from support.file_microphone import CRASH_VARIABLE, with_microphone
from support.subscriber import Subscriber
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError

PASSWORD, WRONG_PASSWORD = "hunter2-correct-horse", "hunter3-battery-staple"
BAD_KEY = "hunter4-no-key-at-all"
TOKENS = {"HF_TOKEN": "hf_hunter5", "HASS_TOKEN": "hunter6", "MOSQUITTO_PASSWORD": "hunter7"}
SPOKEN = "kitchen"
"""Of the bundled command; nothing else that the daemon says has this word."""
NODE = "secrets"
FAULT_EXIT = 75


@dataclass
class SecretsRig:
    """A broker that wants all three proofs, and a daemon's configuration that gives them."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.home, self.etc = self.folder / "home", self.folder / "etc"
        self.home.mkdir()
        self.etc.mkdir()
        self.password, self.ca = self.etc / "password", self.etc / "ca.pem"
        self.key = self.etc / "daemon.key"
        self.authority.cert_pem.write_to_path(self.ca)
        self.write_secret(self.password, PASSWORD)
        self._identity("localhost")
        self._identity("daemon")
        self.config = self.etc / "config.toml"
        self.open_port = free_port()
        self.broker = Mosquitto(self.folder, self._broker_settings())
        self.subscribers: list[Subscriber] = []
        self.start_broker()
        self.config.write_text(
            f'node_id = "{NODE}"\n[mqtt]\nhost = "localhost"\nport = {self.broker.port}\n'
            'username = "voice"\npassword_file = "password"\ntls = true\nca_file = "ca.pem"\n'
            'cert_file = "daemon.pem"\nkey_file = "daemon.key"\nreconnect_max_s = 1\n'
            '[audio]\nsilence_alarm_s = 3600\n[log]\nlevel = "debug"\n'
        )

    def start_broker(self) -> None:
        """Start it, and listen before the daemon comes to it."""
        self.broker.start()
        eventually(self._is_open, "the broker's second port answers")
        self.subscribers.append(Subscriber(self.open_port))

    @property
    def heard(self) -> list[Seen]:
        """What was published, over all lives of the broker."""
        return [message for subscriber in self.subscribers for message in subscriber.seen]

    def _is_open(self) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.open_port), 1):
            return True
        return False

    def _identity(self, name: str) -> None:
        issued = self.authority.issue_cert(name)
        (self.etc / f"{name}.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        self.write_secret(self.etc / f"{name}.key", issued.private_key_pem.bytes().decode())

    def _broker_settings(self) -> tuple[str, ...]:
        passwords = self.etc / "passwords"
        subprocess.run(
            [password_program(), "-c", "-b", str(passwords), "voice", PASSWORD], check=True
        )
        return (
            "per_listener_settings true",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"cafile {self.ca}",
            f"certfile {self.etc / 'localhost.pem'}",
            f"keyfile {self.etc / 'localhost.key'}",
            "require_certificate true",
            f"listener {self.open_port} {HOST}",
            "allow_anonymous true",
        )

    @staticmethod
    def write_secret(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)

    def close(self) -> None:
        for subscriber in self.subscribers:
            subscriber.close()
        self.broker.kill()


def daemonctl(*arguments: str, home: Path) -> tuple[int, str]:
    done = daemonctl_here(*arguments, home=home)
    return done.returncode, done.stdout + done.stderr


@dataclass
class Witness:
    """Everything that was seen of a daemon, by where it was seen."""

    rig: SecretsRig
    daemon: DaemonProcess
    seen: dict[str, str] = field(default_factory=dict)

    def ask(self, when: str) -> Self:
        """Ask by every verb, good and bad, and by the commands that print."""
        path = self.rig.home / "voice-daemon.sock"
        for verb in ("status", "cancel", "reset-settings", "none"):
            try:
                answer = json.dumps(ControlClient(path).request(verb))
            except ControlError as error:
                answer = repr(error)
            self.seen[f"{when}: the reply to {verb}"] = answer
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"verb": [\n')
            self.seen[f"{when}: the reply to nonsense"] = connection.recv(65_536).decode()
        for command in ("status", "status --json", "config show", "config show --json"):
            self.command(when, *command.split())
        return self

    def command(self, when: str, *arguments: str) -> None:
        said = daemonctl("--config", str(self.rig.config), *arguments, home=self.rig.home)[1]
        assert said
        self.seen[f"{when}: daemonctl {' '.join(arguments)}"] = said

    def process_list(self) -> None:
        arguments = ["ps", "-ww", "-o", "args=", "-p", str(self.daemon.pid)]
        self.seen["ps"] = subprocess.run(
            arguments, capture_output=True, text=True, check=True
        ).stdout

    def problem(self) -> str:
        """What is wrong with the connection, as `status` has it."""
        with suppress(ControlError):
            status = ControlClient(self.rig.home / "voice-daemon.sock").request("status")
            return str(status["mqtt"]["last_error"])
        return ""

    def files(self) -> dict[Path, bytes]:
        """What lies below the daemon's home."""
        found = (path for path in self.rig.home.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in found}

    def everything(self, *, but_transcripts: bool = False) -> dict[str, str]:
        """All that was seen; MQTT by topic."""
        everything = dict(self.seen)
        for message in self.rig.heard:
            is_text = "/transcript/" in message.topic or message.topic.endswith("/words")
            if not (but_transcripts and is_text):
                everything.setdefault(message.topic, "")
                everything[message.topic] += f"{message.topic} {message.payload!r}\n"
        for path, content in self.files().items():
            everything[path.name] = content.decode(errors="replace")
        return everything


@contextmanager
def rig_of_its_own() -> Iterator[SecretsRig]:
    # Not pytest's folder, whose path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as folder:
        rig = SecretsRig(Path(folder))
        try:
            yield rig
        finally:
            rig.close()


def finals(rig: SecretsRig) -> list[dict[str, Any]]:
    topic = f"voice/{NODE}/transcript/final"
    return [json.loads(m.payload) for m in rig.heard if m.topic == topic]


@pytest.fixture(scope="module")
def sound() -> Iterator[Path]:
    """The bundled command, said again and again for some minutes."""
    samples, rate_hz = soundfile.read(DEMO_CLIP, dtype="int16")
    rest = np.full(2 * rate_hz, 3, np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.wav"
        soundfile.write(
            path, np.tile(np.concatenate([rest[: len(rest) // 2], samples, rest]), 40), rate_hz
        )
        yield path


def break_login(rig: SecretsRig, witness: Witness) -> None:
    """Let each proof fail in turn, and ask the daemon about it each time."""
    good_key, good_ca = rig.key.read_text(), rig.ca.read_text()
    stranger = trustme.CA().cert_pem.bytes().decode()
    faults = (
        (rig.password, WRONG_PASSWORD, PASSWORD, "refused the user name or the password"),
        (rig.ca, stranger, good_ca, "certificate"),
        (rig.key, BAD_KEY, good_key, "key_file"),
        (rig.password, "", PASSWORD, "password_file"),
    )
    for path, bad, good, said in faults:
        path.write_text(bad)
        rig.broker.kill()
        rig.start_broker()
        eventually(lambda said=said: said in witness.problem(), f"a problem with {path.name}")  # type: ignore[misc]
        when = f"bad {path.name} ({len(bad)} characters)"
        witness.ask(when)
        if bad in {WRONG_PASSWORD, BAD_KEY}:
            witness.command(when, "doctor")
        path.write_text(good)
    eventually(lambda: not witness.problem(), "connected again")


@pytest.fixture(scope="module")
def witness(sound: Path) -> Iterator[Witness]:
    """A daemon's life: a command, every fault of its login, two failures of the model, its end."""
    with rig_of_its_own() as rig:
        yield life(rig, sound)


def life(rig: SecretsRig, sound: Path) -> Witness:
    flag = rig.folder / "crash"
    variables = {**TOKENS, CRASH_VARIABLE: str(flag)}
    arguments = ("--config", rig.config)
    with DaemonProcess(arguments, rig.home, variables, with_microphone(sound)) as daemon:
        witness = Witness(rig, daemon)
        rig.subscribers[0].wait_for(lambda message: message.topic.endswith("/transcript/final"))
        assert SPOKEN in finals(rig)[0]["text"].lower()
        witness.ask("at work").process_list()
        break_login(rig, witness)
        flag.touch()
        assert daemon.wait() == FAULT_EXIT
        witness.seen["stdout and stderr"] = daemon.last_words()
    for arguments_ in (("logs",), ("logs", "--session", "last"), ("logs", "--json")):
        witness.command("afterwards", *arguments_)
    return witness


def places_of(needle: str, everything: dict[str, str]) -> list[str]:
    return [place for place, text in everything.items() if needle.lower() in text.lower()]


def test_no_secret_is_in_anything_that_the_daemon_writes_or_publishes(witness: Witness) -> None:
    everything = witness.everything()
    assert places_of("voice", everything), "the search finds nothing at all"
    key_lines = witness.rig.key.read_text().splitlines()[1:-1]
    for secret in (PASSWORD, WRONG_PASSWORD, BAD_KEY, *TOKENS.values(), *key_lines[:3]):
        assert places_of(secret, everything) == []


def test_the_faults_that_were_brought_about_are_told_without_the_secrets(witness: Witness) -> None:
    told = "\n".join(witness.everything().values())
    for said in ("mqtt.not_authorised", "mqtt.tls_untrusted", "mqtt.cert_file", "asr.failed"):
        assert said in told
    assert "Traceback" in witness.everything()["voice-daemon.jsonl"]


def test_what_was_said_is_on_the_topics_of_words_alone(witness: Witness) -> None:
    assert places_of(SPOKEN, witness.everything())
    assert places_of(SPOKEN, witness.everything(but_transcripts=True)) == []


def test_no_sound_and_no_file_but_log_lock_and_state_is_left_on_disk(
    witness: Witness, sound: Path
) -> None:
    samples, _ = soundfile.read(sound, dtype="int16", frames=60_000)
    loudest = int(np.argmax(np.abs(samples)))
    part = samples[loudest : loudest + 100]
    scaled = (part / 32_768).astype("<f4")
    files = witness.files()
    assert "voice-daemon.jsonl" in {path.name for path in files}
    for path, content in files.items():
        assert path.name.startswith(("voice-daemon.", "state.json")), path
        assert part.astype("<i2").tobytes() not in content
        assert scaled.tobytes() not in content


INLINE = {
    "a password in the file": 'username = "me"\npassword = "hunter2"',
    "a password in the host": 'host = "mqtt://me:hunter2@broker.example"',
    "a token in the file": 'token = "hunter2"',
}


@pytest.mark.parametrize("text", INLINE.values(), ids=INLINE)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(
    text: str, voice_home: Path
) -> None:
    config = voice_home / "config.toml"
    config.write_text(f"[mqtt]\n{text}\n")
    config.chmod(0o600)
    for command in ("config check", "config check --json", "config show"):
        code, said = daemonctl(*command.split(), home=voice_home)
        assert code == 2
        assert "hunter2" not in said


def test_a_password_in_the_environment_is_refused_and_not_repeated(voice_home: Path) -> None:
    (voice_home / "config.toml").write_text('[mqtt]\ntoken = "hunter2"\n')
    done = run_daemonctl("run", home=voice_home, VOICE_DAEMON_MQTT__PASSWORD="hunter3")
    assert done.returncode == 78
    assert "VOICE_DAEMON_MQTT__PASSWORD" in done.stderr
    assert "hunter" not in done.stdout + done.stderr
