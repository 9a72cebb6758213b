"""Log records as text for people: a line each, or one session as a story.

Times are local ones, and in a story they count from its beginning.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from voice_daemon._lib.terminal import BOLD, DIM, printable
from voice_daemon.logs.records import UNREADABLE, Record

Paint = Callable[[str, str], str]
"""Text and ANSI colour code -> text, coloured or not."""

MASKED: Final = "***"
_COLOURS: Final = {"debug": "2", "warning": "33", "error": "31", "critical": "31"}
_LEVEL_WIDTH: Final = 8
_NAME_WIDTH: Final = 10
_HIDDEN_WORDS: Final = "words are not logged: privacy.log_transcripts"


def record_lines(record: Record, paint: Paint) -> Iterator[str]:
    """Write a record; an exception's traceback follows it, indented."""
    if record.event == UNREADABLE:
        line = printable(str(record.fields["line"]))
        yield paint(f"{'?':23}  {'?':{_LEVEL_WIDTH}}{line}", DIM)
        return
    fields = {k: v for k, v in record.fields.items() if k != "exception" and v is not None}
    level = printable(record.level)
    level = paint(level.ljust(_LEVEL_WIDTH), _COLOURS.get(record.level, "0"))
    at = paint(_local(record.at), DIM)
    yield f"{at}  {level}{paint(printable(record.event), BOLD)}{_pairs(fields, lead='  ')}"
    exception = str(record.fields.get("exception", ""))
    yield from (f"    {printable(line)}" for line in exception.splitlines())


class SessionTimeline:
    """Tells one session, record by record; times count from its first."""

    def __init__(self, session_id: str, paint: Paint) -> None:
        self._session_id = session_id
        self._paint = paint
        self._start: datetime | None = None
        self._begun = False

    def lines(self, record: Record) -> Iterator[str]:
        """Write the next record."""
        paint = self._paint
        self._start = self._start or record.at
        if not self._begun:
            self._begun = True
            yield paint(f"session {self._session_id}  {_local(self._start)}", BOLD)
        after = (
            ""
            if record.at is None or self._start is None
            else f"{(record.at - self._start).total_seconds():+.2f} s"
        )
        name, text = map(printable, _told(record))
        colour = _COLOURS.get(record.level, "0") if record.level != "debug" else "0"
        yield f"  {paint(after.rjust(9), DIM)}  {paint(name.ljust(_NAME_WIDTH), colour)}{text}"
        exception = str(record.fields.get("exception", ""))
        yield from (f"{'':13}{printable(line)}" for line in exception.splitlines())


def _told(record: Record) -> tuple[str, str]:
    """Say a record in a name and a sentence."""
    try:
        if record.event in _SENTENCES:
            name, sentence = _SENTENCES[record.event]
            return name, sentence.format(**record.fields)
        if record.event in _TELLERS:
            return _TELLERS[record.event](record.fields)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        pass  # of another version: shown as it is
    if record.event == UNREADABLE:
        return "?", str(record.fields["line"])
    fields = {k: v for k, v in record.fields.items() if k not in {"session_id", "exception"}}
    return record.level if record.level != "info" else "", record.event + _pairs(fields, lead="  ")


def _started(fields: Mapping[str, Any]) -> tuple[str, str]:
    by = "the wake word" if fields["wake_word"] else "a command (listen)"
    return "session", f"opened by {by}"


def _speech_started(fields: Mapping[str, Any]) -> tuple[str, str]:
    return "speech", f"begins {_seconds(fields['session_ms'])} into the session's audio"


def _partial(fields: Mapping[str, Any]) -> tuple[str, str]:
    text, draft = fields["text"], fields["draft"]
    said = f"({_HIDDEN_WORDS})" if MASKED in (text, draft) else f"“{text}” [{draft.strip()}]"
    return "words", f"{said}  {fields['lag_ms']} ms behind"


def _speech_ended(fields: Mapping[str, Any]) -> tuple[str, str]:
    return "endpoint", f"speech ended {_seconds(fields['session_ms'])} into the session's audio"


def _final(fields: Mapping[str, Any]) -> tuple[str, str]:
    said = f"({_HIDDEN_WORDS})" if fields["text"] == MASKED else f"“{fields['text']}”"
    return "final", f"{said}  confidence {fields['confidence']:.2f}"


def _done(fields: Mapping[str, Any]) -> tuple[str, str]:
    told = [f"ended by {fields['reason']} after {_seconds(fields['session_ms'])}"]
    spans = {
        "speech_ms": "{} of speech",
        "first_draft_ms": "first words after {}",
        "first_committed_ms": "first sure ones after {}",
        "finalize_ms": "final {} after the last sound",
        "max_lag_ms": "{} behind at most",
    }
    told += [text.format(_seconds(fields[key])) for key, text in spans.items() if fields.get(key)]
    if "rtf" in fields:
        told.append(f"{fields['rtf']:.2f} of real time computed")
    return "done", ", ".join(told)


_SENTENCES: Final = {
    "wake.detected": ("wake", "{wake_word} heard with a score of {score:.2f}"),
    "mqtt.final_delivered": ("publish", "the broker has the final"),
    "arbitration.stood_down": (
        "left to",
        "{node_id}, which heard it with {their_score:.2f} (here {score:.2f})",
    ),
    "error.raised": ("error", "{problem} ({code})"),
}
"""Name and sentence of events that are told as they are, in their own fields."""
_TELLERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]]] = {
    "session.started": _started,
    "speech.started": _speech_started,
    "transcript.partial": _partial,
    "speech.ended": _speech_ended,
    "transcript.final": _final,
    "session.done": _done,
}


def _pairs(fields: Mapping[str, Any], *, lead: str) -> str:
    pairs = (f"{printable(key)}={_value(value)}" for key, value in fields.items())
    text = " ".join(pairs)
    return lead + text if text else ""


def _value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() or not c.isprintable() for c in text) else text


def _local(at: datetime | None) -> str:
    if at is None:
        return "?".ljust(23)
    return at.astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.2f} s"
