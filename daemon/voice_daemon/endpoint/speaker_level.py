"""The speaker's level tells his voice from a much fainter one behind him, as of a television.

A voice detector calls voice at any level voice. The level of a speaker is followed by its peaks;
what stays far below them for longer than a syllable is somebody else. Measured on commands and
read sentences, each alone and before other speech 10 to 30 dB fainter: docs/endpoint.md.
"""

import math
from collections import deque
from enum import Enum, auto
from typing import Final

COMMAND_MARGIN_DB: Final = 12.0
"""Voice this much fainter than the speaker's peaks is not his. No command of the measured ones
stays below that for as long as half a second and goes on."""
RETURN_MARGIN_DB: Final = 9.0
"""The same after `RETURN_MS` without him where others were heard before the wake word: words that
go on begin louder than a television's, whose loudest sounds come within 12 dB now and then."""
RETURN_MS: Final = 260
WAITING_MARGIN_DB: Final = 18.0
"""The same before the command has begun: a wake word may be called, and what follows spoken."""
ALONE_MARGIN_DB: Final = 30.0
"""The same where nobody was heard before the wake word: whoever follows it is its speaker."""
OTHERS_MS: Final = 200
"""Voice before the wake word, longer than this, is others' or may be."""
DECAY_DB_PER_S: Final = 1.0
"""The level falls while he speaks, so that one who drops his voice is followed. It does not fall
while another voice is heard, or that would be taken for his in the end."""
FADING_MS: Final = 320
"""A speaker's own soft sounds last no longer than this."""
_SMOOTHED_FRAMES: Final = 3
"""About 0.1 s: a click must not set the level."""


class Foreground(Enum):
    """The source of a frame of audio, by its level."""

    SILENCE = auto()
    """No voice."""
    SPEAKER = auto()
    FADING = auto()
    """Soft: the end of the speaker's word, or a voice behind him; not decided yet."""
    BEHIND = auto()
    """A voice behind the speaker."""


class SpeakerLevel:
    """Follows one session's speaker, a frame at a time."""

    def __init__(self, *, voice_on: float, voice_off: float, frame_ms: float) -> None:
        """`voice_on`, `voice_off`: probabilities at which voice begins and ends."""
        self._voice_on = voice_on
        self._voice_off = voice_off
        self._frame_ms = frame_ms
        self._decay_db = DECAY_DB_PER_S * frame_ms / 1000
        self._fading_frames = round(FADING_MS / frame_ms)
        self._return_frames = round(RETURN_MS / frame_ms)
        self._powers: deque[float] = deque(maxlen=_SMOOTHED_FRAMES)
        self._waiting_margin_db = WAITING_MARGIN_DB
        self._return_margin_db = COMMAND_MARGIN_DB
        self._level_db = -math.inf
        self._voiced = False
        self._frames_since_loud = 0

    @property
    def since_loud_ms(self) -> float:
        """Time since the end of the newest frame that is the speaker's."""
        return self._frames_since_loud * self._frame_ms

    def heard_before(self, voiced_ms: float) -> bool:
        """Take note of how much voice there was before the wake word; true for others' voices."""
        others = voiced_ms > OTHERS_MS
        if others:
            self._return_margin_db = RETURN_MARGIN_DB
        else:
            self._waiting_margin_db = ALONE_MARGIN_DB
        return others

    def begin(self) -> None:
        """Let the command begin: its own level counts, where that is not much below what was."""
        called_db = self._waiting_margin_db - COMMAND_MARGIN_DB
        self._level_db = max(self._smoothed_db(), self._level_db - called_db)

    def feed(self, probability: float, power: float, *, waiting: bool) -> Foreground:
        """Take the next frame: its voice probability, 0..1, and its power, 1.0 at full scale.

        `waiting`: the command has not begun.
        """
        self._powers.append(power)
        level_db = self._smoothed_db()
        # The endpointer's own hysteresis, so that both mean the same frames.
        self._voiced = probability >= (self._voice_off if self._voiced else self._voice_on)
        self._frames_since_loud += 1
        if not self._voiced:
            return Foreground.SILENCE
        if level_db >= self._level_db - self._margin_db(waiting=waiting):
            self._level_db = max(level_db, self._level_db - self._decay_db)
            self._frames_since_loud = 0
            return Foreground.SPEAKER
        if self._frames_since_loud <= self._fading_frames:
            return Foreground.FADING
        return Foreground.BEHIND

    def _margin_db(self, *, waiting: bool) -> float:
        if waiting:
            return self._waiting_margin_db
        returns = self._frames_since_loud > self._return_frames
        return self._return_margin_db if returns else COMMAND_MARGIN_DB

    def _smoothed_db(self) -> float:
        mean = sum(self._powers) / max(1, len(self._powers))
        return 10 * math.log10(mean) if mean > 0 else -math.inf
