"""LocalAgreement-2: commit what two hypotheses running agree on.

The policy of Macháček, Dabre and Bojar, "Turning Whisper into Real-Time Transcription System"
(2023, arXiv 2307.14743), from its description: the audio since the last cut is read again at
every step; the longest common beginning of two hypotheses running is committed; words that were
committed are left out by their times, and by their text where the times have moved. Knows
nothing of recognisers or audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLACK_S = 0.1
"""A word that begins this much before the end of the committed ones may still be new."""
JOINT_S = 1.0
"""Words beginning this close to the end of the committed ones may be those, read again."""
JOINT_WORDS = 5
"""The longest repetition that is looked for there."""
PROMPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word with its leading space, in seconds of the utterance."""

    text: str
    start_s: float
    end_s: float


class LocalAgreement:
    """The words of one utterance: `read` a hypothesis, look at `committed` and `open`."""

    def __init__(self) -> None:
        self.committed: list[SpokenWord] = []
        self.open: tuple[SpokenWord, ...] = ()
        """The newest hypothesis past the committed words."""

    @property
    def committed_to_s(self) -> float:
        """The end of the last committed word."""
        return self.committed[-1].end_s if self.committed else 0.0

    def read(self, hypothesis: Sequence[SpokenWord]) -> None:
        """Take the next hypothesis and commit what it and the one before agree on."""
        new = self._new(hypothesis)
        agreed = 0
        for before, after in zip(self.open, new, strict=False):
            if before.text != after.text:
                break
            agreed += 1
        self.committed += new[:agreed]
        self.open = new[agreed:]

    def close(self) -> None:
        """At the end of the utterance: commit what is open."""
        self.committed += self.open
        self.open = ()

    def prompt(self, *, before_s: float) -> str:
        """The end of the committed text that was spoken before `before_s`."""
        earlier = [word.text for word in self.committed if word.end_s <= before_s]
        return "".join(earlier)[-PROMPT_CHARACTERS:]

    def cut_s(self, segment_ends_s: Sequence[float]) -> float | None:
        """Where the audio may be cut: the last end of a complete segment that is committed.

        The newest segment is never complete.
        """
        complete = [end_s for end_s in segment_ends_s[:-1] if end_s <= self.committed_to_s]
        return complete[-1] if complete else None

    def _new(self, hypothesis: Sequence[SpokenWord]) -> tuple[SpokenWord, ...]:
        new = tuple(w for w in hypothesis if w.start_s > self.committed_to_s - SLACK_S)
        if not self.committed or not new or new[0].start_s - self.committed_to_s >= JOINT_S:
            return new
        for length in range(min(JOINT_WORDS, len(new), len(self.committed)), 0, -1):
            tail = [word.text for word in self.committed[-length:]]
            if tail == [word.text for word in new[:length]]:
                return new[length:]
        return new
