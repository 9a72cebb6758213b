"""The running daemon's moment as text: meters and words on a terminal, a line a change in a pipe.

Pure. Knows nothing of where a moment is from or of how it is drawn over the one before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from voice_daemon.cli.status_view import label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_daemon.cli.status_view import Painter
    from voice_daemon.runtime.moment import Moment, Words

METER_CELLS: Final = 40
QUIETEST_DBFS: Final = -80.0
CLIPPING_DBFS: Final = -3.0
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_RED, _YELLOW, _GREEN, _BOLD, _DIM = "31", "33", "32", "1", "2"
_STATE_COLOURS: Final = {"listening": _GREEN, "transcribing": _GREEN, "degraded": _RED}


def moment_lines(moment: Moment, paint: Painter) -> Iterator[str]:
    """Write meters, state and words."""
    yield f"{label('level', paint)}{_level_meter(moment.level_dbfs, paint)}"
    for word, score in moment.wake_scores.items():
        yield f"{label('score', paint)}{_score_meter(score, moment.wake_threshold, paint)}  {word}"
    state = paint(moment.state, _STATE_COLOURS.get(moment.state, _BOLD))
    session = f"  session {moment.session_id}" if moment.session_id else ""
    yield f"{label('state', paint)}{state}{session}{_lag(moment.words)}"
    yield f"{label('words', paint)}{_words(moment.words, paint)}"


def change_text(moment: Moment) -> str:
    """Write what matters of a moment on one line, without what moves all the time."""
    told = [moment.state]
    if moment.session_id:
        told.append(f"session {moment.session_id}")
    words = moment.words
    if words is not None and (words.text or words.draft):
        name = "final" if words.is_final else "words"
        draft = f" [{words.draft.strip()}]" if words.draft.strip() else ""
        told.append(f"{name} “{words.text}”{draft}")
        if words.lag_ms is not None and not words.is_final:
            told.append(f"{words.lag_ms} ms behind")
    return "  ".join(told)


def _level_meter(level_dbfs: float, paint: Painter) -> str:
    if not math.isfinite(level_dbfs):
        return f"{_meter(0.0, _RED, paint)}  digital silence"
    share = 1 - level_dbfs / QUIETEST_DBFS
    colour = _RED if level_dbfs > CLIPPING_DBFS else _GREEN
    return f"{_meter(share, colour, paint)}  {level_dbfs:.0f} dBFS"


def _score_meter(score: float, threshold: float, paint: Painter) -> str:
    woken = score >= threshold
    return f"{_meter(score, _GREEN if woken else _YELLOW, paint)}  {score:.2f} of {threshold:.2f}"


def _meter(share: float, colour: str, paint: Painter) -> str:
    """Draw a bar of `METER_CELLS` of which `share`, 0..1, is full."""
    eighths = round(min(1.0, max(0.0, share)) * METER_CELLS * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"▕{paint(bar, colour)}{' ' * (METER_CELLS - len(bar))}▏"


def _lag(words: Words | None) -> str:
    return "" if words is None or words.lag_ms is None else f"  {words.lag_ms} ms behind"


def _words(words: Words | None, paint: Painter) -> str:
    if words is None:
        return paint("say the wake word", _DIM)
    if words.is_final:
        return paint(words.text, _BOLD)
    return f"{words.text}{paint(words.draft, _DIM)}"
