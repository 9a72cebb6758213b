"""The transcript builder numbers a session's partials, guards them, and makes its final.

Owns the promises to subscribers (`seq` without holes, text that only grows, at most one
final) and the latencies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from voice_daemon.events import (
    SAMPLE_RATE,
    EndReason,
    Hypothesis,
    Timing,
    Transcript,
    TranscriptFinal,
    TranscriptPartial,
    Word,
    samples_to_ms,
)


class TranscriptBuilder:
    """The speech of one session; samples are absolute."""

    def __init__(
        self, session_id: str, *, wake_word: str | None, audio_from: int, speech_from: int
    ) -> None:
        """`audio_from`: the first sample that the recogniser gets; `speech_from`: of the speech."""
        self._session_id = session_id
        self._wake_word = wake_word
        self._audio_from = audio_from
        self._speech_from = speech_from
        self._seq = 0
        self._text = ""
        self._draft = ""
        self._first_draft_ms: int | None = None
        self._first_committed_ms: int | None = None

    @property
    def has_text(self) -> bool:
        """True once text was published."""
        return bool(self._text or self._draft)

    def partial(
        self, hypothesis: Hypothesis, *, heard_to: int, now: int
    ) -> TranscriptPartial | None:
        """Return the partial of a step, or None when nothing changed.

        `heard_to`: end of the audio fed; `now`: the live clock after the step. A hypothesis
        that takes back committed text is cut to what was published: see `retracts`.
        """
        if self.retracts(hypothesis):
            hypothesis = replace(hypothesis, text=self._text, draft="")
        if (hypothesis.text, hypothesis.draft) == (self._text, self._draft):
            return None
        self._text, self._draft = hypothesis.text, hypothesis.draft
        since_speech_ms = _ms_between(self._speech_from, now)
        if self._first_draft_ms is None:
            self._first_draft_ms = since_speech_ms
        if self._text and self._first_committed_ms is None:
            self._first_committed_ms = since_speech_ms
        self._seq += 1
        return TranscriptPartial(
            session_id=self._session_id,
            seq=self._seq,
            text=self._text,
            draft=self._draft,
            language=hypothesis.language,
            audio_ms=_ms_between(self._audio_from, heard_to),
            lag_ms=_ms_between(heard_to, now),
        )

    def retracts(self, hypothesis: Hypothesis) -> bool:
        """Tell whether a hypothesis takes back text that was published as committed."""
        return not hypothesis.text.startswith(self._text)

    def final(
        self, transcript: Transcript, reason: EndReason, *, speech_to: int, now: int
    ) -> TranscriptFinal:
        """Return the final of a transcript with text; `speech_to`: the end of the speech."""
        self._seq += 1
        return TranscriptFinal(
            session_id=self._session_id,
            seq=self._seq,
            text=transcript.text,
            revised=transcript.revised or not transcript.text.startswith(self._text),
            language=transcript.language,
            end_reason=reason,
            duration_ms=_ms_between(self._speech_from, speech_to),
            wake_word=self._wake_word,
            confidence=transcript.confidence,
            no_speech_prob=transcript.no_speech_prob,
            timing=Timing(
                first_draft_ms=self._first_draft_ms,
                first_committed_ms=self._first_committed_ms,
                finalize_ms=_ms_between(speech_to, now),
            ),
            words=tuple(self._from_speech(transcript.words)),
            heard=transcript.heard,
            in_vocabulary=transcript.in_vocabulary,
        )

    def _from_speech(self, words: Iterable[Word]) -> Iterable[Word]:
        """Shift word times from the first sample fed to the start of speech, never before it."""
        lead_s = (self._speech_from - self._audio_from) / SAMPLE_RATE
        for word in words:
            yield replace(
                word, start_s=max(0.0, word.start_s - lead_s), end_s=max(0.0, word.end_s - lead_s)
            )


def _ms_between(first_sample: int, last_sample: int) -> int:
    """Milliseconds between two samples, 0 when they are the other way round."""
    return samples_to_ms(max(0, last_sample - first_sample))
