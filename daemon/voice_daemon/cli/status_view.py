"""The daemon's status as text for people: one screen, problems first, each with its remedy."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from voice_daemon._lib.terminal import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    Painter,
    bar,
    duration_text,
    printable,
)
from voice_daemon.cli.diagnosis import Condition, DownReason, LastError, ServiceView
from voice_daemon.errors import Problem
from voice_daemon.runtime.live_view import LiveSnapshot, LiveTranscript
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    Status,
    VocabularyStatus,
    WakeStatus,
)

_LABEL_WIDTH: Final = 8
_LIGHTS: Final = {
    Condition.RUNNING: ("healthy", GREEN),
    Condition.STARTING: ("starting", YELLOW),
    Condition.DEGRADED: ("degraded", RED),
    Condition.CRASH_LOOPING: ("crash-looping", RED),
    Condition.NOT_ANSWERING: ("not answering", RED),
    Condition.STALE_SOCKET: ("not running", RED),
    Condition.STOPPED: ("not running", RED),
    Condition.NOT_LOADED: ("not loaded", RED),
    Condition.NOT_INSTALLED: ("not installed", RED),
}


def headlines(
    status: Status,
    condition: Condition,
    paint: Painter,
    *,
    service: ServiceView | None = None,
    notes: Sequence[Problem] = (),
) -> list[str]:
    """Write what comes first: who it is, how it is, and what is wrong. `notes`: more of that."""
    word, colour = _LIGHTS[condition]
    name = paint(f"voice-daemon {status.version}", BOLD)
    about = [f"pid {status.pid}", f"up {duration_text(status.uptime_s)}"]
    if service is not None and (service.runs or 0) > 1:
        about.append(f"started {service.runs} times, last end {service.last_exit}")
    return [
        f"{name}  {paint(f'● {word}', colour)}  ({', '.join(about)})",
        *(problem_line(problem, paint) for problem in (*notes, *status.problems, *status.notes)),
    ]


def problem_line(problem: Problem, paint: Painter) -> str:
    """Write a problem and its remedy."""
    told = printable(f"{problem.part}: {problem.message} — {problem.remedy}")
    return f"  {paint('!', YELLOW)} {told}"


def down_reason_lines(
    down_reason: DownReason,
    last_error: LastError | None,
    paint: Painter,
    *,
    version: str,
    log_file: str,
) -> list[str]:
    """Write why no daemon answers, and the last that was heard of it."""
    word, colour = _LIGHTS[down_reason.condition]
    mark = paint("!", YELLOW)
    lines = [
        f"{paint(f'voice-daemon {version}', BOLD)}  {paint(f'● {word}', colour)}",
        f"  {mark} {printable(f'{down_reason.message} — {down_reason.remedy}')}",
    ]
    if last_error is not None:
        told = (
            f"{last_error.message} — {last_error.remedy}"
            if last_error.remedy
            else (last_error.message)
        )
        lines.append(f"  {mark} last error ({last_error.at}): {told}")
    return [*lines, f"{label('logs', paint)}{log_file}"]


def part_lines(status: Status, paint: Painter) -> list[str]:
    """Write a line for each part of the daemon."""
    parts = {
        "mic": _mic_line(status.mic),
        "wake": _wake_line(status.wake),
        "asr": _asr_line(status.asr),
        **({"names": _names_line(names)} if (names := status.vocabulary).names else {}),
        "mqtt": _mqtt_line(status.mqtt),
        "session": _session_line(status),
    }
    return [label(name, paint) + printable(text) for name, text in parts.items()]


def label(name: str, paint: Painter) -> str:
    """Write what stands before a part's line."""
    return paint(name.ljust(_LABEL_WIDTH), DIM)


def _mic_line(mic: MicStatus) -> str:
    channels = {1: "mono", 2: "stereo"}.get(mic.channels, f"{mic.channels} channels")
    level = f"{mic.level_dbfs:.0f}" if math.isfinite(mic.level_dbfs) else "-inf"
    age = "never" if mic.last_block_age_ms is None else f"{mic.last_block_age_ms} ms ago"
    dropped = f"  dropped {mic.dropped_samples} samples" if mic.dropped_samples else ""
    return (
        f'"{mic.device}" {mic.sample_rate_hz / 1000:g} kHz {channels}  level {level} dBFS  '
        f"last block {age}  reopens {mic.reopens}{dropped}"
    )


def _wake_line(wake: WakeStatus) -> str:
    words = ", ".join(wake.wake_words)
    text = f"{words}  threshold {wake.threshold:.2f}  self-test {wake.self_test}"
    if wake.last_at is None:
        return f"{text}  last never"
    score = "" if wake.last_score is None else f" ({wake.last_score:.2f})"
    return f"{text}  last {wake.last_at}{score}"


def _asr_line(asr: AsrStatus) -> str:
    warmth = "warm" if asr.warm else "cold"
    rtf = "-" if asr.rtf_p95 is None else f"{asr.rtf_p95:.2f}"
    tested = "  self-test skipped: it does not read English" if asr.self_test == "skipped" else ""
    return (
        f"{asr.model}  {warmth}  rtf p95 {rtf}  sessions {asr.sessions}  "
        f"(finals {asr.finals}, no-speech {asr.no_speech}, failed {asr.failed})"
        f"{tested}"
    )


def _names_line(names: VocabularyStatus) -> str:
    left_out = f"  left out {names.left_out}" if names.left_out else ""
    why = f"  {names.why}" if names.why else ""
    language = f" ({names.language})" if names.language else ""
    return f"{names.names} from {names.source}{language}  {names.state}{left_out}{why}"


def _mqtt_line(mqtt: BrokerStatus) -> str:
    protocol = f" (MQTT {mqtt.protocol})" if mqtt.protocol and mqtt.connected else ""
    state = "connected" if mqtt.connected else "not connected"
    last_error = f"  last error: {mqtt.last_error}" if mqtt.last_error else ""
    return (
        f"{state} {mqtt.url} as {mqtt.client_id}{protocol}  queued {mqtt.queued}  "
        f"dropped {mqtt.dropped + mqtt.expired}  reconnects {mqtt.reconnects}{last_error}"
    )


def _session_line(status: Status) -> str:
    session = status.session
    current = f" {session.session_id}" if session.session_id else ""
    last = f"  last ended {session.last_end_reason}" if session.last_end_reason else ""
    logs = f"  logs {status.log_file}" if status.log_file else ""
    return f"{session.state}{current}  muted {'yes' if session.muted else 'no'}{last}{logs}"


METER_CELLS: Final = 40
QUIETEST_DBFS: Final = -80.0
CLIPPING_DBFS: Final = -3.0
_STATE_COLOURS: Final = {"listening": GREEN, "transcribing": GREEN, "degraded": RED}


def live_lines(snapshot: LiveSnapshot, paint: Painter) -> Iterator[str]:
    """Write meters, state and words."""
    yield f"{label('level', paint)}{_level_meter(snapshot.level_dbfs, paint)}"
    for word, score in snapshot.wake_scores.items():
        threshold = snapshot.wake_threshold
        meter = _meter(score, GREEN if score >= threshold else YELLOW, paint)
        yield f"{label('score', paint)}{meter}  {score:.2f} of {threshold:.2f}  {word}"
    state = paint(snapshot.state, _STATE_COLOURS.get(snapshot.state, BOLD))
    session = f"  session {snapshot.session_id}" if snapshot.session_id else ""
    yield f"{label('state', paint)}{state}{session}{_lag(snapshot.words)}"
    yield f"{label('words', paint)}{_words(snapshot.words, paint)}"


def change_text(snapshot: LiveSnapshot) -> str:
    """Write what matters of a snapshot on one line, without what moves all the time."""
    told = [snapshot.state]
    if snapshot.session_id:
        told.append(f"session {snapshot.session_id}")
    words = snapshot.words
    if words is not None and (words.text or words.draft):
        name = "final" if words.is_final else "words"
        draft = f" [{words.draft.strip()}]" if words.draft.strip() else ""
        told.append(f"{name} “{words.text}”{draft}")
        if words.lag_ms is not None and not words.is_final:
            told.append(f"{words.lag_ms} ms behind")
    return "  ".join(told)


def _level_meter(level_dbfs: float, paint: Painter) -> str:
    if not math.isfinite(level_dbfs):
        return f"{_meter(0.0, RED, paint)}  digital silence"
    share = 1 - level_dbfs / QUIETEST_DBFS
    colour = RED if level_dbfs > CLIPPING_DBFS else GREEN
    return f"{_meter(share, colour, paint)}  {level_dbfs:.0f} dBFS"


def _meter(share: float, colour: str, paint: Painter) -> str:
    return f"▕{paint(bar(share, METER_CELLS), colour)}▏"


def _lag(words: LiveTranscript | None) -> str:
    return "" if words is None or words.lag_ms is None else f"  {words.lag_ms} ms behind"


def _words(words: LiveTranscript | None, paint: Painter) -> str:
    if words is None:
        return paint("say the wake word", DIM)
    if words.is_final:
        return paint(printable(words.text), BOLD)
    return f"{printable(words.text)}{paint(printable(words.draft), DIM)}"
