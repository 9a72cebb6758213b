"""The session recorder keeps the sound of sessions as files, a few and for some days.

Fed with the blocks and events that the worker sees, and called by its thread alone. A failure is
logged and costs nothing but the file.
"""

import os
import re
import stat
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import structlog
from numpy.typing import NDArray

from voice_daemon.audio.ring import RingBuffer
from voice_daemon.events import (
    SAMPLE_RATE,
    AudioBlock,
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    StateChanged,
)

log = structlog.get_logger()

MAX_FILES: Final = 200
MAX_BYTES: Final = 100_000_000
MAX_AGE_S: Final = 7 * 24 * 3600
BEFORE_S: Final = 2
"""Kept of what was heard before a session opened: its wake word."""
LONGEST_S: Final = 100
"""More than any session that can be configured."""

_OURS: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-zA-Z_-]+\.wav")
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class SessionRecorder:
    """Writes a WAV file into `folder` when a session ends; muting forgets what was heard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ring = RingBuffer(LONGEST_S * SAMPLE_RATE)
        self._from_sample = 0

    def feed(self, block: AudioBlock) -> None:
        """Take a block that the pipeline is about to hear."""
        if block.first_sample < self._ring.end_sample:
            self._ring.clear()
        self._ring.push(block)

    def follow(self, events: Iterable[Event]) -> None:
        """Take the events that the pipeline made of it."""
        for event in events:
            match event:
                case SessionStarted():
                    self._from_sample = event.at_sample - BEFORE_S * SAMPLE_RATE
                case SessionEnded() if event.reason is not EndReason.MUTED:
                    self._keep(event)
                case StateChanged(State.MUTED):
                    self._ring.clear()
                case _:
                    pass

    def _keep(self, ended: SessionEnded) -> None:
        samples = self._ring.read(self._from_sample, ended.at_sample)
        try:
            path = self._write(ended.session_id, samples)
            prune(self._folder, now_s=time.time())
        except OSError as error:
            log.warning("audio.not_saved", folder=str(self._folder), reason=str(error))
        else:
            log.info("audio.saved", session_id=ended.session_id, file=str(path))

    def _write(self, session_id: str, samples: NDArray[np.int16]) -> Path:
        _make_private(self._folder)
        at = datetime.now(UTC)
        path = self._folder / f"{at:%Y%m%dT%H%M%SZ}-{session_id}.wav"
        with os.fdopen(os.open(path, _FRESH, 0o600), "wb") as file:
            soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        return path


def prune(folder: Path, *, now_s: float) -> None:
    """Remove our files beyond the newest, the size and the age that are allowed.

    Raises OSError where they cannot be removed.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    ours = [(path.lstat(), path) for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    n_bytes = 0
    for place, (found, path) in enumerate(sorted(ours, key=lambda o: -o[0].st_mtime_ns)):
        n_bytes += found.st_size
        if place >= MAX_FILES or n_bytes > MAX_BYTES or now_s - found.st_mtime > MAX_AGE_S:
            path.unlink()


def _make_private(folder: Path) -> None:
    """Make the folder, for its owner alone; raises OSError for a link or another's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError("the folder is a link, or another user's")
    folder.chmod(0o700)
