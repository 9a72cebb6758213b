"""Spellings of names that no recogniser knows: each is spoken by a synthesiser, and read.

What is read is what will be read when somebody says the name, so that it is a spelling of it
(arXiv 2508.17796 does so for contextual biasing).
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.file import load_audio
from voice_daemon.errors import AudioFileError
from voice_daemon.vocabulary.document import MAX_NAME_WORDS, VocabularyError
from voice_daemon.vocabulary.spoken import fold, sound_distance

CARRIERS: Final = {
    "en": ("turn on the {}", "is the {} on", "set the {} to fifty percent"),
    "de": ("schalte {} an", "ist {} aus", "stelle {} auf fünfzig Prozent"),
    "fr": ("allume {}", "éteins {}", "règle {} à cinquante pour cent"),
    "es": ("enciende {}", "apaga {}", "pon {} al cincuenta por ciento"),
    "nl": ("zet {} aan", "zet {} uit", "zet {} op vijftig procent"),
}
FARTHEST: Final = 0.6
"""A reading that sounds less like the name than this is somebody else's."""
MOST: Final = 6
"""Spellings of one name."""
TIMEOUT_S: Final = 20

Voice = Sequence[str]
"""A command line that speaks `{text}` into the sound file `{file}`."""


def voices(language: str) -> tuple[Voice, ...]:
    """The synthesisers that this system has for a language."""
    found: list[Voice] = []
    if sys.platform == "darwin" and shutil.which("say"):
        form = "--data-format=LEI16@16000"
        found += [("say", "-o", "{file}", form, "-r", rate, "{text}") for rate in ("175", "130")]
    if shutil.which("flite") and language.startswith("en"):
        found += [
            ("flite", "-voice", voice, "-t", "{text}", "-o", "{file}")
            for voice in ("slt", "rms", "awb", "kal")
        ]
    if shutil.which("espeak-ng"):
        kinds = ("en-us", "en-gb") if language.startswith("en") else (language,)
        found += [("espeak-ng", "-v", kind, "-w", "{file}", "{text}") for kind in kinds]
    return tuple(found)


def speak(text: str, voice: Voice) -> NDArray[np.float32]:
    """Speak a text: (n,) float32 at 16 kHz. Raises VocabularyError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        command = [part.format(text=text, file=file) for part in voice]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
            return load_audio(file)
        except (OSError, subprocess.SubprocessError, AudioFileError) as error:
            raise VocabularyError(
                "vocabulary.no_voice",
                f"{voice[0]} cannot speak: {type(error).__name__}",
                remedy="try it by hand, or name another with --voice",
            ) from None


def spellings_of(
    name: str,
    read: Callable[[NDArray[np.float32]], str],
    *,
    language: str,
    speakers: Iterable[Voice],
    taken: frozenset[tuple[str, ...]],
) -> tuple[str, ...]:
    """The ways in which a recogniser writes a name, the commonest first; none that is another's.

    `taken`: folded names of the home.
    """
    counts: dict[str, int] = {}
    for voice in speakers:
        for carrier in CARRIERS.get(language.split("-", maxsplit=1)[0], ("{}",)):
            text = read(speak(carrier.format(name), voice))
            for heard in _between(text, carrier):
                folded = fold(heard)
                near = sound_distance(heard, name, language) <= FARTHEST
                if folded and folded != fold(name) and folded not in taken and near:
                    counts[heard] = counts.get(heard, 0) + 1
    return tuple(sorted(counts, key=lambda heard: -counts[heard])[:MOST])


def _between(text: str, carrier: str) -> Iterator[str]:
    """The part of a reading where the name is, with the case that it was read in."""
    words = text.replace("%", " percent").split()
    before, behind = (fold(part) for part in carrier.split("{}"))
    first, end = len(before), len(words) - len(behind)
    starts = tuple(word for w in words[:first] for word in fold(w)) == before
    part = words[first:end]
    if starts and 0 < len(part) <= MAX_NAME_WORDS:
        yield " ".join(part).strip(" .,?!;:")
