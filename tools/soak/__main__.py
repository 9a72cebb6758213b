"""`scripts/test-soak`: play hours of audio, say how it went, and draw it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rigs.virtual_microphone import why_not
from tools.soak.delivery_check import Change, DeliveryCheck
from tools.soak.recording import MIN_SLOT_S, Recording
from tools.soak.soak import Plan, soak_daemon

DAY_HOURS = 24.0
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "soak.png"


def main() -> int:
    """Run a soak; 1 when something is not as promised."""
    parser = argparse.ArgumentParser(prog="scripts/test-soak", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, help="of audio (24)")
    length.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument(
        "--microphone",
        action="store_true",
        help="speak it into a microphone of software, in real time, through PortAudio (Linux)",
    )
    parser.add_argument("--every-s", type=float, default=30, help="a command each (30)")
    parser.add_argument("--fault-every-s", type=float, default=30, help="rest of the broker (30)")
    parser.add_argument("--seed", type=int, default=1, help="of noise and moments (1)")
    parser.add_argument(
        "--picture", type=Path, help=f"to be drawn ({PICTURE.name}; none with --microphone)"
    )
    parser.add_argument("--json", type=Path, help="write the check to this file")
    arguments = parser.parse_args()
    if arguments.every_s < MIN_SLOT_S:
        parser.error(f"--every-s is at least {MIN_SLOT_S:g}: a command and its session")
    if arguments.microphone and (why := why_not()):
        parser.error(why)
    hours = arguments.minutes / 60 if arguments.minutes else arguments.hours or DAY_HOURS
    plan = Plan(
        Recording(hours, every_s=arguments.every_s, seed=arguments.seed),
        fault_every_s=arguments.fault_every_s,
        microphone=arguments.microphone,
    )
    with tempfile.TemporaryDirectory() as folder:
        soaked = soak_daemon(plan, Path(folder))
    print(report(soaked.check))  # noqa: T201 - a tool's output
    if arguments.json:
        document = {**soaked.check.to_dict(), "command": " ".join(sys.argv[1:])}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    picture = arguments.picture or (None if arguments.microphone else PICTURE)
    if picture is not None:
        from tools.soak.pictures import draw  # noqa: PLC0415 - the short version needs no matplotlib

        draw(soaked, picture)
    return 1 if soaked.check.failures() else 0


def report(check: DeliveryCheck) -> str:
    """Write what happened, one fact a line."""
    ends, used = check.fates, check.footprint
    lines = [
        f"{check.hours:.3g} h of audio in {check.wall_s / 60:.1f} min",
        (
            f"  commands spoken, sessions, finals said   "
            f"{check.commands}, {check.sessions}, {ends.said}"
        ),
        f"  finals that arrived, word for word right {ends.arrived}, {check.right_words}",
        (
            f"  reported lost, missing, doubled          "
            f"{ends.reported_lost}, {len(ends.missing)}, {len(ends.doubled)}; "
            f"{ends.redelivered} messages redelivered"
        ),
        (
            f"  faults of the broker                     "
            f"{', '.join(f'{n} {kind}' for kind, n in check.faults.items()) or 'none'}"
        ),
        (
            f"  resident memory, first fifth to last     "
            f"{used.resident_mb_first:.0f} -> {used.resident_mb_last:.0f} MB "
            f"(most {used.resident_mb_most:.0f})"
        ),
        (
            f"  CPU a command and its slot               "
            f"{used.cpu_s_a_command_first:.2f} -> {used.cpu_s_a_command_last:.2f} s"
        ),
        f"  recogniser a command, p50 and p95        {_change(check.compute_ms)} ms",
        f"  final to subscriber, p50 and p95         {_change(check.delivery_ms)} ms",
        f"  threads, descriptors, first and last     {used.threads_most}, {used.descriptors_most}",
    ]
    if check.microphone is not None:
        mic = check.microphone
        lines.append(
            f"  samples dropped, overflows, losses       "
            f"{mic.dropped_samples}, {mic.overflows}, {mic.losses}"
        )
    return "\n".join([*lines, *(f"  NOT AS PROMISED: {text}" for text in check.failures())])


def _change(change: Change) -> str:
    first, last = change.first, change.last
    return f"{first.p50:.0f}, {first.p95:.0f} -> {last.p50:.0f}, {last.p95:.0f}"


if __name__ == "__main__":
    sys.exit(main())
