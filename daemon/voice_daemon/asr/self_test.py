"""A self-test of the recogniser: a recording whose words are known, read on the device in use.

Some GPUs are known to compute wrongly with some kernels, and a recogniser that does writes
nonsense with great confidence. It also runs every path once at the sizes of real commands, so
that the first command is not the slow one.
"""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.transcriber import WhisperTranscriber
from voice_daemon.events import SAMPLE_RATE

WAKE_PHRASE: Final = "Hey Jarvis"
EXPECTED: Final = ("turn", "on", "the", "kitchen", "lights")
"""Words of the bundled recording after the wake phrase."""
_MAY_MISS: Final = 1
"""The smallest models mishear a word now and then; a device that computes wrongly gets none."""
_LANGUAGE: Final = "en"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The recogniser's text of the recording, judged by its words."""

    text: str

    @property
    def n_words(self) -> int:
        """Number of expected words that it read, in their order."""
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


def self_test(
    transcriber: WhisperTranscriber, samples: NDArray[np.int16], *, step_s: float = 0.5
) -> SelfTest:
    """Stream the bundled recording, (n,) at 16 kHz, as a session would, in steps of `step_s`.

    In English, whatever the transcriber is set to: the recording is. Leaves the transcriber as it
    was. Raises whatever the model raises.
    """
    reader = transcriber.another(language=_LANGUAGE)
    reader.start(wake_phrase=WAKE_PHRASE)
    n_step = max(1, round(step_s * SAMPLE_RATE))
    for first in range(0, len(samples), n_step):
        reader.feed(samples[first : first + n_step])
        reader.step()
    return SelfTest(reader.finish().text)
