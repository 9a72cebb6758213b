"""The demo's report: each MQTT message as a row with its latency, and a verdict at the end."""

import json
import re
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of the clip and when it is spoken, in seconds of the clip."""

    text: str
    start_s: float
    end_s: float


CLIP_WORDS: Final = (
    SpokenWord("Hey", 0.665, 0.915),
    SpokenWord("Jarvis", 0.915, 1.555),
    SpokenWord("turn", 1.695, 1.955),
    SpokenWord("on", 1.955, 2.140),
    SpokenWord("the", 2.140, 2.200),
    SpokenWord("kitchen", 2.200, 2.600),
    SpokenWord("lights", 2.600, 3.035),
)
"""As the speech synthesiser timed them (scripts/time-demo-words)."""
N_WAKE_WORDS: Final = 2


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as a subscriber got it."""

    topic: str
    """Below `<base>/<node>/`."""
    payload: object
    """Decoded JSON, or the bare word."""
    clip_s: float
    """Second of the clip that was playing when it arrived."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the demo."""

    clip_s: float
    topic: str
    text: str
    """Committed text, which cannot change any more."""
    draft: str = ""
    """Draft text, which still can."""
    latency: str = ""
    """For people: how long after what."""


@dataclass(frozen=True, slots=True)
class WordLatency:
    """One word of the command: when it was spoken, and when subscribers had it."""

    text: str
    spoken_s: float
    """Its end, in seconds of the clip."""
    shown_s: float | None
    """First in a partial's text or draft, or in the final."""
    committed_s: float | None
    """First in a partial's text, or in the final."""


@dataclass(frozen=True, slots=True)
class LatencyVerdict:
    """The demo's outcome."""

    ok: bool
    expected: str
    final: str | None
    wake_latency_s: float | None
    """From the end of the wake word to the `wake` message."""
    final_latency_s: float | None
    """From the end of the last word to the final."""
    n_partials: int
    words: tuple[WordLatency, ...]


@dataclass(slots=True)
class Report:
    """Collects the arrivals of one replay of the clip."""

    words: tuple[SpokenWord, ...] = CLIP_WORDS
    n_wake_words: int = N_WAKE_WORDS
    _wake_s: float | None = None
    _final: tuple[str, float] | None = None
    _partials: list[tuple[str, str, float]] = field(default_factory=list)

    def add(self, arrival: ReceivedMessage) -> Row:
        """Take note of a message and say how to show it."""
        message = arrival.payload if isinstance(arrival.payload, dict) else {}
        draft = latency = ""
        match arrival.topic:
            case "wake":
                self._wake_s = arrival.clip_s
                text = f"{message['wake_word']}, score {message['score']:.2f}"
                latency = _after(self._wake_latency_s(), "its end")
            case "transcript/partial":
                self._partials.append((message["text"], message["draft"], arrival.clip_s))
                text, draft = message["text"], message["draft"]
                latency = f"{message['lag_ms'] / 1000:.2f} s behind the voice"
            case "vocabulary/state":
                text = f"{message['names']} names"
            case "transcript/final":
                self._final = (message["text"], arrival.clip_s)
                text = message["text"]
                latency = _after(self._final_latency_s(), "the last word")
            case "session":
                reason = f": {message['reason']}" if "reason" in message else ""
                text = f"{message['event_type']}{reason}"
            case "info":
                text = f"{message['model']}, {message['input_device']}"
            case "health":
                text = f"{message['memory_mb']} MB, {message['threads']} threads"
            case "error":
                text = f"{message['code']}: {message['message']}"
            case _:
                text = str(arrival.payload)
        return Row(arrival.clip_s, arrival.topic, text, draft, latency)

    def verdict(self) -> LatencyVerdict:
        """Compare what arrived with what was spoken."""
        expected = " ".join(word.text for word in self._command)
        final = self._final[0] if self._final else None
        return LatencyVerdict(
            ok=final is not None and plain_words(final) == plain_words(expected),
            expected=expected,
            final=final,
            wake_latency_s=self._wake_latency_s(),
            final_latency_s=self._final_latency_s(),
            n_partials=len(self._partials),
            words=tuple(self._latency(n) for n in range(len(self._command))),
        )

    @property
    def _command(self) -> tuple[SpokenWord, ...]:
        return self.words[self.n_wake_words :]

    def _wake_latency_s(self) -> float | None:
        spoken_s = self.words[self.n_wake_words - 1].end_s
        return None if self._wake_s is None else round(self._wake_s - spoken_s, 3)

    def _final_latency_s(self) -> float | None:
        return None if self._final is None else round(self._final[1] - self.words[-1].end_s, 3)

    def _latency(self, n: int) -> WordLatency:
        """Find when the first n + 1 words of the command had arrived, correctly read."""
        wanted = plain_words(" ".join(word.text for word in self._command[: n + 1]))
        shown = [(text + draft, at_s) for text, draft, at_s in self._partials]
        committed = [(text, at_s) for text, _, at_s in self._partials]
        final = [self._final] if self._final else []
        return WordLatency(
            text=self._command[n].text,
            spoken_s=self._command[n].end_s,
            shown_s=_first_with(wanted, shown + final),
            committed_s=_first_with(wanted, committed + final),
        )


def decode_payload(payload: bytes) -> object:
    """Read a payload: JSON where it is an object, else the bare word."""
    decoded: object = json.loads(payload) if payload.startswith(b"{") else payload.decode()
    return decoded


def plain_words(text: str) -> list[str]:
    """Give the words without case and punctuation."""
    return re.findall(r"[\w']+", text.casefold())


def _first_with(wanted: list[str], texts: list[tuple[str, float]]) -> float | None:
    """Give the time of the first text that begins with the wanted words."""
    return next((at_s for text, at_s in texts if plain_words(text)[: len(wanted)] == wanted), None)


def _after(latency_s: float | None, what: str) -> str:
    if latency_s is None:
        return ""
    return f"{abs(latency_s):.2f} s {'after' if latency_s >= 0 else 'before'} {what}"


@dataclass(frozen=True, slots=True)
class HomeComparison:
    """The same words, heard twice."""

    spoken: str
    name: str
    """What the home has."""
    heard: str
    """Without names."""
    understood: str
    """With them."""
