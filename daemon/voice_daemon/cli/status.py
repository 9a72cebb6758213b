"""`daemonctl status`: the daemon's health on one screen, once or watched.

Exit codes: 0 healthy or starting, 1 degraded or not answering, 3 not running, 4 not installed.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.live import Live
from rich.text import Text

from voice_daemon import __version__
from voice_daemon._lib.terminal import Painter, rfc3339
from voice_daemon.cli.context import Context
from voice_daemon.cli.diagnosis import Diagnosis, probe
from voice_daemon.cli.status_view import (
    change_text,
    down_reason_lines,
    headlines,
    live_lines,
    part_lines,
)
from voice_daemon.control.client import ControlClient
from voice_daemon.errors import ControlError
from voice_daemon.runtime.live_view import LiveSnapshot

SNAPSHOT_EVERY_S: Final = 0.1
STATUS_EVERY_S: Final = 1.0
SNAPSHOT_TIMEOUT_S: Final = 1.0
_MOVING: Final = {
    "": ("uptime_s", "at"),
    "mic": ("level_dbfs", "last_block_age_ms"),
    "now": ("level_dbfs", "wake_scores"),
}
"""Keys that move all the time, and so are no change, by their part."""

View = tuple[Diagnosis, LiveSnapshot | None]
"""The daemon at one moment; no snapshot from one that gives none."""


def watch(context: Context, *, as_json: bool) -> NoReturn:
    """Show until interrupted."""
    views = _views(context)
    if as_json:
        _print_documents(context, views)
    elif context.is_terminal:
        _draw(context, views)
    else:
        _print_changes(context, views)
    raise AssertionError("views never end")


def _views(context: Context) -> Iterator[View]:
    """Give what is seen now, for ever; the status is asked for less often than the snapshot."""
    while True:
        diagnosis = probe(context, always_service=False)
        next_status_s = time.monotonic() + STATUS_EVERY_S
        while (left_s := next_status_s - time.monotonic()) > 0:
            snapshot = live_snapshot(context) if diagnosis.status is not None else None
            yield diagnosis, snapshot
            # Without a snapshot there is nothing that changes so often.
            time.sleep(min(left_s, SNAPSHOT_EVERY_S if snapshot is not None else STATUS_EVERY_S))


def live_snapshot(context: Context) -> LiveSnapshot | None:
    """Ask for the snapshot; None from a daemon that gives none: it waits, is older, or is gone."""
    client = ControlClient(context.paths().socket_path, timeout_s=SNAPSHOT_TIMEOUT_S)
    try:
        return LiveSnapshot.from_dict(client.request("watch"))
    except (ControlError, KeyError, TypeError, ValueError):
        return None


def _draw(context: Context, views: Iterator[View]) -> None:
    with Live(console=Console(file=context.out), auto_refresh=False) as live:
        for diagnosis, snapshot in views:
            shown = screen_text(diagnosis, snapshot, context, colour=context.wants_colour)
            live.update(Text.from_ansi(shown), refresh=True)


def screen_text(
    diagnosis: Diagnosis, snapshot: LiveSnapshot | None, context: Context, *, colour: bool
) -> str:
    """Write one screen; without a snapshot it is that of `daemonctl status`."""
    paint = Painter(colour=colour)
    if diagnosis.status is None:
        return "\n".join(
            down_reason_lines(
                diagnosis.down_reason_or_raise,
                diagnosis.last_error,
                paint,
                version=__version__,
                log_file=str(context.paths().log_file),
            )
        )
    head = headlines(
        diagnosis.status,
        diagnosis.condition,
        paint,
        service=diagnosis.service,
        notes=diagnosis.notes,
    )
    now = () if snapshot is None else ("", *live_lines(snapshot, paint), "")
    return "\n".join((*head, *now, *part_lines(diagnosis.status, paint)))


def _print_changes(context: Context, views: Iterator[View]) -> None:
    before = ""
    for diagnosis, snapshot in views:
        text = _line(diagnosis, snapshot)
        if text != before:
            before = text
            at = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
            context.out.write(f"{at}  {text}\n")
            context.out.flush()


def _line(diagnosis: Diagnosis, snapshot: LiveSnapshot | None) -> str:
    if diagnosis.status is None:
        down_reason = diagnosis.down_reason_or_raise
        return f"{down_reason.condition}: {down_reason.message} — {down_reason.remedy}"
    now = diagnosis.status.session.state if snapshot is None else change_text(snapshot)
    problems = (
        f"! {p.part}: {p.message} — {p.remedy}"
        for p in (*diagnosis.notes, *diagnosis.status.problems)
    )
    return "  ".join((now, *problems))


def _print_documents(context: Context, views: Iterator[View]) -> None:
    before = ""
    for diagnosis, snapshot in views:
        now = None if snapshot is None else snapshot.to_dict()
        at = rfc3339(datetime.now(UTC), "milliseconds")
        document = {**diagnosis.to_dict(), "now": now, "at": at}
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


def run(args: argparse.Namespace, context: Context) -> int:
    """Show the status."""
    if args.watch:
        watch(context, as_json=args.json)
    diagnosis = probe(context)
    if args.json:
        context.print_json(diagnosis.to_dict())
    else:
        text = screen_text(diagnosis, None, context, colour=context.wants_colour)
        context.out.write(f"{text}\n")
    return diagnosis.exit_code
