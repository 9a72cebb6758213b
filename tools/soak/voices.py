"""Voices: play a recording to the daemon as a file, fast, or into a microphone, in real time."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from rigs.virtual_microphone import DEVICE, VirtualMicrophone
from support.daemon_process import DaemonProcess
from tools.soak.recording import SESSION_S
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError

READY_S: Final = 120.0
"""For a daemon that loads its models."""


class Voice(Protocol):
    """What the daemon hears."""

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        """What the daemon is started with."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Its settings."""

    def begin(self, daemon: DaemonProcess, home: Path) -> None:
        """Speak, once the daemon can hear."""

    @property
    def is_speaking(self) -> bool:
        """False once everything was said, and the last session has had its time."""

    def end(self, daemon: DaemonProcess) -> int | None:
        """Let the daemon end; give the samples that it dropped, None where it cannot drop any."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A file in the place of the microphone, as fast as it goes; the daemon ends with it."""

    sound: Path

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        return "--input", self.sound, "--fast"

    @property
    def variables(self) -> Mapping[str, str]:
        return {}

    def begin(self, daemon: DaemonProcess, home: Path) -> None:
        pass

    @property
    def is_speaking(self) -> bool:
        return True

    def end(self, daemon: DaemonProcess) -> int | None:
        daemon.wait()
        return None


class Spoken:
    """A file that is played into a microphone of software, in real time, through PortAudio."""

    arguments = ()

    def __init__(self, microphone: VirtualMicrophone, sound: Path) -> None:
        self._microphone = microphone
        self._sound = sound
        self._player: subprocess.Popen[bytes] | None = None
        self._client: ControlClient | None = None
        self._silent_since_s: float | None = None
        self.variables = {
            "VOICE_DAEMON_AUDIO__DEVICE": DEVICE,
            "VOICE_DAEMON_AUDIO__OUTPUT": "none",
            # What is played is digitally silent in every fourth slot.
            "VOICE_DAEMON_AUDIO__SILENCE_ALARM_S": "3600",
            "ALSA_CONFIG_PATH": microphone.environ["ALSA_CONFIG_PATH"],
        }

    def begin(self, daemon: DaemonProcess, home: Path) -> None:
        self._client = ControlClient(home / "voice-daemon.sock")
        give_up_s = time.monotonic() + READY_S
        while self._status().get("session", {}).get("state") != "idle":
            assert daemon.is_running, daemon.last_words()
            assert time.monotonic() < give_up_s, "the daemon does not become idle"
            time.sleep(0.2)
        self._player = self._microphone.begin(self._sound)

    @property
    def is_speaking(self) -> bool:
        assert self._player is not None, "begin first"
        if self._player.poll() is None:
            return True
        self._silent_since_s = self._silent_since_s or time.monotonic()
        return time.monotonic() - self._silent_since_s < SESSION_S

    def end(self, daemon: DaemonProcess) -> int | None:
        dropped = self._status().get("mic", {}).get("dropped_samples")
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        return None if dropped is None else int(dropped)

    def stop(self) -> None:
        """Fall silent."""
        if self._player is not None:
            self._player.kill()
            self._player.wait()

    def _status(self) -> Mapping[str, Any]:
        """Ask the daemon how it is; nothing while it does not answer."""
        assert self._client is not None, "begin first"
        try:
            return self._client.request("status")
        except ControlError:
            return {}


@contextmanager
def voice_for(sound: Path, *, microphone: bool) -> Iterator[Voice]:
    """Make a voice for the length of the block."""
    if not microphone:
        yield Replayed(sound)
        return
    plugged_in = VirtualMicrophone().start()
    spoken = Spoken(plugged_in, sound)
    try:
        yield spoken
    finally:
        spoken.stop()
        plugged_in.stop()
