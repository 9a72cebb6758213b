"""The transcript builder numbers a session's partials, guards them, and makes its final.

Owns the promises to subscribers (`seq` without holes, text that only grows, at most one
final) and the latencies.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Final

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

ALIKE: Final = 0.75
"""Shared letters over all letters of a wake phrase and of what a recogniser wrote for it."""
_ENDS = re.compile(r"[.!?]")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def after_last_phrase(text: str, phrase: str) -> str | None:
    """Return what follows the last `phrase` in `text`; None where it is not there.

    The phrase may be written not quite as it is, and without its first word. One of a single
    word is found at the beginning, and where it is set apart and something follows: "turn on the
    computer" is a command.
    """
    wanted = [match.group().casefold() for match in _WORD.finditer(phrase)]
    said = list(_WORD.finditer(text))
    if not wanted:
        return None
    for first in reversed(range(len(said))):
        n_likely = [len(wanted), len(wanted) + 1, max(1, len(wanted) - 1)]
        if len(wanted) == 1 and first:
            n_likely = [1] if _is_set_apart(text, said, first) else []
        for n_words in n_likely:
            heard = said[first : first + n_words]
            written = "".join(match.group().casefold() for match in heard)
            if SequenceMatcher(None, written, "".join(wanted)).ratio() >= ALIKE:
                rest = _WORD.search(text, heard[-1].end())
                return text[rest.start() :] if rest else ""
    return None


def _is_set_apart(text: str, said: list[re.Match[str]], at: int) -> bool:
    """Tell whether a word begins a sentence, or stands between commas, and is not the last."""
    if at + 1 == len(said):
        return False
    before = text[said[at - 1].end() : said[at].start()]
    behind = text[said[at].end() : said[at + 1].start()]
    return bool(_ENDS.search(before)) or ("," in before and not behind.isspace())


def before_phrase_start(draft: str, phrase: str) -> str:
    """Return a draft without the first words of `phrase` at its end: the rest of it may follow."""
    wanted = [match.group().casefold() for match in _WORD.finditer(phrase)]
    said = list(_WORD.finditer(draft))
    for n_words in range(min(len(wanted) - 1, len(said)), 0, -1):
        ending = said[len(said) - n_words :]
        if [match.group().casefold() for match in ending] == wanted[:n_words]:
            return draft[: ending[0].start()].rstrip()
    return draft


def behind_phrase(hypothesis: Hypothesis, phrase: str) -> Hypothesis:
    """Cut a hypothesis to what follows `phrase`, where that was said again."""
    rest = after_last_phrase(hypothesis.text + hypothesis.draft, phrase)
    if rest is None:
        return replace(hypothesis, draft=before_phrase_start(hypothesis.draft, phrase))
    n_draft = min(len(rest), len(hypothesis.draft))
    text, draft = rest[: len(rest) - n_draft], rest[len(rest) - n_draft :]
    return replace(hypothesis, text=text, draft=draft)


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
        self._superseded = False

    def restart(self, *, audio_from: int, speech_from: int) -> None:
        """Go on with a command that replaces the one so far.

        Text that was published as committed stays where it is, as it may only grow: in partials
        the new command is a draft behind it. The final is the new command alone.
        """
        self._audio_from, self._speech_from = audio_from, speech_from
        self._first_draft_ms = self._first_committed_ms = None
        self._superseded = bool(self._text)

    @property
    def has_text(self) -> bool:
        """True once text was published."""
        return bool(self._text or self._draft)

    @property
    def has_committed(self) -> bool:
        """True once text was published that stays."""
        return bool(self._text)

    def partial(
        self, hypothesis: Hypothesis, *, heard_to: int, now: int
    ) -> TranscriptPartial | None:
        """Return the partial of a step, or None when nothing changed.

        `heard_to`: end of the audio fed; `now`: the live clock after the step. A hypothesis
        that takes back committed text is cut to what was published: see `retracts`.
        """
        if self._superseded:
            behind = f" {hypothesis.text}{hypothesis.draft}".rstrip()
            hypothesis = replace(hypothesis, text=self._text, draft=behind)
        elif self.retracts(hypothesis):
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
