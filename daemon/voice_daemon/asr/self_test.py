"""A self-test of the recogniser: a recording whose words are known, read on the device in use.

Some GPUs are known to compute wrongly with some kernels, and a recogniser that does writes
nonsense with great confidence. It also runs every path once at the sizes of real commands, so
that the first command is not the slow one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.transcriber import WhisperTranscriber
from voice_daemon.events import SAMPLE_RATE

WAKE_PHRASE: Final = "Hey Jarvis"
EXPECTED: Final = ("turn", "on", "the", "kitchen", "lights")
"""What the bundled recording says after the wake phrase."""
_MAY_MISS: Final = 1
"""The smallest models mishear a word now and then; a device that computes wrongly gets none."""
_STEP_SAMPLES: Final = SAMPLE_RATE // 2
_LANGUAGE: Final = "en"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the recogniser read of the recording."""

    text: str

    @property
    def n_words(self) -> int:
        """How many of the expected words it read, in their order."""
        read = re.findall(r"\w+", self.text.casefold())
        blocks = SequenceMatcher(None, EXPECTED, read, autojunk=False).get_matching_blocks()
        return sum(block.size for block in blocks)

    @property
    def passed(self) -> bool:
        """True when it can be trusted with a command."""
        return self.n_words >= len(EXPECTED) - _MAY_MISS

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.n_words} of {len(EXPECTED)} words of the test recording: {self.text!r}"


def self_testing(transcriber: WhisperTranscriber, samples: NDArray[np.int16]) -> Steps[SelfTest]:
    """Stream the bundled recording, (n,) at 16 kHz, as a session would, in steps.

    In English, whatever the transcriber is set to: the recording is. Leaves the transcriber as it
    was. Raises whatever the model raises.
    """
    reader = transcriber.another(language=_LANGUAGE)
    reader.start(wake_phrase=WAKE_PHRASE)
    for first in range(0, len(samples), _STEP_SAMPLES):
        reader.feed(samples[first : first + _STEP_SAMPLES])
        yield
        reader.step()
    yield
    return SelfTest(reader.finish().text)
