"""Audio files: replayed as if they were a microphone, or loaded whole.

Reads whatever libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF...), at any rate, with any number of
channels. Knows nothing of what the audio is for.
"""

from __future__ import annotations

import io
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice_daemon.audio import BLOCK_SAMPLES, AudioSource
from voice_daemon.audio.clock import LiveClock, ReplayClock
from voice_daemon.audio.resample import RATE_MAX_HZ, RATE_MIN_HZ, StreamResampler, to_int16
from voice_daemon.errors import AudioFileError
from voice_daemon.events import SAMPLE_RATE, AudioBlock

SILENCE_BLOCK_SAMPLES: Final = 1280
MIN_SILENCE_S: Final = 2.0
"""Silence that is always played: a wake word at the very end is detected up to a second late."""


class FileReplay:
    """Plays `file`, then silence without end; in real time, or as fast as it is read."""

    exhausted = False
    """Never: the silence goes on until `is_over`."""

    def __init__(
        self,
        file: AudioSource,
        *,
        realtime: bool,
        max_silence_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`max_silence_s`: enough to close any session that the file may leave open."""
        self._file = file
        self._realtime = realtime
        self._max_silence_s = max_silence_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._end_sample = 0
        self._silence_samples = 0
        self._file_ended: tuple[int, float] | None = None

    @property
    def description(self) -> str:
        """What is played."""
        return self._file.description

    @property
    def dropped_samples(self) -> int:
        """Samples that the file could not deliver."""
        return self._file.dropped_samples

    @property
    def clock(self) -> FileReplay:
        """The live clock, which goes on in the silence."""
        return self

    def start(self) -> None:
        """Open the file."""
        self._file.start()

    def stop(self) -> None:
        """Close the file."""
        self._file.stop()

    def read(self, timeout_s: float) -> AudioBlock | None:
        """Give the next block of the file or of the silence; None when it is not due yet."""
        if self._file_ended is None:
            if not self._file.exhausted:
                block = self._file.read(timeout_s)
                if block is not None:
                    self._end_sample = block.first_sample + len(block.samples)
                return block
            self._file_ended = (self._file.clock.now_sample(), self._monotonic())
        return self._silence(timeout_s)

    def now_sample(self) -> int:
        """Give the sample that a microphone would be delivering right now."""
        if self._file_ended is None:
            return self._file.clock.now_sample()
        if not self._realtime:
            return self._end_sample
        sample, at_s = self._file_ended
        return max(self._end_sample, sample + int((self._monotonic() - at_s) * SAMPLE_RATE))

    def is_over(self, *, session_open: bool) -> bool:
        """Tell whether there is nothing left to wait for."""
        silence_s = self._silence_samples / SAMPLE_RATE
        return silence_s >= (self._max_silence_s if session_open else MIN_SILENCE_S)

    def _silence(self, timeout_s: float) -> AudioBlock | None:
        if self._realtime:
            missing = self._end_sample + SILENCE_BLOCK_SAMPLES - self.now_sample()
            if missing > 0:
                self._sleep(min(timeout_s, missing / SAMPLE_RATE))
                if missing / SAMPLE_RATE > timeout_s:
                    return None
        block = AudioBlock(self._end_sample, np.zeros(SILENCE_BLOCK_SAMPLES, np.int16))
        self._end_sample += SILENCE_BLOCK_SAMPLES
        self._silence_samples += SILENCE_BLOCK_SAMPLES
        return block


_PIECES_A_SECOND: Final = 10
"""A file is decoded in pieces of this length, whatever its rate."""
_PIPE_MAX_BYTES: Final = 1 << 29
"""More than four hours at 16 kHz."""
_PIECE_BYTES: Final = 1 << 16
_SIGNAL_CHECK_S: Final = 0.25
_FORMATS_REMEDY: Final = "give an audio file: WAV, FLAC, Ogg, MP3 or AIFF"


class FileSource:
    """Plays a file as an audio source, in real time or as fast as it is read.

    Memory does not grow with the file.
    """

    def __init__(self, path: Path, *, realtime: bool) -> None:
        self._path = path
        self._realtime = realtime
        self._stopped = threading.Event()
        self._live_clock = LiveClock()
        self._replay_clock = ReplayClock()
        self._blocks: Iterator[AudioBlock] = iter(())
        self._next: AudioBlock | None = None
        self._damage: AudioFileError | None = None
        self._started_s = 0.0

    @property
    def description(self) -> str:
        """The file's name."""
        return f"file {self._path.name}"

    @property
    def clock(self) -> LiveClock | ReplayClock:
        """In real time where the replay stands, else how far the file was read."""
        return self._live_clock if self._realtime else self._replay_clock

    @property
    def exhausted(self) -> bool:
        """True when all blocks were read, and before `start`."""
        return self._next is None and self._damage is None

    @property
    def dropped_samples(self) -> int:
        """0: a file waits for its reader."""
        return 0

    def start(self) -> None:
        """Open the file; raises `AudioFileError` when there is no audio in it."""
        self._stopped.clear()
        self._damage = None
        self._blocks = _blocks(decode(self._path))
        self._next = next(self._blocks, None)
        self._started_s = time.monotonic()
        self._live_clock.observe(0, arrived_at_s=self._started_s)

    def read(self, timeout_s: float) -> AudioBlock | None:
        """Return the next 20 ms (less at the very end) once a microphone would have them.

        Raises `AudioFileError` where the file is damaged.
        """
        if self._damage is not None:
            raise self._damage
        block = self._next
        if block is None or (self._realtime and not self._wait_for(block, timeout_s)):
            return None
        self._replay_clock.observe(_end_of(block))
        self._next = self._look_ahead()
        return block

    def stop(self) -> None:
        """Close the file; a `read` that waits in another thread returns."""
        self._stopped.set()
        self._blocks = iter(())
        self._next = None
        self._damage = None

    def _look_ahead(self) -> AudioBlock | None:
        """Decode the next block; damage must not take this one away, so it is told later."""
        try:
            return next(self._blocks, None)
        except AudioFileError as error:
            self._damage = error
            return None

    def _wait_for(self, block: AudioBlock, timeout_s: float) -> bool:
        """Wait at most `timeout_s`; True when the moment of `block` has come."""
        due_s = self._started_s + _end_of(block) / SAMPLE_RATE
        wait_s = due_s - time.monotonic()
        if wait_s > 0 and self._stopped.wait(min(wait_s, timeout_s)):
            return False
        if wait_s > timeout_s:
            return False
        self._live_clock.observe(_end_of(block), arrived_at_s=due_s)
        return True


def load_audio(path: Path) -> NDArray[np.float32]:
    """Load a whole file as (n,) float32 mono at `SAMPLE_RATE`; raises `AudioFileError`."""
    return np.concatenate(list(decode(path)))


def decode(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield a file piecewise as (n,) float32 mono at `SAMPLE_RATE`, mixing its channels.

    Raises `AudioFileError`: before the first piece for a file without audio, in the middle for
    a damaged one. A WAV that was cut short is read as far as it goes, a pipe to its end first.
    """
    with _open(path) as file:
        if file.frames == 0:
            raise AudioFileError(
                "audio.no_samples", f"{path} holds no audio: it is 0 s long", remedy=_FORMATS_REMEDY
            )
        resampler = StreamResampler(file.samplerate)
        while len(mono := _read_mono(file, path)):
            yield resampler.feed(mono)
        yield resampler.finish()


class _OnwardFile(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no types
    """A file that is read from beginning to end.

    soundfile seeks to where it already is after every read, unless a file cannot seek. In an
    MP3 that loses what the decoder carries over, and the rest of the file with it.
    """

    def seekable(self) -> bool:
        return False


def _open(path: Path) -> soundfile.SoundFile:
    try:
        file = _OnwardFile(_source(path))
    except OSError as error:
        raise AudioFileError(
            "audio.cannot_open",
            f"{path} cannot be opened: {error.strerror}",
            remedy="check the path and its permissions",
        ) from error
    except soundfile.LibsndfileError as error:
        raise AudioFileError(
            "audio.not_audio",
            f"{path} cannot be read as audio: {error.error_string.rstrip('.')}",
            remedy=_FORMATS_REMEDY,
        ) from error
    if not RATE_MIN_HZ <= file.samplerate <= RATE_MAX_HZ:
        raise AudioFileError(
            "audio.rate",
            f"{path} has a sample rate of {file.samplerate} Hz",
            remedy=f"convert it to between {RATE_MIN_HZ} and {RATE_MAX_HZ} Hz",
        )
    return file


def _source(path: Path) -> Path | io.BytesIO:
    """Return a file as it is, and of anything that can be read only once what is in it.

    libsndfile waits for a pipe inside a system call of its own, where Ctrl-C is not heard, and
    needs to go back in it.
    """
    with path.open("rb", buffering=0) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return path
        content = _read_through(file)
    if len(content) > _PIPE_MAX_BYTES:
        raise AudioFileError(
            "audio.too_long",
            f"{path} is no file, and more than {_PIPE_MAX_BYTES >> 20} MiB come out of it",
            remedy="save it to a file, and give that",
        )
    return io.BytesIO(content)


def _read_through(pipe: io.FileIO) -> bytearray:
    """Read to the end, or to one piece beyond `_PIPE_MAX_BYTES`; never deaf to Ctrl-C.

    A signal that comes just before a read that waits would not end it, so no read waits.
    """
    content = bytearray()
    while len(content) <= _PIPE_MAX_BYTES:
        if not select.select([pipe], [], [], _SIGNAL_CHECK_S)[0]:
            continue
        piece = pipe.read(_PIECE_BYTES)
        if not piece:
            break
        content += piece
    return content


def _read_mono(file: soundfile.SoundFile, path: Path) -> NDArray[np.float32]:
    """Decode the next piece as (n,) float32 at the file's own rate; none at its end."""
    at_s = file.tell() / file.samplerate
    n_frames = max(1, file.samplerate // _PIECES_A_SECOND)
    try:
        piece = file.read(n_frames, dtype="float32", always_2d=True)  # (n_frames, n_channels)
    except soundfile.LibsndfileError as error:
        raise AudioFileError(
            "audio.damaged",
            f"{path} is damaged after {at_s:.1f} s: {error.error_string.rstrip('.')}",
            remedy="get the file again, or cut it before that place",
        ) from error
    # Not-a-number would spread through the resampler into everything after it.
    mono: NDArray[np.float32] = np.nan_to_num(piece.mean(axis=1), nan=0.0, posinf=1.0, neginf=-1.0)
    return mono


def _blocks(pieces: Iterator[NDArray[np.float32]]) -> Iterator[AudioBlock]:
    """Cut a stream into blocks of `BLOCK_SAMPLES`; the last one is shorter."""
    first_sample = 0
    pending = np.zeros(0, np.int16)
    for piece in pieces:
        pending = np.concatenate((pending, to_int16(piece)))
        while len(pending) >= BLOCK_SAMPLES:
            yield AudioBlock(first_sample, pending[:BLOCK_SAMPLES])
            first_sample += BLOCK_SAMPLES
            pending = pending[BLOCK_SAMPLES:]
    if len(pending):
        yield AudioBlock(first_sample, pending)


def _end_of(block: AudioBlock) -> int:
    return block.first_sample + len(block.samples)
