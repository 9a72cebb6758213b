"""Times of large Whisper shapes with random weights: the owner's table, padded and streamed.

Times need no words: the encoder's work depends on shapes alone, and the decoder is given a fixed
number of tokens a second of speech. Run on the machine that you ask about:

    python tools/bench/large_models.py [--shape large-v3-turbo] [--seconds 30]

"new shapes" is the first utterance at a step size, "streamed" the second: a back end that builds
a graph for every new shape (CUDA) pays for it once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from voice_daemon.asr.checkpoints.validate import ModelDimensions
from voice_daemon.asr.features import log_mel_spectrogram
from voice_daemon.asr.incremental_encoder import IncrementalEncoder, silent_window
from voice_daemon.asr.load import WhisperModel, default_dtype
from voice_daemon.asr.model import AudioEncoder, TextDecoder

RATE = 16_000
TOKENS_PER_SECOND = 4
"""About what English speech comes to in Whisper's tokens."""
SHAPES = {
    "small": ModelDimensions(80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12),
    "large-v3-turbo": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
    "large-v3": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 32),
}
HEADS = {"large-v3-turbo": ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))}


def random_model(shape: str) -> WhisperModel:
    """A network of the shape with random weights in the device's own precision."""
    dims, dtype = SHAPES[shape], default_dtype()
    encoder, decoder = AudioEncoder(dims), TextDecoder(dims, HEADS.get(shape, ((0, 0),)))
    for half in (encoder, decoder):
        _randomise(half, dtype)
    return WhisperModel(
        dims=dims,
        encoder=encoder,
        decoder=decoder,
        tokenizer=None,  # type: ignore[arg-type]  # no text is made
        alignment_heads=HEADS.get(shape, ((0, 0),)),
        alignment_heads_from="published" if shape in HEADS else "guess",
        suppress_tokens=(),
        dtype=dtype,
        name=shape,
    )


def _randomise(module: nn.Module, dtype: mx.Dtype) -> None:
    weights: list[tuple[str, mx.array]] = tree_flatten(module.parameters())  # type: ignore[assignment]
    fresh = [
        (name, (0.02 * mx.random.normal(value.shape)).astype(dtype)) for name, value in weights
    ]
    module.update(tree_unflatten(fresh))
    mx.eval(module.parameters())


def decode(model: WhisperModel, cross: object, *, verified: int, fresh: int) -> None:
    """One parallel pass over `verified` tokens, then `fresh` ones, a synchronisation each."""
    out = model.decoder(mx.zeros((4 + verified,), dtype=mx.int32), cross)  # type: ignore[arg-type]
    token = mx.argmax(model.decoder.logits(out.hidden[:, -1:]), axis=-1)
    cache = out.cache
    for _ in range(fresh):
        token.item()
        out = model.decoder(token, cross, cache=cache)  # type: ignore[arg-type]
        cache = out.cache
        token = mx.argmax(model.decoder.logits(out.hidden), axis=-1)
    mx.eval(token, out.cross_qk)


def padded_step(model: WhisperModel, audio: np.ndarray) -> None:
    """What the reference does at every step: 30 s encoded, all tokens decoded from scratch."""
    window = np.zeros(30 * RATE, dtype=np.float32)
    window[: len(audio)] = audio
    mel = mx.array(log_mel_spectrogram(window, model.dims.n_mels)).astype(model.dtype)
    cross = model.decoder.cross_keys(model.encoder(mel[None]))
    decode(model, cross, verified=0, fresh=round(TOKENS_PER_SECOND * len(audio) / RATE))


def padded_times(model: WhisperModel, audio: np.ndarray, step_s: float) -> list[float]:
    """Seconds of compute of each step, everything done anew."""
    ends = range(round(step_s * RATE), len(audio) + 1, round(step_s * RATE))
    return [timed(lambda end=end: padded_step(model, audio[:end])) for end in ends]  # type: ignore[misc]


def streamed_times(
    model: WhisperModel, audio: np.ndarray, step_s: float, *, window_s: float = 20.0
) -> list[float]:
    """Seconds of compute of each step beside cached silence, 1 s refreshed a step."""
    context = IncrementalEncoder(model, silent_window(model), refresh_frames=50, padding_frames=10)
    size = round(step_s * RATE)
    fresh = max(1, round(TOKENS_PER_SECOND * step_s))
    times = []
    for first in range(0, len(audio) - size + 1, size):

        def step(first: int = first) -> None:
            if context.n_samples > window_s * RATE:
                context.move(context.n_frames * 2 // 3)
                context.drop_older()
            context.feed(audio[first : first + size])
            context.encode()
            heard_s = min(context.n_samples / RATE, window_s)
            decode(model, context.cross, verified=round(TOKENS_PER_SECOND * heard_s), fresh=fresh)

        times.append(timed(step))
    return times


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` took."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def main() -> None:
    """Print the tables for one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="large-v3-turbo")
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    model = random_model(args.shape)
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal(round(args.seconds * RATE))).astype(np.float32)
    padded_step(model, audio)
    streamed_times(model, audio, 1.0)
    steps = (0.5, 1.0, 2.0, 3.0)
    rows = [Row("batch", 0.0, [timed(lambda: padded_step(model, audio))])]
    rows += [Row("padded", step_s, padded_times(model, audio, step_s)) for step_s in steps]
    for step_s in (0.1, 0.25, *steps):
        rows.append(Row("new shapes", step_s, streamed_times(model, audio, step_s)))
        rows.append(Row("streamed", step_s, streamed_times(model, audio, step_s)))
    out = sys.stdout.write
    out(f"{args.shape}, {mx.default_device()}, {model.dtype}, {args.seconds:g} s of audio\n")
    out("how         step s   total s     RTF   first s   step median ms / p95 ms\n")
    for row in rows:
        out(row.line(args.seconds))
    out(f"peak memory {mx.get_peak_memory() / 2**20:.0f} MiB\n")


@dataclass(frozen=True, slots=True)
class Row:
    """The steps of one run."""

    how: str
    step_s: float
    """Audio between two steps; 0 for a file that is there already."""
    times: list[float]

    def line(self, audio_s: float) -> str:
        """Give the run as a line of the table."""
        total_s, first_s = sum(self.times), self.step_s + self.times[0]
        return (
            f"{self.how:10s} {self.step_s:7.2f} {total_s:9.2f} {total_s / audio_s:7.3f}"
            f" {first_s:9.3f}   {1000 * np.median(self.times):8.1f}"
            f" / {1000 * np.percentile(self.times, 95):.1f}\n"
        )


if __name__ == "__main__":
    main()
