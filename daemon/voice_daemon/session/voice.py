"""The voice in a session's audio: what the detector hears of it, and what the recogniser gets."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.level import dbfs, power
from voice_daemon.audio.resample import HighPass
from voice_daemon.audio.ring import RingBuffer
from voice_daemon.endpoint.speaker_level import Foreground, SpeakerLevel
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import ms_to_samples
from voice_daemon.session.interfaces import Transcriber, transcribing

FAINT_DBFS: Final = -55.0
"""A wake word fainter than this is made louder for the voice detector, which was trained on speech
near a microphone: from about here on down it is late for the first words, then deaf."""
TARGET_DBFS: Final = -28.0
MOST_GAIN_DB: Final = 40.0
WORD_END_MS: Final = 100
"""Audio after the speaker's last loud frame that is his in any case."""
WORD_ONSET_MS: Final = 250
"""Audio before his next loud frame that is read with it: a soft first sound."""
_INT16: Final = np.iinfo(np.int16)
_SMOOTHED_FRAMES: Final = 3


class VoiceInput:
    """Feeds a voice detector with a session's audio, what was heard before the session first."""

    def __init__(self, vad: VoiceActivityDetector) -> None:
        vad.reset()
        self._vad = vad
        self._high_pass = HighPass()
        self._gain_db = 0.0
        self._pending = np.zeros(0)

    @property
    def is_faint(self) -> bool:
        """True where the wake word was so faint that the voice is made louder."""
        return self._gain_db > 0

    def feed_history(
        self, samples: NDArray[np.int16], *, after_wake: bool
    ) -> Iterator[tuple[float, float]]:
        """Take the (n,) samples up to the session that its wake word may be in."""
        filtered = self._high_pass.feed(samples)
        if after_wake:
            self._gain_db = gain_for(self._peak_dbfs(filtered))
        return self._frames(samples, filtered)

    def feed(self, samples: NDArray[np.int16]) -> Iterator[tuple[float, float]]:
        """Take the next (n,) samples; give (probability, power) of each frame completed."""
        return self._frames(samples, self._high_pass.feed(samples))

    def _frames(
        self, samples: NDArray[np.int16], filtered: NDArray[np.float64]
    ) -> Iterator[tuple[float, float]]:
        if self._gain_db:
            louder = np.rint(filtered * 10 ** (self._gain_db / 20))
            samples = np.clip(louder, _INT16.min, _INT16.max).astype(np.int16)
        size = self._vad.frame_samples
        self._pending = np.concatenate((self._pending, filtered))
        for probability in self._vad.feed(samples):
            frame, self._pending = self._pending[:size], self._pending[size:]
            yield probability, power(frame)

    def _peak_dbfs(self, filtered: NDArray[np.float64]) -> float:
        """Return the level of the loudest 0.1 s."""
        size = _SMOOTHED_FRAMES * self._vad.frame_samples
        pieces = [filtered[at : at + size] for at in range(0, len(filtered), size)]
        return dbfs(max(map(power, pieces), default=0.0))


class SpeakerFeed:
    """Feeds a recogniser with the speaker's audio, and with silence for a voice behind him.

    Soft audio is held back until it is clear whose it is. Of somebody else's, the newest part
    stays held back: the speaker's next word may begin softly.
    """

    def __init__(
        self, speaker: SpeakerLevel, ring: RingBuffer, transcriber: Transcriber, *, heard_to: int
    ) -> None:
        """`heard_to`: end of the audio in the ring."""
        self._speaker = speaker
        self._ring = ring
        self._transcriber = transcriber
        self._foreground = Foreground.SILENCE
        self._muffled = False
        self._loud_to = self._fed_to = heard_to

    def follow(self, probability: float, power: float, *, waiting: bool, heard_to: int) -> int:
        """Take the next frame; return how much of the newest audio is a voice behind the speaker.

        In samples; 0 where there is none, or that is not decided yet. `waiting`: the command has
        not begun.
        """
        self._foreground = self._speaker.feed(probability, power, waiting=waiting)
        if self._foreground is Foreground.SPEAKER:
            self._loud_to = heard_to
            self._muffled = False
        elif self._foreground is Foreground.BEHIND:
            self._muffled = True
            return ms_to_samples(max(0.0, self._speaker.since_loud_ms - WORD_END_MS))
        return 0

    def begin(self) -> None:
        """Let the command begin: its own level counts."""
        self._speaker.begin()

    def start(self, fed_to: int) -> None:
        """Take note that the recogniser was started, and has all up to a sample."""
        self._fed_to = fed_to

    def feed(self, heard_to: int) -> None:
        """Feed what was heard since the last time."""
        if self._foreground is not Foreground.FADING and not self._muffled:
            self._feed_audio(heard_to)
            return
        self._feed_audio(min(heard_to, self._loud_to + ms_to_samples(WORD_END_MS)))
        n_samples = heard_to - ms_to_samples(WORD_ONSET_MS) - self._fed_to
        if self._muffled and n_samples > 0:
            self._fed_to += n_samples
            with transcribing():
                self._transcriber.feed(np.zeros(n_samples, np.int16))

    def _feed_audio(self, to_sample: int) -> None:
        if to_sample > self._fed_to:
            samples = self._ring.read(self._fed_to, to_sample)
            self._fed_to = to_sample
            with transcribing():
                self._transcriber.feed(samples)


def gain_for(peak_dbfs: float) -> float:
    """Return the gain in dB for a voice detector that is to hear a wake word of this level."""
    if peak_dbfs >= FAINT_DBFS or math.isinf(peak_dbfs):
        return 0.0
    return min(MOST_GAIN_DB, TARGET_DBFS - peak_dbfs)
