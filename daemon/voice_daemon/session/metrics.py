"""Session metrics: the open session, one summary for each that ended, totals, and compute cost.

The one place that counts events. `SessionMetrics` reads neither the clock nor the text.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import (
    SAMPLE_RATE,
    EndReason,
    Event,
    Hypothesis,
    SessionEnded,
    SessionStarted,
    StoodDown,
    Timing,
    Transcript,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    samples_to_ms,
)
from voice_daemon.session.interfaces import Transcriber


@dataclass(frozen=True, slots=True)
class ComputeCost:
    """The recogniser's share of one session."""

    compute_s: float = 0.0
    audio_s: float = 0.0
    steps: int = 0

    @property
    def rtf(self) -> float | None:
        """Compute time by audio time; None when there was no audio."""
        return self.compute_s / self.audio_s if self.audio_s else None


class TimedTranscriber:
    """A `Transcriber` that times another one."""

    def __init__(
        self, transcriber: Transcriber, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._transcriber = transcriber
        self._clock = clock
        self._compute_s = 0.0
        self._samples = 0
        self._steps = 0

    def take(self) -> ComputeCost:
        """Give the cost since the last call, and start over."""
        cost = ComputeCost(self._compute_s, self._samples / SAMPLE_RATE, self._steps)
        self._compute_s, self._samples, self._steps = 0.0, 0, 0
        return cost

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance."""
        with self._timing():
            self._transcriber.start(wake_phrase=wake_phrase)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples."""
        self._samples += len(samples)
        with self._timing():
            self._transcriber.feed(samples)

    def step(self) -> Hypothesis:
        """Run one streaming step."""
        self._steps += 1
        with self._timing():
            return self._transcriber.step()

    def finish(self, *, within_s: float) -> Transcript:
        """Read all that was fed."""
        with self._timing():
            return self._transcriber.finish(within_s=within_s)

    def phrase_logprob(self, phrase: str) -> float:
        """Look for a phrase in what was fed."""
        with self._timing():
            return self._transcriber.phrase_logprob(phrase)

    def correcting(self, transcript: Transcript) -> Generator[None, None, Transcript]:
        """Look for the home's sentence, in steps."""
        steps = self._transcriber.correcting(transcript)
        while True:
            with self._timing():
                try:
                    next(steps)
                except StopIteration as end:
                    found: Transcript = end.value
                    return found
            yield

    def reset(self) -> None:
        """Forget the utterance."""
        with self._timing():
            self._transcriber.reset()

    @contextmanager
    def _timing(self) -> Iterator[None]:
        started_s = self._clock()
        try:
            yield
        finally:
            self._compute_s += self._clock() - started_s


RTF_WINDOW = 100
"""Sessions that the 95th percentile of the real-time factor is taken over."""
FAILURES = frozenset({EndReason.OVERLOAD, EndReason.MIC_LOST, EndReason.ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One session, for one log line."""

    session_id: str
    wake_word: str | None
    started_at: int
    score: float | None = None
    reason: EndReason | None = None
    finals: int = 0
    partials: int = 0
    max_lag_ms: int = 0
    session_ms: int = 0
    speech_ms: int | None = None
    timing: Timing | None = None
    cost: ComputeCost | None = None

    def as_fields(self) -> dict[str, Any]:
        """Give the keys and values of the log line; unknown ones are left out."""
        values: dict[str, Any] = {
            "session_id": self.session_id,
            "reason": str(self.reason),
            "wake_word": self.wake_word,
            "score": None if self.score is None else round(self.score, 3),
            "finals": self.finals,
            "partials": self.partials,
            "session_ms": self.session_ms,
            "speech_ms": self.speech_ms,
            "max_lag_ms": self.max_lag_ms,
        }
        if self.timing is not None:
            values["first_draft_ms"] = self.timing.first_draft_ms
            values["first_committed_ms"] = self.timing.first_committed_ms
            values["finalize_ms"] = self.timing.finalize_ms
        if self.cost is not None and self.cost.rtf is not None:
            values["steps"] = self.cost.steps
            values["compute_ms"] = round(self.cost.compute_s * 1000)
            values["audio_ms"] = round(self.cost.audio_s * 1000)
            values["rtf"] = round(self.cost.rtf, 3)
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the start."""

    wakes: int = 0
    stood_down: int = 0
    """Wake words that were left to another device."""
    sessions: int = 0
    finals: int = 0
    no_speech: int = 0
    failed: int = 0
    last_lag_ms: int = 0
    last_score: float | None = None
    last_end_reason: EndReason | None = None
    rtf_p95: float | None = None


class SessionMetrics:
    """Reads every event, in order."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._open: Summary | None = None
        self._scores: dict[str, float] = {}
        self._rtfs: deque[float] = deque(maxlen=RTF_WINDOW)

    @property
    def open_session_id(self) -> str | None:
        """The session that has started and not ended."""
        return self._open.session_id if self._open else None

    @property
    def open_started_at(self) -> int:
        """The sample at which the open session started; 0 when there is none."""
        return self._open.started_at if self._open else 0

    def read(self, event: Event) -> None:
        """Take one event into account. An ended session is closed by `close`."""
        match event:
            case WakeDetected():
                # Of all wake words only the newest can still open a session.
                self._scores = {event.session_id: event.score}
                self.totals = replace(
                    self.totals, wakes=self.totals.wakes + 1, last_score=event.score
                )
            case SessionStarted():
                self._open = Summary(
                    session_id=event.session_id,
                    wake_word=event.wake_word,
                    started_at=event.at_sample,
                    score=self._scores.get(event.session_id),
                )
                self.totals = replace(self.totals, sessions=self.totals.sessions + 1)
            case StoodDown():
                self.totals = replace(self.totals, stood_down=self.totals.stood_down + 1)
            case TranscriptPartial() if self._open:
                self._open = replace(
                    self._open,
                    partials=self._open.partials + 1,
                    max_lag_ms=max(self._open.max_lag_ms, event.lag_ms),
                )
                self.totals = replace(self.totals, last_lag_ms=event.lag_ms)
            case TranscriptFinal() if self._open:
                self._open = replace(self._open, speech_ms=event.duration_ms, timing=event.timing)
            case _:
                pass

    def close(self, ended: SessionEnded, cost: ComputeCost) -> Summary | None:
        """Close the open session and give its summary; None when `ended` is not about it."""
        if self._open is None or self._open.session_id != ended.session_id:
            return None
        summary = replace(
            self._open,
            reason=ended.reason,
            finals=ended.finals,
            session_ms=samples_to_ms(ended.at_sample - self._open.started_at),
            cost=cost,
        )
        self._open = None
        if cost.rtf is not None:
            self._rtfs.append(cost.rtf)
        self.totals = replace(
            self.totals,
            finals=self.totals.finals + ended.finals,
            no_speech=self.totals.no_speech + (ended.reason is EndReason.NO_SPEECH),
            failed=self.totals.failed + (ended.reason in FAILURES),
            last_end_reason=ended.reason,
            rtf_p95=_percentile_95(self._rtfs),
        )
        return summary


def _percentile_95(values: deque[float]) -> float | None:
    """Give the smallest value that 95 % of `values` do not exceed; None when there are none."""
    if not values:
        return None
    # The nearest rank, ceil(0.95 n), in whole numbers: a float may land beside it.
    return sorted(values)[(95 * len(values) + 99) // 100 - 1]
