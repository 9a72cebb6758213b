"""Audio files: replayed as if they were a microphone, or loaded whole."""

import io
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice_daemon.audio import BLOCK_SAMPLES, MAX_BLOCKS_TOGETHER, AudioSource
from voice_daemon.audio.clock import LiveClock, sleep
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
        sleep: Callable[[float], None] = sleep,
    ) -> None:
        """`max_silence_s`: enough to close any session that the file may leave open."""
        self.wanted_sample = 0
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
        """The file's description."""
        return self._file.description

    @property
    def dropped_samples(self) -> int:
        """Samples that the file could not deliver."""
        return self._file.dropped_samples

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
                self._file.wanted_sample = self.wanted_sample
                block = self._file.read(timeout_s)
                if block is not None:
                    self._end_sample = block.first_sample + len(block.samples)
                return block
            self._file_ended = (self._file.now_sample(), self._monotonic())
        return self._silence(timeout_s)

    def now_sample(self) -> int:
        """Give the sample that a microphone would be delivering right now."""
        if self._file_ended is None:
            return self._file.now_sample()
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
_HEADER_BYTES: Final = 1 << 12
_UINT32_MAX: Final = (1 << 32) - 1
MUCH_FAINTER: Final = 10 ** (-9 / 10)
"""Share of the loudest channel's power: the mix of three, of which one is connected, has less."""
_FORMATS_REMEDY: Final = "give an audio file: WAV, FLAC, Ogg, MP3 or AIFF"


class FileSource:
    """Plays a file as an audio source, in real time or as fast as it is read.

    Memory does not grow with the file.
    """

    def __init__(self, path: Path, *, realtime: bool) -> None:
        self.wanted_sample = 0
        self._path = path
        self._realtime = realtime
        self._stopped = threading.Event()
        self._clock = LiveClock()
        self._end_sample = 0
        self._blocks: Iterator[AudioBlock] = iter(())
        self._next: AudioBlock | None = None
        self._damage: AudioFileError | None = None
        self._started_s = 0.0

    @property
    def description(self) -> str:
        """The file's name."""
        return f"file {self._path.name}"

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
        self._clock.observe(0, arrived_at_s=self._started_s)

    def read(self, timeout_s: float) -> AudioBlock | None:
        """Return the next 20 ms (less at the very end) once a microphone would have them.

        In real time they come together up to `wanted_sample`, 0.1 s at most. Raises
        `AudioFileError` where the file is damaged.
        """
        if self._damage is not None:
            raise self._damage
        block = self._next
        if block is None:
            return None
        until_sample = self._together_until(block)
        if self._realtime and not self._wait_for(until_sample, timeout_s):
            return None
        pieces = []
        while self._next is not None and _end_of(self._next) <= until_sample:
            pieces.append(self._next.samples)
            self._end_sample = _end_of(self._next)
            self._next = self._look_ahead()
        return AudioBlock(block.first_sample, np.concatenate(pieces))

    def now_sample(self) -> int:
        """Return the replay's place in real time, or how far the file was read."""
        return self._clock.now_sample() if self._realtime else self._end_sample

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

    def _together_until(self, block: AudioBlock) -> int:
        """Return the sample up to which blocks are read as one, `block` at least."""
        if not self._realtime:
            return _end_of(block)
        most = block.first_sample + MAX_BLOCKS_TOGETHER * BLOCK_SAMPLES
        return max(_end_of(block), min(self.wanted_sample, most))

    def _wait_for(self, end_sample: int, timeout_s: float) -> bool:
        """Wait at most `timeout_s`; True when the moment of a sample has come."""
        due_s = self._started_s + end_sample / SAMPLE_RATE
        wait_s = due_s - time.monotonic()
        if wait_s > 0 and self._stopped.wait(min(wait_s, timeout_s)):
            return False
        if wait_s > timeout_s:
            return False
        self._clock.observe(end_sample, arrived_at_s=due_s)
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
        resampler = StreamResampler(file.samplerate)
        downmix = Downmix()
        n_frames = 0
        while len(piece := _read_piece(file, path, at_s=n_frames / file.samplerate)):
            n_frames += len(piece)
            yield resampler.feed(downmix.feed(piece))
        # Not by the header's count: formats that cannot seek, and recorders that were stopped
        # hard, leave it wrong.
        if not n_frames:
            raise AudioFileError(
                "audio.no_samples", f"{path} holds no audio: it is 0 s long", remedy=_FORMATS_REMEDY
            )
        yield resampler.finish()


class Downmix:
    """Mixes channels by their mean, or takes the loudest where the mean is much fainter.

    Channels out of phase cancel each other, and of many channels only one may be connected.
    """

    def __init__(self) -> None:
        self._channel_energy: NDArray[np.float64] | float = 0.0
        self._mix_energy = 0.0

    def feed(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next (n_frames, n_channels); return (n_frames,)."""
        mix: NDArray[np.float32] = piece.mean(axis=1)
        self._channel_energy = self._channel_energy + np.square(piece, dtype=np.float64).sum(axis=0)
        self._mix_energy += float(np.square(mix, dtype=np.float64).sum())
        # Over all that came so far: a choice piece by piece would jump between channels.
        loudest = int(np.argmax(self._channel_energy))
        if self._mix_energy < MUCH_FAINTER * np.max(self._channel_energy):
            return piece[:, loudest]
        return mix


class _OnwardFile(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no types
    """A file that is read from beginning to end.

    soundfile seeks to where it already is after every read, unless a file cannot seek. In an
    MP3 that loses what the decoder carries over, and the rest of the file with it.
    """

    def seekable(self) -> bool:
        return False


def _open(path: Path) -> soundfile.SoundFile:
    try:
        source = _completed(_source(path))
        # As bytes: soundfile cannot spell a name that is not UTF-8.
        file = _OnwardFile(os.fsencode(source) if isinstance(source, Path) else source)
    except OSError as error:
        raise AudioFileError(
            "audio.cannot_open",
            f"{path} cannot be opened: {error.strerror}",
            remedy="check the path and its permissions",
        ) from error
    except soundfile.SoundFileError as error:
        raise AudioFileError(
            "audio.not_audio",
            f"{path} cannot be read as audio: {_reason(error)}",
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
            f"{path} is a pipe or a device and gave more than {_PIPE_MAX_BYTES >> 20} MiB",
            remedy="save it to a file, and give that",
        )
    return io.BytesIO(content)


def _completed(source: Path | io.BytesIO) -> Path | io.BufferedIOBase:
    """Return a WAV whose length was never written with the length that it has, others as is.

    A recorder that is stopped hard leaves 0 there. libsndfile then finds no audio.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            header, n_bytes = file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size
    else:
        header, n_bytes = source.getvalue()[:_HEADER_BYTES], source.getbuffer().nbytes
    at = _unwritten_length(header, n_bytes)
    if at is None:
        return source
    patches = {4: n_bytes - 8, at: n_bytes - at - 4}
    return io.BufferedReader(_PatchedFile(source, patches))


def _unwritten_length(header: bytes, n_bytes: int) -> int | None:
    """Return the place of the length of a WAV's data if that is 0 before more bytes, or None."""
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        return None
    at = 12
    while at + 8 <= len(header):
        name, length = header[at : at + 4], int.from_bytes(header[at + 4 : at + 8], "little")
        if name == b"data":
            behind = header[at + 8 : at + 16]
            # A WAV that is really empty may have another chunk behind its data.
            is_chunk = behind[:4].isalnum() and int.from_bytes(behind[4:8], "little") <= n_bytes
            return at + 4 if length == 0 and n_bytes > at + 8 and not is_chunk else None
        at += 8 + length + length % 2
    return None


class _PatchedFile(io.RawIOBase):
    """A file with some of its 32-bit numbers replaced as it is read; it is never written."""

    def __init__(self, source: Path | io.BytesIO, patches: Mapping[int, int]) -> None:
        super().__init__()
        self._file = source.open("rb") if isinstance(source, Path) else source
        self._patches = {
            at: min(number, _UINT32_MAX).to_bytes(4, "little") for at, number in patches.items()
        }

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # any buffer
        first = self._file.tell()
        view = memoryview(buffer)
        n_read = self._file.readinto(view)
        for at, number in self._patches.items():
            for offset, byte in enumerate(number):
                if first <= at + offset < first + n_read:
                    view[at + offset - first] = byte
        return n_read

    def close(self) -> None:
        self._file.close()
        super().close()


def _read_through(pipe: io.FileIO) -> bytearray:
    """Read to the end, or to one piece beyond `_PIPE_MAX_BYTES`; stays interruptible.

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


def _read_piece(file: soundfile.SoundFile, path: Path, *, at_s: float) -> NDArray[np.float32]:
    """Decode the next piece as (n, n_channels) float32 at the file's own rate; none at its end.

    `at_s`: its place. The file is not asked, as some formats cannot tell.
    """
    n_frames = max(1, file.samplerate // _PIECES_A_SECOND)
    try:
        piece = file.read(n_frames, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioFileError(
            "audio.damaged",
            f"{path} is damaged after {at_s:.1f} s: {_reason(error)}",
            remedy="get the file again, or cut it before that place",
        ) from error
    # Not-a-number would spread through the resampler into everything after it.
    finite: NDArray[np.float32] = np.nan_to_num(piece, nan=0.0, posinf=1.0, neginf=-1.0)
    return finite


def _reason(error: soundfile.SoundFileError) -> str:
    """Return libsndfile's words, without the file's name in front."""
    return str(getattr(error, "error_string", error)).rstrip(".")


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
