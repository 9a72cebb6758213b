"""Encoding audio as it grows, at a cost proportional to the audio.

Whisper needs its 30 s window, but the padding is always the same silence. So one window of
silence is encoded and its keys and values kept, layer by layer, for the encoder and for
the decoder's cross-attention. Live audio is encoded for its own frames only: they attend to
each other and to the silence's keys from their end on. Frames older than a few seconds keep
the keys they had (the frozen prefix), so that a step's cost does not grow with the audio.

Owns those caches. Knows nothing of tokens, decoding or sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from voice_daemon.asr import features
from voice_daemon.asr.features import IncrementalLogMel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from voice_daemon.asr.model import KeyValue
    from voice_daemon.asr.whisper import WhisperModel

FRAME_SAMPLES = 320
"""Samples in one encoder frame, 20 ms."""
FRAMES_PER_SECOND = 50
MEL_PER_FRAME = 2
SILENCE_LEVEL = 1.5
"""The loudest raw log10 energy that the silence's floor hangs below: speech at a usual level.

Measured over speech from -1.4 to 2.3: one fixed level reads as well as a level to the nearest
0.1 (1.2 % of the final's words changed against 1.3 %).
"""


@dataclass(frozen=True, slots=True)
class Context:
    """Keys and values of a whole window: the encoder's layers and the decoder's cross layers."""

    encoder: tuple[KeyValue, ...]
    cross: tuple[KeyValue, ...]


def silent_window(model: WhisperModel) -> Context:
    """Keys and values of a whole window of silence: built once a model, shared by sessions.

    Silence's value in the log-mel spectrogram hangs 8 below the loudest frame of the audio, so
    the keys depend on it, but little: `SILENCE_LEVEL` stands for all speech.
    """
    dims = model.dims
    shape = (MEL_PER_FRAME * dims.n_audio_ctx, dims.n_mels)
    silence = np.full(shape, features.SILENCE_LOG10, dtype=np.float32)
    mel = mx.array(features.normalise(silence, loudest=SILENCE_LEVEL)).astype(model.dtype)
    audio, keys = model.encoder.with_keys(mel[None])
    window = Context(keys, model.decoder.cross_keys(audio))
    mx.eval(window.encoder, window.cross)
    return window


class AcousticContext:
    """One utterance's audio, encoded incrementally: `feed`, then `encode`, then `cross`."""

    def __init__(
        self,
        model: WhisperModel,
        silence: Context,
        *,
        refresh_frames: int,
        padding_frames: int,
    ) -> None:
        self._model = model
        self._silence = silence
        self._refresh = refresh_frames
        self._padding = padding_frames
        self.reset()

    def reset(self) -> None:
        """Forget the utterance."""
        self._mel = IncrementalLogMel(self._model.dims.n_mels)
        self._context = self._silence
        self._loudest = -np.inf
        self._heard_mel = 0
        self._encoded = 0

    @property
    def n_samples(self) -> int:
        """Samples fed since the start."""
        return self._mel.n_samples

    @property
    def n_frames(self) -> int:
        """Encoder frames of real audio that the last `encode` covered."""
        return self._encoded

    @property
    def cross(self) -> tuple[KeyValue, ...]:
        """Cross-attention keys and values of the whole window; silence before `encode`."""
        return self._context.cross

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Append (n,) float32 samples in [-1, 1]."""
        self._mel.feed(samples)

    def encode(self, *, everything: bool = False, padding_frames: int | None = None) -> int:
        """Bring the context up to the audio; returns the encoder frames of real audio.

        Only frames newer than the refresh span are computed anew, or all with `everything`.
        """
        dims = self._model.dims
        # The newest mel frame still misses samples; at the end, silence stands for them.
        whole = self._mel.n_samples // FRAME_SAMPLES if everything else None
        n_frames = self._mel.n_frames // MEL_PER_FRAME if whole is None else whole
        n_frames = min(n_frames, dims.n_audio_ctx)
        self._follow_loudness()
        first = 0 if everything else max(0, self._encoded - self._refresh)
        padding = self._padding if padding_frames is None else padding_frames
        end = min(n_frames + padding, dims.n_audio_ctx)
        margin = 0 if first == 0 else 1
        raw = self._mel.raw(MEL_PER_FRAME * (first - margin), MEL_PER_FRAME * (end + 1))
        mel = mx.array(features.normalise(raw, loudest=self._loudest)).astype(self._model.dtype)
        frames, keys = self._model.encoder.within(
            mel[None], self._context.encoder, first, margin=margin
        )
        cross = tuple(
            (_put(k, new_k, first), _put(v, new_v, first))
            for (k, v), (new_k, new_v) in zip(
                self._context.cross, self._model.decoder.cross_keys(frames), strict=True
            )
        )
        self._context = Context(keys, cross)
        mx.async_eval(keys, cross)
        self._encoded = n_frames
        return n_frames

    def _follow_loudness(self) -> None:
        """Raise the level that the spectrogram's floor hangs below to the newest audio's."""
        n_mel = self._mel.n_frames
        if n_mel > self._heard_mel:
            newest = float(self._mel.raw(self._heard_mel, n_mel).max())
            self._loudest = max(self._loudest, newest)
            self._heard_mel = n_mel


def _put(whole: mx.array, part: mx.array, first: int) -> mx.array:
    """`whole` (B, H, N, D) with `part` (B, H, T, D) from frame `first` on."""
    return mx.slice_update(whole, part, mx.array([first]), axes=(2,))
