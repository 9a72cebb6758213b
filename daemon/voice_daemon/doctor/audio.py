"""Checks of what the daemon hears with, and of what it is heard by.

Input, microphone, output, wake words, model, recogniser.

A daemon that runs is asked; only without one is the microphone opened.
"""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from voice_daemon.audio.level import SilenceMeter
from voice_daemon.audio.microphone import MicrophoneCapture
from voice_daemon.audio.portaudio import DEFAULT_DEVICE, AudioDriver, find_device, list_devices
from voice_daemon.config import AsrSettings, AudioSettings, Settings, WakeSettings
from voice_daemon.doctor.checks import Finding, answer_of, fail, ok, skip, warn
from voice_daemon.doctor.microphone_test import PERMISSION_REMEDY
from voice_daemon.errors import AudioDeviceError, ModelError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models import resolve, verify
from voice_daemon.runtime.status import Status
from voice_daemon.sound.output import try_output
from voice_daemon.wake.detector import choose_backend, self_test

LISTEN_S: Final = 1.0
PATIENCE_S: Final = 5.0
RECOGNISE_TIMEOUT_S: Final = 55.0
_RECOGNISER_REMEDY: Final = (
    "`daemonctl models verify`, then another asr.model or asr.dtype; on a new Mac "
    "`pip install --upgrade mlx`"
)
_RECOGNISE: Final = """
import json, sys
from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.asr.load import on_gpu
from voice_daemon.asr.self_test import self_test
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
transcriber = WhisperTranscriber(load_model(sys.argv[1], dtype=sys.argv[2]))
tested = self_test(transcriber, to_int16(load_audio(DEMO_CLIP)))
device = "GPU" if on_gpu() else "CPU"
print(json.dumps({"passed": tested.passed, "told": str(tested), "device": device}))
"""
_UNCHECKED: Final = frozenset({"models.no_manifest"})


def device(settings: AudioSettings) -> Iterator[Finding]:
    """Look for the configured input."""
    found = find_device(settings.device, list_devices())
    yield ok("device", f'"{found.name}" ({found.host_api}, {found.rate_hz} Hz)')


def microphone(settings: AudioSettings, status: Status | None) -> Iterator[Finding]:
    """Listen whether there is sound: without permission macOS delivers silence."""
    if status is not None and status.mic.last_block_age_ms is not None:
        yield from _of_the_daemon(status)
        return
    source = MicrophoneCapture(settings)
    source.start()
    try:
        silence, heard = SilenceMeter(), 0
        give_up_s = time.monotonic() + PATIENCE_S
        while heard < LISTEN_S * SAMPLE_RATE and time.monotonic() < give_up_s:
            block = source.read(0.1)
            if block is not None:
                silence.feed(block.samples)
                heard += len(block.samples)
        level_dbfs = source.level_dbfs
    finally:
        source.stop()
    if heard < LISTEN_S * SAMPLE_RATE:
        message = f"only {heard / SAMPLE_RATE:.2f} s of sound came in {PATIENCE_S:g} s"
        yield fail("microphone", message, "unplug it and plug it in again, or restart the Mac")
    elif silence.silent_s >= LISTEN_S:
        yield fail("microphone", "nothing but digital silence", PERMISSION_REMEDY)
    else:
        level = f"{level_dbfs:.0f} dBFS" if math.isfinite(level_dbfs) else "very low"
        whose = "for this terminal; the agent is asked for on its own"
        yield ok("microphone", f"it hears; level {level} ({whose})")


def output(settings: Settings, *, driver: AudioDriver | None = None) -> Iterator[Finding]:
    """Open the output: all but sounds, answers and timers works without one."""
    wanted = settings.audio.output
    if not settings.audio.plays:
        yield skip("output", 'audio.output is "none": nothing is played')
        return
    try:
        name = try_output(wanted, driver=driver)
    except AudioDeviceError as error:
        is_asked_for = wanted != DEFAULT_DEVICE or settings.homeassistant.satellite
        tell = fail if is_asked_for else warn
        yield tell("output", f"nothing can be played: {error.message}", error.remedy)
        return
    whose = "sounds, answers and timers" if settings.homeassistant.satellite else "sounds"
    yield ok("output", f'"{name}" opens, for {whose}')


def _of_the_daemon(status: Status) -> Iterator[Finding]:
    problems = [problem for problem in status.problems if problem.part == "mic"]
    for problem in problems:
        yield fail("microphone", problem.message, problem.remedy)
    if not problems:
        level = status.mic.level_dbfs
        said = f"{level:.0f} dBFS" if math.isfinite(level) else "silent just now"
        yield ok("microphone", f'the daemon is using "{status.mic.device}"; level {said}')


def wake_words(settings: WakeSettings) -> Iterator[Finding]:
    """Let the wake words' models hear the bundled recording."""
    backend = choose_backend(settings.backend, settings.models)
    result = self_test(settings.models, backend=backend)
    about = f"{result.score:.2f} on a recording of hey_jarvis, by {result.backend}"
    if result.passed:
        yield ok("wake", f"the self-test passes: {about}")
    else:
        yield fail("wake", f"the self-test fails: {about}", result.remedy)


def model(settings: AsrSettings, models_dir: Path) -> Iterator[Finding]:
    """Look whether the recogniser is there, whole, and every byte as it should be."""
    folder = resolve(settings.model, models_dir=models_dir)
    try:
        verification = verify(settings.model, models_dir=models_dir)
    except ModelError as error:
        if error.code not in _UNCHECKED:
            raise
        yield ok("model", f"{settings.model} is at {folder}; it has no checksums to compare")
        return
    if verification.problems:
        problems = "; ".join(verification.problems)
        yield fail("model", f"{settings.model} is damaged: {problems}", verification.remedy)
    else:
        yield ok("model", f"{settings.model}: {verification.n_files} files as they should be")


def recogniser(
    settings: AsrSettings,
    models_dir: Path,
    status: Status | None,
    *,
    code: str = _RECOGNISE,
) -> Iterator[Finding]:
    """Have the recogniser read a recording whose words are known, in a process of its own.

    On a GPU that computes wrongly it writes nonsense with great confidence. A daemon that runs has
    done it at its start.
    """
    if status is not None and status.asr.self_test == "pass":
        yield ok("recogniser", f"the daemon's {status.asr.model} has passed its self-test")
        return
    folder = resolve(settings.model, models_dir=models_dir)
    command = [sys.executable, "-c", code, str(folder), settings.dtype]
    try:
        found = answer_of(command, timeout_s=RECOGNISE_TIMEOUT_S)
    except ValueError as error:
        yield fail("recogniser", f"{settings.model} does not run: {error}", _RECOGNISER_REMEDY)
        return
    if not found["passed"] and not settings.expects_english:
        told = f"{found['told']}; it need not, asr.language is {settings.language}"
        yield skip("recogniser", f"{settings.model} reads {told}")
    elif not found["passed"]:
        yield fail("recogniser", f"{settings.model} reads {found['told']}", _RECOGNISER_REMEDY)
    else:
        yield ok("recogniser", f"{settings.model} reads {found['told']} on the {found['device']}")
