"""A program for the tests of the real microphone: does what the lines on its stdin say.

`open`, `close`; `read SECONDS` into the file named on the command line; `until_lost`;
`devices`. Answers every line with one of JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import structlog

from voice_daemon.audio.microphone import MicrophoneCapture, list_devices
from voice_daemon.config import AudioSettings
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import AudioBlock


def main(device: str, recording: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    mic = MicrophoneCapture(AudioSettings(device=device))
    for line in sys.stdin:
        try:
            answer = answer_to(line.split(), mic=mic, recording=recording)
        except AudioDeviceError as error:
            answer = {"error": error.code}
        print(json.dumps(answer), flush=True)  # noqa: T201 - this is how it answers


def answer_to(words: list[str], *, mic: MicrophoneCapture, recording: str) -> dict[str, object]:
    match words:
        case ["open"]:
            mic.start()
            return {"description": mic.description}
        case ["close"]:
            mic.stop()
            return {}
        case ["devices"]:
            return {"devices": [device.name for device in list_devices()]}
        case ["read", seconds]:
            return record(mic, float(seconds), recording)
        case ["until_lost"]:
            while True:
                mic.read(1)
    raise ValueError(words)


def record(mic: MicrophoneCapture, seconds: float, recording: str) -> dict[str, object]:
    blocks: list[AudioBlock] = []
    lags = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        block = mic.read(0.5)
        if block is not None:
            blocks.append(block)
            lags.append(mic.now_sample() - block.first_sample - len(block.samples))
    np.save(recording, np.concatenate([block.samples for block in blocks]))
    ends = [block.first_sample + len(block.samples) for block in blocks]
    return {
        "gaps": sum(
            block.first_sample != end for block, end in zip(blocks[1:], ends, strict=False)
        ),
        "dropped": mic.dropped_samples,
        "median_lag_samples": float(np.median(lags)),
        "level_dbfs": mic.level_dbfs,
    }


main(*sys.argv[1:])
