"""Whisper's log-mel spectrogram, for a whole buffer and fed piece by piece.

Owns the framing, the mel filters, the dynamic-range floor, and the check of every array that
comes in as audio. Frames go in and out by index, 10 ms apart.

The maths is Whisper's front end (Radford et al. 2022, "Robust Speech Recognition via
Large-Scale Weak Supervision", section 2.2): 25 ms Hann windows every 10 ms, Slaney's mel scale
with area-normalised triangles, log10, a floor 8 below the loudest value, (x + 4) / 4.
"""

from functools import cache
from typing import Final, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from voice_daemon.errors import AudioFormatError
from voice_daemon.events import SAMPLE_RATE

N_FFT: Final = 400
"""Samples in one analysis window, 25 ms."""
HOP_SAMPLES: Final = 160
"""Samples from one mel frame to the next, 10 ms."""
_MIN_ENERGY: Final = np.float32(1e-10)
SILENCE_LOG10: Final = float(np.log10(_MIN_ENERGY))
"""The raw log10 energy of digital silence, where energies are clamped: about -10."""
DYNAMIC_RANGE_LOG10: Final = 8.0
"""Raw log10 energies further than this below the loudest are lifted to that floor."""

_LOUDEST: Final = 4.0
"""Filters overshoot 1 a little; int16 that was cast and not scaled is hundreds of times louder."""
_MEL_BANDS: Final = frozenset({80, 128})
_HALF = N_FFT // 2
_BLOCK_FRAMES = 512  # bounds the working memory, and keeps it inside the processor's cache


@cache
def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Slaney's mel filter bank -> (n_mels, N_FFT // 2 + 1) float32, not writeable.

    Linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 mels for a factor of 6.4), each
    triangle scaled to unit area in Hz (Slaney 1998, "Auditory Toolbox").
    """
    bin_hz = np.fft.rfftfreq(N_FFT, d=1 / SAMPLE_RATE)
    top_mel = 15.0 + 27.0 * np.log(SAMPLE_RATE / 2 / 1000.0) / np.log(6.4)
    mels = np.linspace(0.0, top_mel, n_mels + 2)
    logarithmic = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0))
    edge_hz = np.where(mels < 15.0, mels * 200.0 / 3.0, logarithmic)
    left, centre, right = edge_hz[:-2, None], edge_hz[1:-1, None], edge_hz[2:, None]
    rising = (bin_hz - left) / (centre - left)
    falling = (right - bin_hz) / (right - centre)
    triangles = np.clip(np.minimum(rising, falling), 0.0, None) * (2.0 / (right - left))
    filters: NDArray[np.float32] = triangles.astype(np.float32)
    filters.flags.writeable = False
    return filters


@cache
def _window() -> NDArray[np.float32]:
    """Periodic Hann window -> (N_FFT,) float32."""
    # numpy's is symmetric: one longer and cut is the periodic one that Whisper was trained with.
    window: NDArray[np.float32] = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    return window


@cache
def _sparse_filters(n_mels: int) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """Flatten the bank to (bins (k,), weights (k,), first entry of each band (n_mels,)).

    Nearly all of the dense bank is zero. Summing only what is not is as fast as BLAS, and the
    result of a frame does not depend on how many frames are computed with it.
    """
    filters = mel_filters(n_mels)
    bins: list[NDArray[np.intp]] = []
    starts: list[int] = []
    n_entries = 0
    for band in filters:
        # A band too narrow to hold a bin still needs an entry: its weight is zero.
        nonzero = np.flatnonzero(band) if band.any() else np.array([0], dtype=np.intp)
        starts.append(n_entries)
        bins.append(nonzero)
        n_entries += len(nonzero)
    bands = np.repeat(np.arange(n_mels), [len(entry) for entry in bins])
    all_bins = np.concatenate(bins)
    return all_bins, filters[bands, all_bins], np.array(starts, dtype=np.intp)


def _raw_frames(padded: NDArray[np.float32], n_frames: int, n_mels: int) -> NDArray[np.float32]:
    """(>= (n_frames - 1) * HOP + N_FFT,) -> (n_frames, n_mels) log10 mel energies."""
    raw = np.empty((n_frames, n_mels), dtype=np.float32)
    if n_frames == 0:
        return raw
    bins, weights, starts = _sparse_filters(n_mels)
    windows = sliding_window_view(padded, N_FFT)[::HOP_SAMPLES]
    for first in range(0, n_frames, _BLOCK_FRAMES):
        end = min(first + _BLOCK_FRAMES, n_frames)
        spectrum = np.fft.rfft(windows[first:end] * _window(), axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        energies = np.add.reduceat(power[:, bins] * weights, starts, axis=1)
        raw[first:end] = np.log10(np.maximum(energies, _MIN_ENERGY))
    return raw


def normalise(raw: NDArray[np.float32], *, loudest: float) -> NDArray[np.float32]:
    """Raw log10 energies (n, n_mels) -> the encoder's input (n, n_mels).

    `loudest` is the raw value that the floor hangs below: Whisper takes the maximum of the
    whole window.
    """
    floor = np.float32(loudest) - np.float32(DYNAMIC_RANGE_LOG10)
    return (np.maximum(raw, floor) + np.float32(4.0)) / np.float32(4.0)


def log_mel_spectrogram(
    samples: NDArray[np.float32],
    n_mels: int,
    *,
    padding_samples: int = 0,
    rate_hz: int = SAMPLE_RATE,
) -> NDArray[np.float32]:
    """(n_samples,) float32 in [-1, 1] at 16 kHz -> (n_frames, n_mels) float32.

    `padding_samples` zeros are appended first, as Whisper does up to its 30 s window. There is
    one frame for each whole 10 ms of what results. Raises `AudioFormatError` for anything else.
    """
    audio = checked_samples(samples, rate_hz=rate_hz)
    if padding_samples:
        audio = np.concatenate((audio, np.zeros(padding_samples, dtype=np.float32)))
    n_frames = len(audio) // HOP_SAMPLES
    if n_frames == 0:
        return np.empty((0, n_mels), dtype=np.float32)
    raw = _raw_frames(np.pad(audio, _HALF, mode="reflect"), n_frames, n_mels)
    return normalise(raw, loudest=float(raw.max()))


def checked_samples(
    samples: NDArray[np.float32], *, rate_hz: int = SAMPLE_RATE
) -> NDArray[np.float32]:
    """Return `samples` if they are (n_samples,) float32 in [-1, 1] at 16 kHz.

    Raises `AudioFormatError` for anything else. A recogniser reads nonsense from audio of another
    rate or scale without any other sign of it.
    """
    wanted = "audio must be (n_samples,) float32 in [-1, 1] at 16 kHz"
    if not isinstance(samples, np.ndarray):
        raise AudioFormatError(
            "audio.not_samples",
            f"{wanted}, not a {type(samples).__name__}",
            remedy="pass a NumPy array of samples; `voice_daemon.audio.file.load_audio` makes "
            "one of any audio file",
        )
    if rate_hz != SAMPLE_RATE:
        raise AudioFormatError(
            "audio.rate",
            f"{wanted}, not at {rate_hz} Hz",
            remedy=f"resample it, as with soxr.resample(samples, {rate_hz}, {SAMPLE_RATE})",
        )
    if samples.ndim != 1:
        raise AudioFormatError(
            "audio.shape",
            f"{wanted}, not of shape {samples.shape}",
            remedy=_shape_remedy(samples.shape),
        )
    if samples.dtype != np.float32:
        raise AudioFormatError(
            "audio.dtype",
            f"{wanted}, not {samples.dtype}",
            remedy="convert it: samples.astype(np.float32)"
            + (" / 32768" if samples.dtype == np.int16 else ""),
        )
    # Negated, so that NaN, which compares with nothing, is refused too.
    if samples.size and not (samples.max() <= _LOUDEST and samples.min() >= -_LOUDEST):
        raise AudioFormatError(
            "audio.range",
            f"{wanted}, and these reach from {samples.min():g} to {samples.max():g}",
            remedy="divide integers by their full scale (int16: 32768); NaN is not a sound",
        )
    return samples


def float_samples(
    samples: NDArray[np.float32] | NDArray[np.int16], *, rate_hz: int = SAMPLE_RATE
) -> NDArray[np.float32]:
    """(n_samples,) int16 or float32 at 16 kHz -> float32 in [-1, 1]; see `checked_samples`."""
    if isinstance(samples, np.ndarray) and samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32768.0
    return checked_samples(cast("NDArray[np.float32]", samples), rate_hz=rate_hz)


def _shape_remedy(shape: tuple[int, ...]) -> str:
    if _MEL_BANDS & set(shape):
        return "this looks like a log-mel spectrogram: pass the samples that it was made from"
    return "mix channels to one first: samples.mean(axis=1) of (n_samples, n_channels)"


def _reflect_start(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whisper centres frame 0 on sample 0: what lies before is audio[1:201] backwards."""
    return np.concatenate((audio[_HALF:0:-1], audio))


class IncrementalLogMel:
    """Log-mel frames of a growing buffer; each frame is computed once.

    Raw log10 energies are kept, because the floor depends on the loudest frame of whatever the
    caller encodes: apply it with `normalise`. Frame i is centred on sample i * HOP_SAMPLES of what
    was fed, and is bit-identical however the feeding was split.
    """

    def __init__(self, n_mels: int) -> None:
        self.n_mels = n_mels
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample fed is sample 0."""
        self.first_frame = 0
        """The oldest frame that is still held."""
        self.n_samples = 0
        """Samples fed since the start."""
        self.n_frames = 0
        """Frames whose whole window has been fed; the next `n_touched - n_frames` are partial."""
        self._rows = np.empty((256, self.n_mels), dtype=np.float32)
        self._pending = np.empty(0, dtype=np.float32)
        self._reflected = False  # whether the reflection around sample 0 stands before it

    @property
    def n_touched(self) -> int:
        """Frames whose window holds at least one sample that was fed."""
        return -(-(self.n_samples + _HALF) // HOP_SAMPLES) if self.n_samples else 0

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Append (n,) float32 samples in [-1, 1]; any n."""
        self._pending = np.concatenate((self._pending, checked_samples(samples)))
        self.n_samples += len(samples)
        if not self._reflected:
            if self.n_samples <= _HALF:
                return
            self._pending = _reflect_start(self._pending)
            self._reflected = True
        n_new = max(0, (len(self._pending) - N_FFT) // HOP_SAMPLES + 1)
        self._append(_raw_frames(self._pending, n_new, self.n_mels))
        # A copy, or the rest would keep all that was fed alive.
        self._pending = self._pending[n_new * HOP_SAMPLES :].copy()

    def raw(self, first: int, end: int) -> NDArray[np.float32]:
        """Frames [first, end) -> (end - first, n_mels) raw log10 energies, a copy.

        Frames past `n_frames` are computed as if silence followed, as Whisper's padding to 30 s
        has it; they change when more is fed. Raises IndexError for frames that were trimmed.
        """
        if not self.first_frame <= first <= end:
            raise IndexError(f"frames [{first}, {end}) asked, held from {self.first_frame}")
        n_held = max(0, min(end, self.n_frames) - first)
        at = first - self.first_frame
        frames = np.full((end - first, self.n_mels), SILENCE_LOG10, dtype=np.float32)
        frames[:n_held] = self._rows[at : at + n_held]
        first_partial = max(first, self.n_frames)
        if first_partial < min(end, self.n_touched):
            tail = self._tail()[first_partial - self.n_frames : end - self.n_frames]
            frames[n_held : n_held + len(tail)] = tail
        return frames

    def trim(self, first_frame: int) -> None:
        """Forget the frames before `first_frame`; later indices keep their meaning."""
        n_dropped = min(first_frame, self.n_frames) - self.first_frame
        if n_dropped <= 0:
            return
        n_kept = self.n_frames - self.first_frame - n_dropped
        self._rows[:n_kept] = self._rows[n_dropped : n_dropped + n_kept].copy()
        self.first_frame += n_dropped

    def _tail(self) -> NDArray[np.float32]:
        """Compute the partial frames, zeros standing for what was not fed yet."""
        n_partial = self.n_touched - self.n_frames
        audio = self._pending
        if not self._reflected:
            head = np.zeros(_HALF + 1, dtype=np.float32)
            head[: len(audio)] = audio
            audio = _reflect_start(head)
        n_needed = (n_partial - 1) * HOP_SAMPLES + N_FFT
        padded = np.zeros(max(n_needed, len(audio)), dtype=np.float32)
        padded[: len(audio)] = audio
        return _raw_frames(padded, n_partial, self.n_mels)

    def _append(self, frames: NDArray[np.float32]) -> None:
        n_held = self.n_frames - self.first_frame
        n_needed = n_held + len(frames)
        if n_needed > len(self._rows):
            # Doubled, so that each frame is moved a few times at most.
            grown = np.empty((max(n_needed, 2 * len(self._rows)), self.n_mels), dtype=np.float32)
            grown[:n_held] = self._rows[:n_held]
            self._rows = grown
        self._rows[n_held:n_needed] = frames
        self.n_frames += len(frames)
