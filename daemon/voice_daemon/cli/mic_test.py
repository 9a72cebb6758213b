"""`daemonctl test-mic`: a few seconds of the microphone, measured, with a verdict."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from voice_daemon._lib.terminal import bar
from voice_daemon.audio import AudioSource
from voice_daemon.cli import audio_input
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import DEFAULT_MICROPHONE_TEST_S
from voice_daemon.doctor.microphone_test import (
    MicReport,
    MicrophoneFinding,
    MicrophoneTest,
    findings,
)
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import EXIT_FAILED, EXIT_OK
from voice_daemon.events import SAMPLE_RATE

_METER_BLOCKS: Final = 10
_METER_CELLS: Final = 30
_METER_FLOOR_DBFS: Final = -60.0


def run(args: argparse.Namespace, context: Context) -> int:
    """Listen and judge; 1 when something is wrong, raises `AudioDeviceError` without an input."""
    audio_input.check_seconds(args.seconds)
    is_file = args.input is not None
    gain_db = 0.0 if is_file else context.settings().audio.gain_db
    trial = MicrophoneTest(SileroVad())  # before the microphone is opened: loading takes a moment
    opened = audio_input.open_file(args.input) if is_file else audio_input.open_microphone(context)
    with audio_input.listening(opened) as source:
        if not is_file:
            context.err.write("say something, as you would to the daemon\n")
        if is_file:
            _measure_file(trial, source, args.seconds)
        else:
            _measure_live(trial, source, args.seconds or DEFAULT_MICROPHONE_TEST_S, context)
        report = trial.report(lost_samples=source.dropped_samples)
        name = source.description
    found = findings(report, gain_db=gain_db)
    if args.json:
        context.print_json(_document(name, report, found))
    else:
        context.out.writelines(f"{line}\n" for line in lines(name, report, found))
    return EXIT_FAILED if found else EXIT_OK


def _measure_file(trial: MicrophoneTest, source: AudioSource, seconds: float | None) -> None:
    """Measure a file's first seconds: its own time, as it is read far faster."""
    end_sample = None if seconds is None else round(seconds * SAMPLE_RATE)
    for block in audio_input.blocks(source, None):
        if block is not None:
            left = None if end_sample is None else max(0, end_sample - block.first_sample)
            trial.feed(block.samples[:left])
            if left is not None and left <= block.samples.size:
                return


def _measure_live(
    trial: MicrophoneTest, source: AudioSource, seconds: float, context: Context
) -> None:
    """Measure, with a meter where somebody may watch it."""
    is_watched = context.err.isatty()
    n_blocks = 0
    for block in audio_input.blocks(source, seconds):
        if block is None:
            continue
        trial.feed(block.samples)
        n_blocks += 1
        if is_watched and n_blocks % _METER_BLOCKS == 0:
            context.err.write(f"\r{meter(trial.take_level_dbfs())}")
            context.err.flush()
    if is_watched:
        context.err.write("\r\x1b[K")


def meter(level_dbfs: float) -> str:
    """Draw a level as a bar."""
    return f"▕{bar(1 - level_dbfs / _METER_FLOOR_DBFS, _METER_CELLS)}▏ {level_dbfs:6.1f} dBFS"


def lines(name: str, report: MicReport, found: Sequence[MicrophoneFinding]) -> Iterator[str]:
    """Tell a report: the verdict first, then the measures."""
    yield f"{name}: {'good' if not found else 'not good'}"
    for finding in found:
        yield f"  ! {finding.message}"
        yield f"    -> {finding.remedy}"
    yield f"heard    {report.seconds:.1f} s, lost {report.lost_samples} samples"
    yield f"level    {_dbfs(report.level_dbfs)}, peak {_dbfs(report.peak_dbfs)}"
    yield f"noise    {_dbfs(report.noise_dbfs)}"
    yield f"speech   {_dbfs(report.speech_dbfs)}"
    yield "s/n      " + ("unknown" if report.snr_db is None else f"{report.snr_db:.0f} dB")
    yield f"clipped  {report.clipped_share:.2%}"


def _dbfs(level: float | None) -> str:
    return "not heard" if level is None else f"{level:.1f} dBFS"


def _document(
    name: str, report: MicReport, found: Sequence[MicrophoneFinding]
) -> dict[str, object]:
    measures = {
        key: round(value, 5) if isinstance(value, float) else value
        for key, value in asdict(report).items()
    }
    return {
        "input": name,
        "good": not found,
        "findings": [asdict(finding) for finding in found],
        **measures,
        "snr_db": None if report.snr_db is None else round(report.snr_db, 2),
    }
