"""The doctor has the recogniser read a recording whose words it knows, and opens the output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rigs.fake_portaudio import Device, PortAudio
from support.statuses import RUNNING
from voice_daemon.audio.portaudio import AudioDriver
from voice_daemon.config import AsrSettings, Settings
from voice_daemon.doctor.audio import output, recogniser
from voice_daemon.doctor.checks import Verdict


def test_the_bundled_model_reads_the_recording(tmp_path: Path) -> None:
    (finding,) = recogniser(AsrSettings(), tmp_path, None)
    assert finding.verdict is Verdict.OK
    assert "tiny.en reads 5 of 5 words" in finding.message


def test_a_model_for_another_language_is_not_judged_by_english(tmp_path: Path) -> None:
    code = 'print(\'{"passed": false, "told": "0 of 5 words", "device": "CPU"}\')'
    (finding,) = recogniser(AsrSettings(language="de"), tmp_path, None, code=code)
    assert finding.verdict is Verdict.SKIP
    assert "0 of 5 words" in finding.message


def test_a_daemon_that_runs_has_done_it_already(tmp_path: Path) -> None:
    tested = replace(RUNNING, asr=replace(RUNNING.asr, self_test="pass"))
    (finding,) = recogniser(AsrSettings(), tmp_path, tested, code="raise SystemExit(1)")
    assert finding.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ('print(\'{"passed": false, "told": "0 of 5 words", "device": "GPU"}\')', "0 of 5 words"),
        ("raise SystemExit('no Metal here')", "does not run: no Metal here"),
        ("import os; os.abort()", "does not run: exit code -6"),
        ("print('what')", "does not run"),
    ],
)
def test_one_that_reads_nonsense_or_dies_is_a_failure_with_a_remedy(
    tmp_path: Path, code: str, told: str
) -> None:
    (finding,) = recogniser(AsrSettings(), tmp_path, None, code=code)
    assert finding.verdict is Verdict.FAIL
    assert told in finding.message
    assert "asr.dtype" in finding.remedy


DESK = Device("Desk speaker", channels=0, output_channels=2)


@pytest.mark.parametrize(
    ("devices", "audio_output", "satellite", "verdict", "told"),
    [
        ((DESK,), "default", False, Verdict.OK, '"Desk speaker" opens, for sounds'),
        ((DESK,), "desk", True, Verdict.OK, '"Desk speaker" opens, for sounds, answers and timers'),
        ((DESK,), "Bathroom", False, Verdict.FAIL, 'no audio outputs are named like "Bathroom"'),
        ((), "default", False, Verdict.WARN, "there is no audio output"),
        ((), "default", True, Verdict.FAIL, "there is no audio output"),
        ((), "None", True, Verdict.SKIP, "nothing is played"),
    ],
)
def test_the_output_is_opened_by_its_name(
    devices: tuple[Device, ...], audio_output: str, verdict: Verdict, told: str, *, satellite: bool
) -> None:
    wanted = {"audio": {"output": audio_output}, "homeassistant": {"satellite": satellite}}
    portaudio = PortAudio(*devices)
    settings = Settings.model_validate(wanted)
    (finding,) = output(settings, driver=AudioDriver(load=lambda: portaudio))
    assert finding.verdict is verdict
    assert told in finding.message
    assert bool(finding.remedy) is (verdict in {Verdict.WARN, Verdict.FAIL})
    assert not any(stream.running for stream in portaudio.outputs)
