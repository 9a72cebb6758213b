"""Encodes audio as it grows, at a cost proportional to the audio.

Whisper needs its 30 s window, but the padding is always the same silence. So one window of
silence is encoded and its keys and values kept, layer by layer, for the encoder and for the
decoder's cross-attention, pooled in time. Live audio is encoded for its own frames only: they
attend to each other and to the silence's keys from their end on. Frames older than a few
seconds keep the keys they had (the frozen prefix), so that a step's cost does not grow with
the audio.

Where there is time, a final is encoded beside live silence: in Whisper's own window the silence
hears the audio too, which the cached one does not. On a CPU every fourth frame of it stands for
four; a GPU, which pays for new shapes, encodes all of it, which is what offline decoding does.

Owns those caches, for one utterance (`IncrementalEncoder`) and for all (`SilenceCache`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr import features
from voice_daemon.asr.blocks import KeyValue, between, in_time, written
from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.features import IncrementalLogMel
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.model import CrossKeys
from voice_daemon.asr.shapes import HIDDEN, ROOM_KEYS, rounded_up, row_bucket

FRAME_SAMPLES = 320
"""Samples in one encoder frame, 20 ms."""
FRAMES_PER_SECOND = 50
MEL_PER_FRAME = 2
POOL_FRAMES = 4
"""Frames of silence that one pooled key stands for, in a final."""
EDGE_FRAMES = 4
"""Frames at the window's end that are not pooled in a final: its last is unlike all others."""
STEP_POOL = 4
"""Number of those keys that are pooled again for a step."""
LIVE_STRIDE = 4
"""Frames of live silence for each that is encoded. Their positions turn by up to a radian a
frame: further apart, they do not stand for those between them."""
LIVE_PADDING_FRAMES = 25
"""Frames of the silence right behind the audio that are all encoded."""
SILENCE_LEVEL = 1.5
"""The loudest raw log10 energy that the silence's floor hangs below: speech at a usual level.

Measured over speech from -1.4 to 2.3: one fixed level reads as well as a level to the nearest
0.1 (1.2 % of the final's words changed against 1.3 %).
"""


@dataclass(frozen=True, slots=True)
class SilenceCache:
    """Keys and values of a whole window of silence, pooled in time.

    Key `i` is the mean of frames `[i * pool, (i + 1) * pool)` and counts `pool` times: log(pool)
    is added to its scores. The last `n_edge` keys are a frame each.
    """

    pool: int
    n_edge: int
    encoder: tuple[KeyValue, ...]
    """A layer each."""
    cross: KeyValue
    """Of all decoder layers, as `CrossKeys` has them."""

    @property
    def n_keys(self) -> int:
        """Keys of a layer, for the whole window."""
        return self.cross.shape[2]

    def weights(self) -> NDArray[np.float32]:
        """(n_keys,): what is added to the scores of each key."""
        weights = np.full(self.n_keys, np.log(self.pool), dtype=np.float32)
        weights[self.n_keys - self.n_edge :] = 0
        return weights

    def n_until(self, frame: int) -> int:
        """Keys that stand for frames before `frame`, a whole number of pooled ones or the end."""
        n_pooled = self.n_keys - self.n_edge
        return frame // self.pool if frame <= n_pooled * self.pool else self.n_keys

    def coarser(self, factor: int) -> SilenceCache:
        """The same silence with every `factor` pooled keys pooled into one, without its edge."""
        n_pooled = self.n_keys - self.n_edge
        encoder = tuple(_pooled(layer[:, :, :n_pooled], factor) for layer in self.encoder)
        cross = _pooled(self.cross[:, :, :n_pooled], factor)
        return SilenceCache(self.pool * factor, 0, encoder, cross)


def silent_window(model: WhisperModel) -> SilenceCache:
    """Encode 30 s of silence: built once a model, shared by all sessions.

    Silence's value in the log-mel spectrogram hangs 8 below the loudest frame of the audio, so
    the keys depend on it, but little: `SILENCE_LEVEL` stands for all speech.
    """
    dims = model.dims
    shape = (MEL_PER_FRAME * dims.n_audio_ctx, dims.n_mels)
    silence = np.full(shape, features.SILENCE_LOG10, dtype=np.float32)
    mel = mx.array(features.normalise(silence, loudest=SILENCE_LEVEL)).astype(model.dtype)
    audio, keys = model.encoder.with_keys(mel[None])
    cross = model.decoder.cross_keys(audio).joint
    pooled = tuple(_pooled_but_edge(layer) for layer in keys)
    window = SilenceCache(POOL_FRAMES, EDGE_FRAMES, pooled, _pooled_but_edge(cross))
    mx.eval(window.encoder, window.cross)
    return window


def _alone(new: KeyValue) -> KeyValue:
    """Put new keys among no others."""
    return new


def _pooled(x: mx.array, pool: int) -> mx.array:
    """Mean over every `pool` frames of (B, H, T, D); a rest at the end is left out."""
    batch, heads, length, depth = x.shape
    whole = x[:, :, : length - length % pool]
    return whole.reshape(batch, heads, length // pool, pool, depth).mean(axis=3)


def _pooled_but_edge(x: mx.array) -> mx.array:
    n_pooled = x.shape[2] - EDGE_FRAMES
    return in_time(_pooled(x[:, :, :n_pooled], POOL_FRAMES), x[:, :, n_pooled:])


def live_silence(first: int, n_window: int) -> tuple[list[int], NDArray[np.float32]]:
    """Places of the silence from frame `first` on that are encoded, and how many each stands for.

    The window's last frame, which is unlike all others, stands for itself.
    """
    last = n_window - 1
    starts = range(first, last, LIVE_STRIDE)
    n_frames = [min(LIVE_STRIDE, last - start) for start in starts]
    places = [start + (n - 1) // 2 for start, n in zip(starts, n_frames, strict=True)]
    return [*places, last], np.array([*n_frames, 1], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Places of the keys in one encoding: the audio's from `first` on are new, silence follows."""

    first: int
    end: int
    """Frames of audio and of the padding behind it."""
    n_audio: int
    """Keys before the silence's: those frames, and room that is hidden."""
    silent: SilenceCache
    few_shapes: bool
    """True: the silence stands there whole, hidden where the audio is, and the room is kept."""

    def continues(self, before: _Layout | None) -> bool:
        """True where the keys of `before` stand where they stand now."""
        return before is not None and (
            self.n_audio == before.n_audio and self.silent is before.silent
        )

    @property
    def n_before(self) -> int:
        """Silent keys that are left out, as the audio is in their place."""
        return 0 if self.few_shapes else self.silent.n_until(self.end)

    def mask(self) -> NDArray[np.float32]:
        """(n_keys,): 0 for each frame of audio, the silence's weights behind it."""
        silence = self.silent.weights()
        # The audio stands in the place of the window's first silence.
        silence[: self.silent.n_until(self.end)] = HIDDEN
        mask = np.full(self.n_audio, HIDDEN, dtype=np.float32)
        mask[: self.end] = 0.0
        return np.concatenate((mask, silence[self.n_before :]))

    def context(self, past: KeyValue | None, silence: KeyValue) -> Callable[[KeyValue], KeyValue]:
        """Tell what to put new keys between, of the keys so far and of the silence."""
        kept = past[:, :, : self.first] if past is not None and self.first else None
        return partial(between, kept, silence[:, :, self.n_before :])

    def room(self, past: KeyValue | None, silence: KeyValue) -> KeyValue:
        """Lay out the keys so far, room for new ones, and the silence."""
        _, heads, _, depth = silence.shape
        nothing = mx.zeros((1, heads, self.n_audio - self.first, depth), dtype=silence.dtype)
        return self.context(past, silence)(nothing)


class IncrementalEncoder:
    """One utterance's audio, encoded incrementally: `feed`, then `encode`, then `cross`."""

    def __init__(
        self,
        model: WhisperModel,
        silence: SilenceCache,
        *,
        refresh_frames: int,
        padding_frames: int,
    ) -> None:
        self._model = model
        self._silence = silence
        self._step_silence = silence.coarser(STEP_POOL)
        self._refresh = refresh_frames
        self._padding = padding_frames
        self.reset()

    def reset(self) -> None:
        """Forget the utterance."""
        self._mel = IncrementalLogMel(self._model.dims.n_mels)
        self._keys: list[KeyValue] = []
        self._cross: CrossKeys | None = None
        self._layout: _Layout | None = None
        self._first_mel = 0
        self._loudest = -np.inf
        self._heard_mel = 0
        self._encoded = 0

    @property
    def n_samples(self) -> int:
        """Samples fed and not trimmed."""
        return self._mel.n_samples - self._first_mel * features.HOP_SAMPLES

    @property
    def n_frames(self) -> int:
        """Encoder frames of real audio that the last `encode` covered."""
        return self._encoded

    @property
    def cross(self) -> CrossKeys:
        """Keys that the decoder attends to after `encode`: the audio's frames, then silence."""
        if self._cross is None:
            raise ValueError("encode() comes before cross")
        return self._cross

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Append (n,) float32 samples in [-1, 1]."""
        self._mel.feed(samples)

    def n_to_encode(self, *, live: bool, padding_frames: int) -> int:
        """Frames that encoding everything would take."""
        n_window = self._model.dims.n_audio_ctx
        n_frames = self._n_audio_frames(everything=True)
        if not live:
            return min(n_frames + padding_frames, n_window)
        end = n_frames + LIVE_PADDING_FRAMES
        if self._model.decoder.few_shapes or end >= n_window:
            return n_window
        return end + len(live_silence(end, n_window)[0])

    def encode_beside_live_silence(self) -> int:
        """Encode everything, and the silence behind it as it hears the audio.

        Returns the encoder frames of real audio.
        """
        n_window = self._model.dims.n_audio_ctx
        n_frames = self._n_audio_frames(everything=True)
        end = n_frames + LIVE_PADDING_FRAMES
        if self._model.decoder.few_shapes or end >= n_window:
            return self.encode(everything=True, padding_frames=n_window)
        self._follow_loudness()
        places, n_each = live_silence(end, n_window)
        weights = np.concatenate((np.zeros(end, dtype=np.float32), np.log(n_each)))
        mask = mx.array(weights).astype(self._model.dtype)[None, None, None]
        silence = np.full((8, self._model.dims.n_mels), features.SILENCE_LOG10, dtype=np.float32)
        silent_mel = mx.array(features.normalise(silence, loudest=self._loudest)[None])
        frames, self._keys = at_once(
            self._model.encoder.with_context(
                self._mel_frames(0, end),
                [_alone] * self._model.dims.n_audio_layer,
                mask,
                first=0,
                behind=self._model.encoder.silent_frames(silent_mel, places),
            )
        )
        cross = self._model.decoder.cross_projection(frames)
        mx.async_eval(self._keys, cross)
        self._cross = CrossKeys(cross, self._model.dims.n_text_layer, mask)
        self._layout, self._encoded = None, n_frames
        return n_frames

    def encode(self, *, everything: bool = False, padding_frames: int | None = None) -> int:
        """Bring the context up to the audio; returns the encoder frames of real audio.

        Only frames newer than the refresh span are computed anew; all, and beside silence in more
        detail, with `everything`.
        """
        return at_once(self.encode_steps(everything=everything, padding_frames=padding_frames))

    def encode_steps(
        self, *, everything: bool = False, padding_frames: int | None = None
    ) -> Steps[int]:
        """`encode`, a step for each layer.

        Until the last one the context of everything, or from the beginning, stays as it was.
        """
        n_frames = self._n_audio_frames(everything=everything)
        self._follow_loudness()
        # The newest frames knew little of what follows them: they are computed again.
        first = 0 if everything else max(0, self._encoded - self._refresh)
        padding = self._padding if padding_frames is None else padding_frames
        silent = self._silence if everything else self._step_silence
        end = self._padded_end(n_frames + padding, silent.pool)
        rows, n_audio = end - first, end
        few_shapes = self._model.decoder.few_shapes
        if few_shapes:
            rows = row_bucket(rows, most=self._model.dims.n_audio_ctx - first)
            n_audio = rounded_up(first + rows + silent.n_keys, ROOM_KEYS) - silent.n_keys
        layout = _Layout(first, end, n_audio, silent, few_shapes=few_shapes)
        mask = mx.array(layout.mask()).astype(self._model.dtype)[None, None, None]
        encoded = self._encoded_in_rooms if few_shapes else self._encoded_beside
        keys, cross = yield from encoded(layout, self._mel_frames(first, first + rows), mask)
        mx.async_eval(keys, cross)
        self._cross = CrossKeys(cross, self._model.dims.n_text_layer, mask)
        self._keys, self._layout, self._encoded = keys, layout, n_frames
        return n_frames

    def _n_audio_frames(self, *, everything: bool) -> int:
        # The newest mel frame still misses samples; at the end, silence stands for them.
        n_mel = self._mel.n_samples // features.HOP_SAMPLES if everything else self._mel.n_frames
        return min((n_mel - self._first_mel) // MEL_PER_FRAME, self._model.dims.n_audio_ctx)

    def _past(self) -> tuple[Sequence[KeyValue | None], KeyValue | None]:
        """The keys so far, of each layer and of the decoder's; None before there are any."""
        if self._cross is None:
            return [None] * self._model.dims.n_audio_layer, None
        return self._keys, self._cross.joint

    def _encoded_beside(
        self, layout: _Layout, mel: mx.array, mask: mx.array
    ) -> Steps[tuple[list[KeyValue], KeyValue]]:
        """All keys after an encoding, copied together."""
        past, heard = self._past()
        pairs = zip(past, layout.silent.encoder, strict=True)
        contexts = [layout.context(kept, after) for kept, after in pairs]
        beside = layout.context(heard, layout.silent.cross)
        frames, keys = yield from self._model.encoder.with_context(
            mel, contexts, mask, first=layout.first
        )
        return keys, beside(self._model.decoder.cross_projection(frames))

    def _encoded_in_rooms(
        self, layout: _Layout, mel: mx.array, mask: mx.array
    ) -> Steps[tuple[list[KeyValue], KeyValue]]:
        """The same on a GPU: in place where the keys stand right and nobody else holds them."""
        past, heard = self._past()
        if heard is None or not layout.continues(self._layout):
            pairs = zip(past, layout.silent.encoder, strict=True)
            rooms = [layout.room(kept, after) for kept, after in pairs]
            cross = [layout.room(heard, layout.silent.cross)]
        else:
            rooms, cross = [*self._keys], [heard]
        # Nobody else may hold the buffers, or writing into them would copy them.
        del past, heard
        self.move(0)
        frames, keys = yield from self._model.encoder.in_rooms(mel, rooms, mask, first=layout.first)
        new = self._model.decoder.cross_projection(frames)
        return keys, written(cross.pop(), mx.array([layout.first]), new)

    def behind(self, n_frames: int) -> IncrementalEncoder:
        """Make a context of the same audio without its oldest frames, with nothing encoded.

        Both hear what is fed to either.
        """
        # A shallow copy: the spectrogram is shared, so that what is fed to one is heard by both.
        context = copy(self)
        context.move(n_frames)
        return context

    def move(self, n_frames: int) -> None:
        """Begin `n_frames` later in the audio, with nothing encoded."""
        self._first_mel += MEL_PER_FRAME * n_frames
        self._keys, self._cross, self._layout = [], None, None
        self._encoded = 0

    def drop_older(self) -> None:
        """Let go of the audio before this context's; the contexts that held it are over."""
        self._mel.trim(self._first_mel)

    def _padded_end(self, n_frames: int, pool: int) -> int:
        """`n_frames` rounded up to a whole pooled key, inside the window."""
        return min(-(-n_frames // pool) * pool, self._model.dims.n_audio_ctx)

    def _mel_frames(self, first: int, end: int) -> mx.array:
        margin = 1 if first else 0
        raw = self._mel.raw(
            self._first_mel + MEL_PER_FRAME * (first - margin),
            self._first_mel + MEL_PER_FRAME * (end + 1),
        )
        mel = features.normalise(raw, loudest=self._loudest)
        # Beyond its window Whisper's convolutions see zeros: the encoder knows the end by them.
        mel[MEL_PER_FRAME * (self._model.dims.n_audio_ctx - first + margin) :] = 0
        return mx.array(mel[None])

    def _follow_loudness(self) -> None:
        """Raise the level that the spectrogram's floor hangs below to the newest audio's."""
        n_mel = self._mel.n_frames
        if n_mel > self._heard_mel:
            newest = float(self._mel.raw(self._heard_mel, n_mel).max())
            self._loudest = max(self._loudest, newest)
            self._heard_mel = n_mel
