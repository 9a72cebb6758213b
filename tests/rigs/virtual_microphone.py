"""A microphone that is software: a private PulseAudio server, and a program that listens to it.

PortAudio looks for devices once, so whoever uses this microphone runs in a process of its own
with `environ`. Linux only, and only where PulseAudio is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

DEVICE = "roommic"
OUTPUT = "roomspeaker"
"""A speaker in the same room: the microphone hears it, and nobody else."""
_SINK = (
    "module-null-sink sink_name=room rate=16000 channels=1 format=s16le channel_map=mono "
    # Without it PulseAudio keeps up to 2 s to itself and rewrites them.
    "norewinds=1"
)
_ALSA = """</usr/share/alsa/alsa.conf>
pcm.roommic {{ type pulse device room.monitor server "{server}" hint {{ show on }} }}
pcm.roomspeaker {{ type pulse device room server "{server}" hint {{ show on }} }}
"""
_READY_S = 10


def why_not() -> str | None:
    """Say what is missing for a virtual microphone; None when nothing is."""
    if sys.platform != "linux":
        return "a virtual microphone needs Linux"
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            return f"a virtual microphone needs {program} (Debian: pulseaudio pulseaudio-utils)"
    plugins = Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")
    if not any(plugins):
        return "a virtual microphone needs ALSA's plugin for PulseAudio (libasound2-plugins)"
    return None


class VirtualMicrophone:
    """The microphone `DEVICE`: 16 kHz, mono, every sample as it was played."""

    def __init__(self) -> None:
        # A socket's path must be short, and pytest's folders are not.
        self._folder = Path(tempfile.mkdtemp(prefix="mic-"))
        server = f"unix:{self._folder}/native"
        (self._folder / "asound.conf").write_text(_ALSA.format(server=server))
        private = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"), str(self._folder))
        self._environ = {
            **os.environ,
            **private,
            "PULSE_SERVER": server,
            "PULSE_RUNTIME_PATH": str(self._folder),
        }
        self.additions = {"ALSA_CONFIG_PATH": str(self._folder / "asound.conf")}
        self.environ = {**os.environ, **self.additions}
        """What a program needs to find this microphone and no other."""
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> VirtualMicrophone:
        """Start the server and plug the microphone in."""
        script = self._folder / "server.pa"
        script.write_text(
            f"load-module module-native-protocol-unix auth-anonymous=1 "
            f"socket={self._folder}/native\nload-module {_SINK}\n"
        )
        options = ["--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        options += ["--realtime=no", "--high-priority=no", "--disable-shm=yes"]
        self._server = subprocess.Popen(
            [_program("pulseaudio"), "-n", "-F", str(script), *options],
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_s = time.monotonic() + _READY_S
        while "room.monitor" not in self._pactl("list", "short", "sources", check=False):
            if time.monotonic() > give_up_s:
                raise TimeoutError("PulseAudio did not start")
            time.sleep(0.05)
        return self

    def play(self, clip: Path) -> None:
        """Speak a file into the microphone, in real time."""
        subprocess.run(
            [_program("paplay"), "--device=room", str(clip)],
            env=self._environ,
            check=True,
            timeout=60,
        )

    def begin(self, clip: Path) -> subprocess.Popen[bytes]:
        """Do as `play` does, and do not wait: the process ends with the file."""
        return subprocess.Popen([_program("paplay"), "--device=room", str(clip)], env=self._environ)

    def record(self) -> subprocess.Popen[bytes]:
        """Read the microphone as int16 samples, as soon as they are there, until killed."""
        form = ["--format=s16le", "--rate=16000", "--channels=1", "--latency-msec=10"]
        return subprocess.Popen(
            [_program("parec"), "--device=room.monitor", "--raw", *form],
            env=self._environ,
            stdout=subprocess.PIPE,
        )

    def speak(self, clip: Path) -> None:
        """Do as `play` does, into a microphone that may go away meanwhile."""
        with suppress(subprocess.SubprocessError):
            self.play(clip)

    def unplug(self) -> None:
        """Take the microphone away."""
        self._pactl("unload-module", "module-null-sink")

    def plug_in(self) -> None:
        """Bring the microphone back."""
        self._pactl("load-module", *_SINK.split())

    def freeze(self) -> None:
        """Let the driver hang: no audio, no error, no answer."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the driver go on."""
        self._running().send_signal(signal.SIGCONT)

    def rename(self, device: str) -> None:
        """Give the microphone another name, as one in another socket gets."""
        conf = self._folder / "asound.conf"
        conf.write_text(conf.read_text().replace(f"pcm.{DEVICE} ", f"pcm.{device} "))

    def crash(self) -> None:
        """Kill the server; `start` brings a new one, with the same name."""
        self._running().kill()
        self._running().wait()
        (self._folder / "native").unlink(missing_ok=True)

    def stop(self) -> None:
        """End the server, frozen or not, and remove its files."""
        self._running().kill()
        self._running().wait()
        shutil.rmtree(self._folder)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._server is not None, "start it first"
        return self._server

    def _pactl(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [_program("pactl"), *arguments],
            env=self._environ,
            check=check,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: ask why_not() first"
    return path
