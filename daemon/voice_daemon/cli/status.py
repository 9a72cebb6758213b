"""`daemonctl status`: the daemon's health on one screen, once or watched.

Exit codes: 0 healthy or starting, 1 degraded or not answering, 3 not running, 4 not installed.
What is seen is `cli.diagnosis`'s, and how it is written `cli.status_view`'s.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.live import Live
from rich.text import Text

from voice_daemon._lib.terminal import Painter, rfc3339
from voice_daemon.cli.context import Context
from voice_daemon.cli.diagnosis import Diagnosis, look
from voice_daemon.cli.status_view import (
    absence_lines,
    change_text,
    headlines,
    moment_lines,
    part_lines,
)
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError
from voice_daemon.launchd import Machine
from voice_daemon.runtime.live_view import LiveSnapshot

MOMENT_EVERY_S: Final = 0.1
STATUS_EVERY_S: Final = 1.0
MOMENT_TIMEOUT_S: Final = 1.0
_MOVING: Final = {
    "": ("uptime_s", "at"),
    "mic": ("level_dbfs", "last_block_age_ms"),
    "now": ("level_dbfs", "wake_scores"),
}
"""What moves all the time, and is no change, by the part that it is in."""


def watch(
    context: Context,
    machine_of: Callable[[Mapping[str, str]], Machine] | None,
    *,
    as_json: bool,
) -> NoReturn:
    """Show until interrupted."""
    pictures = _pictures(context, machine_of)
    if as_json:
        _print_documents(context, pictures)
    elif context.is_terminal:
        _draw(context, pictures)
    else:
        _print_changes(context, pictures)
    raise AssertionError("pictures never end")


def _pictures(
    context: Context, machine_of: Callable[[Mapping[str, str]], Machine] | None
) -> Iterator[tuple[Diagnosis, LiveSnapshot | None]]:
    """Give what is seen now, for ever; the status is asked for less often than the moment."""
    while True:
        sight = look(context, machine_of, always_service=False)
        next_status_s = time.monotonic() + STATUS_EVERY_S
        while (left_s := next_status_s - time.monotonic()) > 0:
            moment = moment_of(context) if sight.status is not None else None
            yield sight, moment
            # Without a moment there is nothing that changes so often.
            time.sleep(min(left_s, MOMENT_EVERY_S if moment is not None else STATUS_EVERY_S))


def moment_of(context: Context) -> LiveSnapshot | None:
    """Ask for the moment; None from a daemon that gives none: it waits, is older, or is gone."""
    client = ControlClient(context.paths().socket_path, timeout_s=MOMENT_TIMEOUT_S)
    try:
        return LiveSnapshot.from_dict(client.request("watch"))
    except (ControlError, KeyError, TypeError, ValueError):
        return None


def _draw(context: Context, pictures: Iterator[tuple[Diagnosis, LiveSnapshot | None]]) -> None:
    with Live(console=Console(file=context.out), auto_refresh=False) as live:
        for sight, moment in pictures:
            shown = screen_text(sight, moment, context, colour=context.wants_colour)
            live.update(Text.from_ansi(shown), refresh=True)


def screen_text(
    sight: Diagnosis, moment: LiveSnapshot | None, context: Context, *, colour: bool
) -> str:
    """Write one screen; without a moment it is that of `daemonctl status`."""
    paint = Painter(colour=colour)
    if sight.status is None:
        return "\n".join(
            absence_lines(
                sight.absence_or_raise,
                sight.last_error,
                paint,
                version=sight.command_version,
                log_file=str(context.paths().log_file),
            )
        )
    head = headlines(sight.status, sight.condition, paint, service=sight.service, notes=sight.notes)
    now = () if moment is None else ("", *moment_lines(moment, paint), "")
    return "\n".join((*head, *now, *part_lines(sight.status, paint)))


def _print_changes(
    context: Context, pictures: Iterator[tuple[Diagnosis, LiveSnapshot | None]]
) -> None:
    before = ""
    for sight, moment in pictures:
        text = _line(sight, moment)
        if text != before:
            before = text
            at = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
            context.out.write(f"{at}  {text}\n")
            context.out.flush()


def _line(sight: Diagnosis, moment: LiveSnapshot | None) -> str:
    if sight.status is None:
        absence = sight.absence_or_raise
        return f"{absence.condition}: {absence.message} — {absence.remedy}"
    now = sight.status.session.state if moment is None else change_text(moment)
    problems = (
        f"! {p.part}: {p.message} — {p.remedy}" for p in (*sight.notes, *sight.status.problems)
    )
    return "  ".join((now, *problems))


def _print_documents(
    context: Context, pictures: Iterator[tuple[Diagnosis, LiveSnapshot | None]]
) -> None:
    before = ""
    for sight, moment in pictures:
        now = None if moment is None else moment.to_dict()
        document = {**sight.to_dict(), "now": now, "at": rfc3339(datetime.now(UTC), "milliseconds")}
        unmoved = json.dumps(_without_moving(document))
        if unmoved != before:
            before = unmoved
            context.print_json(document)


def _without_moving(document: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in document.items() if key not in _MOVING[""]}
    for part in ("mic", "now"):
        inner = kept.get(part)
        if isinstance(inner, dict):
            kept[part] = {k: v for k, v in inner.items() if k not in _MOVING[part]}
    return kept


def run(
    args: argparse.Namespace,
    context: Context,
    *,
    machine_of: Callable[[Mapping[str, str]], Machine] | None = None,
) -> int:
    """Show the status. `machine_of`: where launchd is looked for; None: on this machine."""
    if args.watch:
        watch(context, machine_of, as_json=args.json)
    sight = look(context, machine_of)
    if args.json:
        context.print_json(sight.to_dict())
    else:
        text = screen_text(sight, None, context, colour=context.wants_colour)
        context.out.write(f"{text}\n")
    return sight.exit_code
