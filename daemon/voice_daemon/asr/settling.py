"""Settling the older part of a long utterance, spread over the steps that come meanwhile.

The window is read once more, freely, as a final is; what lies before its best pause is done
with, and what lies behind moves to the start of a new window. Encoding and reading that at once
costs many times what a step costs, so it is done in turns. Knows nothing of commits or drafts
but the words that are to be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from voice_daemon.asr.commits import DraftWord, cut_point, leaves_out
from voice_daemon.asr.cooperative import Steps, grouped
from voice_daemon.asr.types import tokens_of

if TYPE_CHECKING:
    from voice_daemon.asr.incremental_encoder import AcousticContext
    from voice_daemon.asr.window import Reading, Window

ENCODING_TURNS = 4
"""Turns in which a window is encoded, whatever its model's layers are."""
CALLS_A_TURN = 6
"""Calls of the decoder in a turn."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A part that is done with, and what goes on."""

    words: tuple[DraftWord, ...]
    frame: int
    """Where the new window begins."""
    acoustic: AcousticContext
    """The new window's."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a window said while it was spoken."""

    spoken: tuple[int, ...]
    """Tokens of a phrase that the audio begins with and that is no part of the text."""
    committed: tuple[DraftWord, ...]
    draft: tuple[DraftWord, ...]

    @property
    def words(self) -> tuple[DraftWord, ...]:
        """All of them."""
        return (*self.committed, *self.draft)

    def or_instead(self, reading: Reading) -> Reading:
        """Take a free reading, unless it loops or jumps over a sentence that was streamed."""
        if self.committed and (reading.looped or leaves_out(reading.words, self.words)):
            return replace(reading, words=self.words)
        return reading


def settling(window: Window, streamed: Streamed, *, n_layers: int) -> Steps[Settled]:
    """Settle the older part of `window`, which goes on meanwhile; a step is a turn's work."""
    layers_a_turn = -(-n_layers // ENCODING_TURNS)
    first_frame = window.first_frame
    anew = yield from grouped(window.encoding_anew(), layers_a_turn)
    end_frame = first_frame + anew.n_frames
    yield
    reading = yield from grouped(
        window.reading(anew, streamed.spoken, guess=tokens_of(streamed.words)), CALLS_A_TURN
    )
    words = streamed.or_instead(reading).words
    n_words, frame = cut_point(words, first_frame=first_frame, end_frame=end_frame)
    yield
    acoustic = yield from grouped(window.moving(frame), layers_a_turn)
    return Settled(words[:n_words], frame, acoustic)
