"""`daemonctl devices`, with real PortAudio and inputs that ALSA makes up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from voice_daemon.audio.portaudio import AudioDevice
from voice_daemon.cli.devices import table

ALSA = Path("/usr/share/alsa/alsa.conf")
INPUT = 'pcm.{} {{ type file slave.pcm {{ type null }} file "/dev/null" infile "/dev/zero" }}\n'

made_up_inputs = pytest.mark.skipif(
    sys.platform != "linux" or not ALSA.exists(), reason="only ALSA can make up inputs"
)


def daemonctl(
    *arguments: str, home: Path, inputs: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: PortAudio looks for inputs once."""
    alsa = home / "alsa.conf"
    alsa.write_text("".join(INPUT.format(name) for name in inputs))
    environ = {**os.environ, "ALSA_CONFIG_PATH": f"{ALSA}:{alsa}", "VOICE_DAEMON_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "voice_daemon", "devices", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@made_up_inputs
def test_the_inputs_are_listed_and_the_default_is_taken(tmp_path: Path) -> None:
    done = daemonctl(home=tmp_path, inputs=("kitchen", "attic"))
    assert done.returncode == 0
    inputs, outputs = done.stdout.split("\n\nOutputs:\n")
    lines = inputs.splitlines()
    assert sorted(line[2:].split()[0] for line in outputs.splitlines()) == ["attic", "kitchen"]
    assert sorted(line[2:].split()[0] for line in lines) == ["attic", "kitchen"]
    assert [line.startswith("* ") for line in lines] == [
        line.endswith("system default") for line in lines
    ]


@made_up_inputs
def test_the_configured_input_is_marked(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[audio]\ndevice = "Attic"\noutput = "kitchen"\n')
    done = daemonctl("--json", home=tmp_path, inputs=("kitchen", "attic"))
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["schema"], found["configured"]) == (1, "Attic")
    assert {row["name"]: row["is_chosen"] for row in found["devices"]} == {
        "kitchen": False,
        "attic": True,
    }
    assert [row["name"] for row in found["outputs"] if row["is_chosen"]] == ["kitchen"]


@made_up_inputs
def test_an_input_that_is_not_there_gives_1_and_the_list(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[audio]\ndevice = "cellar"\n')
    done = daemonctl(home=tmp_path, inputs=("kitchen",))
    assert done.returncode == 1
    assert "kitchen" in done.stdout
    assert "cellar" in done.stderr
    assert "kitchen" in done.stderr.splitlines()[1]


@made_up_inputs
def test_without_any_input_there_is_a_remedy(tmp_path: Path) -> None:
    done = daemonctl("--json", home=tmp_path, inputs=())
    assert done.returncode == 1
    assert json.loads(done.stdout)["devices"] == []
    assert done.stderr.startswith("daemonctl: there is no audio input\n  -> ")


def test_the_table_is_aligned() -> None:
    short = AudioDevice(0, "Mic", "Core Audio", channels=1, rate_hz=16_000, is_default=False)
    long = AudioDevice(3, "Anker PowerConf", "ALSA", channels=2, rate_hz=48_000, is_default=True)
    assert list(table((short, long), short)) == [
        "* Mic              Core Audio, 1 channel, 16000 Hz",
        "  Anker PowerConf  ALSA, 2 channels, 48000 Hz  system default",
    ]


def test_inputs_of_one_name_are_listed_by_names_that_choose_one() -> None:
    inputs = [
        AudioDevice(index, name, "Core Audio", channels=1, rate_hz=48_000, is_default=index == 0)
        for index, name in enumerate(("USB Mic", "Webcam", "USB Mic"))
    ]
    names = [line[2:].split("  ")[0] for line in table(inputs, inputs[0])]
    assert names == ["USB Mic#1", "Webcam", "USB Mic#2"]
