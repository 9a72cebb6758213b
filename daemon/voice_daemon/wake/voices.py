"""The speech synthesisers of this system, and a phrase spoken by all of their voices.

Nothing is downloaded: macOS has some thirty English voices of its own, and Linux what is
installed of espeak-ng, flite and festival. Novelty voices are left out.
"""

import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.file import load_audio
from voice_daemon.errors import AudioFileError, VoiceDaemonError

TIMEOUT_S: Final = 20
_QUIET: Final = 0.02
"""Share of a clip's loudest moment below which its ends are silence."""

_SAY_RATES: Final = ("140", "160", "180", "200", "220")
"""Words a minute."""
_SAY_NOVELTY: Final = (
    *("Albert", "Bad", "Bahh", "Bells", "Boing", "Bubbles", "Cellos", "Deranged", "Good"),
    *("Hysterical", "Jester", "Organ", "Pipe", "Superstar", "Trinoids", "Whisper", "Wobble"),
    "Zarvox",
)
_SAY_LINE: Final = re.compile(r"^(.+?)\s+([a-z]{2})[_-]\w+\s+#")

_ESPEAK_ACCENTS: Final = (
    *("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc"),
    *("en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
)
_ESPEAK_KINDS: Final = (
    *("m1", "f1", "m2", "f2", "m3", "f3", "m4", "f4", "m5", "f5", "m6", "m7", "m8"),
    *("Andy", "Annie", "Alex", "linda", "steph", "adam", "anika", "belinda", "david", "edward"),
    *("grandma", "grandpa", "iven", "john", "max", "paul", "quincy", "rob", "shelby", "victor"),
)
_ESPEAK_PACES: Final = (("160", "50"), ("135", "62"), ("185", "38"), ("150", "72"))
"""Words a minute, and pitch."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice at one pace: a command line that speaks `{text}` into the sound file `{file}`."""

    speaker: str
    """The same for all paces of one voice."""
    command: tuple[str, ...]

    @property
    def is_formant(self) -> bool:
        """True for a voice made of formants alone, as espeak-ng's are."""
        return self.command[0] == "espeak-ng"


def all_voices(*, most: int) -> tuple[Voice, ...]:
    """Give up to `most` English voices: every speaker at one pace before any at another."""
    kinds = (_say_voices(), _flite_voices(), _festival_voices(), _espeak_voices())
    merged = [voice for row in zip_longest(*kinds) for voice in row if voice is not None]
    seen: dict[str, int] = {}
    rounds = []
    for voice in merged:
        rounds.append(seen.get(voice.speaker, 0))
        seen[voice.speaker] = rounds[-1] + 1
    in_turn = sorted(range(len(merged)), key=lambda n: rounds[n])
    return tuple(merged[n] for n in in_turn[:most])


def speak(text: str, voice: Voice) -> NDArray[np.float32]:
    """Speak a text: (n,) float32 at 16 kHz without silence at the ends. Raises an error."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        command = [part.format(text=text, file=file) for part in voice.command]
        try:
            subprocess.run(
                command, check=True, capture_output=True, timeout=TIMEOUT_S, input=text.encode()
            )
            return trimmed(load_audio(file))
        except (OSError, subprocess.SubprocessError, AudioFileError) as error:
            raise VoiceDaemonError(
                "wake.no_voice",
                f"{voice.speaker} cannot speak: {type(error).__name__}",
                remedy=f"try it by hand: {command[0]}",
            ) from error


def trimmed(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut silence off the ends of (n,) samples, but for 20 ms."""
    hop = 160
    frames = np.abs(audio[: len(audio) // hop * hop]).reshape(-1, hop).max(axis=1, initial=0)
    loud = np.flatnonzero(frames > _QUIET * frames.max(initial=0))
    if not len(loud):
        return audio
    return audio[max(0, (loud[0] - 2) * hop) : (loud[-1] + 3) * hop]


def _say_voices() -> Iterator[Voice]:
    has_say = shutil.which("say") and platform.system() == "Darwin"
    listed = _output_of(("say", "-v", "?")) if has_say else ""
    found = [match.group(1, 2) for line in listed.splitlines() if (match := _SAY_LINE.match(line))]
    names = [n for n, tongue in found if tongue == "en" and n.split()[0] not in _SAY_NOVELTY]
    for rate in _SAY_RATES:
        for name in names:
            form = ("--file-format=WAVE", "--data-format=LEI16@16000")
            yield Voice(
                f"say {name}", ("say", "-v", name, "-r", rate, "-o", "{file}", *form, "{text}")
            )


def _flite_voices() -> Iterator[Voice]:
    if not shutil.which("flite"):
        return
    for stretch in ("1.0", "1.2", "0.85", "1.1", "1.3", "0.95"):
        for name in ("slt", "rms", "awb", "kal16", "kal"):
            how = ("-voice", name, "--setf", f"duration_stretch={stretch}")
            yield Voice(f"flite {name}", ("flite", *how, "-t", "{text}", "-o", "{file}"))


def _festival_voices() -> Iterator[Voice]:
    if not (shutil.which("festival") and shutil.which("text2wave")):
        return
    listed = re.findall(r"[\w]+", _output_of(("festival", "-b", "(print (voice.list))")))
    for stretch in ("1.0", "1.2", "0.9", "1.35"):
        for name in listed:
            how = (
                "-eval",
                f"(voice_{name})",
                "-eval",
                f"(Parameter.set 'Duration_Stretch {stretch})",
            )
            yield Voice(f"festival {name}", ("text2wave", *how, "-o", "{file}"))


def _espeak_voices() -> Iterator[Voice]:
    if not shutil.which("espeak-ng"):
        return
    for number, kind in enumerate(_ESPEAK_KINDS * len(_ESPEAK_PACES)):
        accent = _ESPEAK_ACCENTS[(number + number // len(_ESPEAK_KINDS)) % len(_ESPEAK_ACCENTS)]
        rate, pitch = _ESPEAK_PACES[number // len(_ESPEAK_KINDS)]
        how = ("-v", f"{accent}+{kind}", "-s", rate, "-p", pitch)
        yield Voice(f"espeak-ng {kind}", ("espeak-ng", *how, "-w", "{file}", "{text}"))


def _output_of(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, timeout=TIMEOUT_S, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
