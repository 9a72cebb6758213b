"""`daemonctl doctor`: everything that may be wrong, a line each, with what to do about it."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from voice_daemon._lib.terminal import Painter, printable, rfc3339
from voice_daemon.cli.context import Context
from voice_daemon.cli.diagnosis import Condition, Diagnosis, probe
from voice_daemon.cli.service import config_file
from voice_daemon.config import Settings
from voice_daemon.doctor import audio, system
from voice_daemon.doctor.broker import BrokerCheck
from voice_daemon.doctor.checks import Check, Finding, examine, fail, ok, skip, warn
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, ConfigError
from voice_daemon.logs.reader import tail
from voice_daemon.logs.records import read_record

_COLOURS: Final = {"ok": "32", "warn": "33", "fail": "31", "skip": "2"}
_NAME_WIDTH: Final = 16
_BROKER_TIMEOUT_S: Final = 45.0
_SLOW_TIMEOUT_S: Final = 60.0
"""For what computes: loading the wake models, hashing the recogniser's files."""
_BORN: Final = "homeassistant.started"


def run(args: argparse.Namespace, context: Context) -> int:
    """Look at everything."""
    found: list[Finding] = []
    for finding in examine(_checks(context, probe(context))):
        found.append(finding)
        if not args.json:
            _print(finding, context)
    counts = Counter(finding.verdict.value for finding in found)
    if args.json:
        checks = [asdict(finding) for finding in found]
        context.print_json({"healthy": not counts["fail"], "checks": checks})
    else:
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _COLOURS if counts[verdict])
        context.out.write(f"\n{told}\n")
    return EXIT_FAILED if counts["fail"] else EXIT_OK


def _print(finding: Finding, context: Context) -> None:
    paint = Painter(colour=context.wants_colour)
    verdict = paint(finding.verdict.value.ljust(4), _COLOURS[finding.verdict.value])
    first, *more = map(printable, finding.message.splitlines())
    remedy = [f"-> {printable(finding.remedy)}"] if finding.remedy else []
    context.out.write(f"{verdict}  {finding.check:{_NAME_WIDTH}}{first}\n")
    context.out.writelines(f"      {'':{_NAME_WIDTH}}{line}\n" for line in (*more, *remedy))
    context.out.flush()


def _checks(context: Context, diagnosis: Diagnosis) -> Iterator[Check]:
    """List what there is to look at; without a readable configuration, what needs none."""
    paths = context.paths()
    yield Check("daemon", lambda: _daemon(diagnosis))
    try:
        settings = context.settings()
    except ConfigError as error:
        remedy = error.remedy or "correct it: `daemonctl config check` says when it is right"
        finding = fail("config", error.message, remedy)
        yield Check("config", lambda: (finding,))
        message = "microphone, wake words, model and broker: not tried without a configuration"
        yield Check("config", lambda: (skip("config", message),))
    else:
        yield from _configured(settings, context, diagnosis)
    places = {"models": paths.models_dir, "the log": paths.log_file, "state": paths.state_dir}
    yield Check("disk", lambda: system.disk(places))
    yield Check("clock", lambda: system.clock(paths.log_file))
    yield Check("compute", system.compute, _SLOW_TIMEOUT_S)
    if sys.platform == "darwin":
        yield Check("login", system.automatic_login)


def _configured(settings: Settings, context: Context, diagnosis: Diagnosis) -> Iterator[Check]:
    models_dir = context.paths().models_dir
    yield Check("files", lambda: system.files(config_file(context), settings.mqtt))
    yield Check("device", lambda: audio.device(settings.audio), 20.0)
    yield Check("microphone", lambda: audio.microphone(settings.audio, diagnosis.status), 30.0)
    yield Check("output", lambda: audio.output(settings), 20.0)
    yield Check("wake", lambda: audio.wake_words(settings.wake), _SLOW_TIMEOUT_S)
    stored = context.paths().vocabulary_file
    yield Check("vocabulary", lambda: system.vocabulary(settings, stored), _SLOW_TIMEOUT_S)
    yield Check("model", lambda: audio.model(settings.asr, models_dir), _SLOW_TIMEOUT_S)
    yield Check(
        "recogniser",
        lambda: audio.recogniser(settings.asr, models_dir, diagnosis.status),
        _SLOW_TIMEOUT_S,
    )
    broker = BrokerCheck(settings, is_running=_has_a_daemon(diagnosis), born_at=_born_at(context))
    yield Check("broker", broker.look, _BROKER_TIMEOUT_S)


def _daemon(diagnosis: Diagnosis) -> Iterator[Finding]:
    if diagnosis.status is None:
        down_reason = diagnosis.down_reason_or_raise
        worst = {Condition.CRASH_LOOPING, Condition.NOT_ANSWERING}
        tell = fail if down_reason.condition in worst else warn
        yield tell("daemon", down_reason.message, down_reason.remedy)
        if diagnosis.last_error is not None:
            last = diagnosis.last_error
            yield tell("daemon", f"last error ({last.at}): {last.message}", last.remedy)
        return
    problems = diagnosis.status.problems
    if not problems:
        state = diagnosis.status.session.state
        yield ok("daemon", f"it runs (pid {diagnosis.status.pid}) and is {state}")
    for problem in problems:
        yield fail("daemon", f"{problem.part}: {problem.message}", problem.remedy)
    for note in diagnosis.notes:
        yield warn("daemon", note.message, note.remedy)


def _has_a_daemon(diagnosis: Diagnosis) -> bool:
    """Tell whether a daemon may be on the broker, and not only one that cannot start."""
    return diagnosis.condition in {
        Condition.RUNNING,
        Condition.DEGRADED,
        Condition.STARTING,
        Condition.NOT_ANSWERING,
    }


def _born_at(context: Context) -> str | None:
    """Find when Home Assistant last said that it starts."""
    for line in reversed(tail(context.paths().log_file)):
        record = read_record(line) if _BORN in line else None
        if record is not None and record.event == _BORN and record.at is not None:
            return rfc3339(record.at)
    return None
