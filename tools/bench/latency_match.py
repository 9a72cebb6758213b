"""Which message belongs to which spoken command, and how long it was waited for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tools.bench.text import words_of
from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.events import SAMPLE_RATE

NODE: Final = "latency"


@dataclass(frozen=True, slots=True)
class Spoken:
    """One wake word and the command behind it; seconds of the recording."""

    wake_clip: str
    command_clip: str
    gap_ms: float
    wake_end_s: float
    first_word_end_s: float
    speech_end_s: float
    offline: str
    """What the same model reads in the command alone."""


@dataclass(frozen=True, slots=True)
class Heard:
    """When its messages arrived, in seconds of the recording; None for what never did."""

    spoken: Spoken
    wake_s: float | None = None
    first_text_s: float | None = None
    first_committed_s: float | None = None
    final_s: float | None = None
    final: str = ""
    n_finals: int = 0

    @property
    def is_whole(self) -> bool:
        """True when the final has the words that the command alone is read as."""
        return words_of(self.final) == words_of(self.spoken.offline)

    def delays_s(self) -> dict[str, float | None]:
        """How long each was waited for."""
        spoken = self.spoken
        pairs = {
            "wake": (self.wake_s, spoken.wake_end_s),
            "first text": (self.first_text_s, spoken.first_word_end_s),
            "committed": (self.first_committed_s, spoken.first_word_end_s),
            "final": (self.final_s, spoken.speech_end_s),
        }
        return {name: None if at is None else at - of for name, (at, of) in pairs.items()}


def match(
    messages: Sequence[dict[str, Any]], spoken: Sequence[Spoken], *, began_s: float | None = None
) -> list[Heard]:
    """Say of each command which messages were its own: those from its wake word to the next.

    `began_s`: when the sound began; without it, when a file does.
    """
    told = [m for m in messages if "topic" in m and not m["retained"]]
    if began_s is None:
        states = (m for m in told if m["topic"].endswith("/state") and m["text"] == "idle")
        began_s = next(states)["at_s"] - BLOCK_SAMPLES / SAMPLE_RATE
    heard = []
    for n, said in enumerate(spoken):
        first_s = said.wake_end_s - 1
        last_s = spoken[n + 1].wake_end_s - 1 if n + 1 < len(spoken) else float("inf")
        own = [
            (m["at_s"] - began_s, m["topic"].split("/", 2)[2], m["text"])
            for m in told
            if first_s <= m["at_s"] - began_s < last_s
        ]
        heard.append(_heard(said, own))
    return heard


def _heard(said: Spoken, messages: Sequence[tuple[float, str, str]]) -> Heard:
    partials = [(at, json.loads(text)) for at, leaf, text in messages if leaf.endswith("/partial")]
    finals = [(at, json.loads(text)) for at, leaf, text in messages if leaf.endswith("/final")]
    shown = [at for at, _ in (*partials, *finals)]
    committed = [at for at, body in (*partials, *finals) if body["text"]]
    return Heard(
        said,
        wake_s=next((at for at, leaf, _ in messages if leaf == "wake"), None),
        first_text_s=min(shown, default=None),
        first_committed_s=min(committed, default=None),
        final_s=finals[0][0] if finals else None,
        final=finals[0][1]["text"] if finals else "",
        n_finals=len(finals),
    )
