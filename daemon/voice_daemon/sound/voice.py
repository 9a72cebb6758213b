"""Text to sound, by the speech program of the system: `say` on macOS."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import soundfile
import structlog

from voice_daemon.sound.output import Sound

log = structlog.get_logger()

PROGRAMS: Final = {
    "say": ("-f", "-", "--data-format=LEI16@22050", "-o"),
    "espeak-ng": ("--stdin", "-w"),
}
"""Arguments before the file's name; the text is on standard input, so none is an option."""
TIMEOUT_S: Final = 60.0


def voice_program() -> str | None:
    """Name the system's speech program; None where it has none."""
    return next((name for name in PROGRAMS if shutil.which(name)), None)


def spoken(text: str) -> Iterator[Sound]:
    """Give a text as sound; nothing, and a line in the log, where it cannot be spoken.

    Waits for the program when it is first asked for sound.
    """
    program = voice_program()
    if program is None:
        log.warning(
            "output.no_voice",
            reason=f"none of {', '.join(PROGRAMS)} is installed",
            remedy="Debian: apt-get install espeak-ng",
        )
        return
    with tempfile.TemporaryDirectory(prefix="voice-daemon-") as folder:
        file = Path(folder) / "spoken.wav"
        try:
            subprocess.run(
                [program, *PROGRAMS[program], str(file)],
                input=text.encode(),
                check=True,
                capture_output=True,
                timeout=TIMEOUT_S,
            )
            samples, rate_hz = soundfile.read(file, dtype="int16", always_2d=True)
        except (OSError, subprocess.SubprocessError, soundfile.SoundFileError) as error:
            log.warning("output.not_spoken", program=program, reason=f"{type(error).__name__}")
            return
    yield Sound(samples[:, 0], rate_hz)
