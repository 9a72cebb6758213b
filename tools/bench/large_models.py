"""Times of large Whisper shapes with random weights: the owner's table, padded and streamed.

Times need no words: the encoder's work depends on shapes alone, and the words are dictated, four
a second of speech. Run on the machine that you ask about:

    python -m tools.bench.large_models [--shape large-v3-turbo] [--seconds 30] [--steps 0.1,0.25]

"padded" encodes 30 s at every step and decodes from scratch. "streamed" is the recogniser as
sessions use it, warmed as at a load: every call of encoder, decoder and sampler is made, and only
the sampler's choice is replaced. "live" takes the steps on the clock, so that the GPU rests
between them as it does in a session.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from string import ascii_lowercase
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from voice_daemon.asr.alignatt import MEDIAN_WIDTH
from voice_daemon.asr.checkpoints.validate import ModelDimensions
from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.decoding import Decoded, GreedyDecoder
from voice_daemon.asr.features import log_mel_spectrogram
from voice_daemon.asr.load import (
    WhisperModel,
    default_dtype,
    held_memory_bytes,
    limit_unused_memory,
    on_gpu,
)
from voice_daemon.asr.model import AudioEncoder, CrossKeys, TextDecoder, suit_gpu
from voice_daemon.asr.sampler import MlxSampler, Sampled, Watched
from voice_daemon.asr.streaming import StreamingConfig, StreamingDecoder
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.asr.transcriber import WhisperTranscriber

RATE = 16_000
TOKENS_PER_SECOND = 4
"""About what English speech comes to in Whisper's tokens."""
FRAMES_PER_TOKEN = 50 / TOKENS_PER_SECOND
FIRST_TOKEN = 256
"""The dictated words' first token: bytes come before it."""
LIVE_STEP_S, LIVE_S = 0.25, 5.0
"""Steps of a session until there are words, and the length of a command."""
LEAST_PADDED_S = 0.5
EVERY_STEP = StreamingConfig(min_chunk_duration=0.0)
SHAPES = {
    "tiny": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "small": ModelDimensions(80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12),
    "large-v3-turbo": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
    "large-v3": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 32),
}
HEADS = {"large-v3-turbo": ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))}
Samples = np.ndarray[Any, np.dtype[np.int16]]


def random_model(shape: str) -> WhisperModel:
    """A network of the shape with random weights in the device's own precision."""
    limit_unused_memory()
    dims, dtype = SHAPES[shape], default_dtype()
    heads = HEADS.get(shape, ((0, 0),))
    encoder, decoder = AudioEncoder(dims), TextDecoder(dims, heads)
    for half in (encoder, decoder):
        _randomise(half, dtype)
    if on_gpu():
        suit_gpu(encoder, decoder)
    words = (f" {''.join(letters)}".encode() for letters in product(ascii_lowercase, repeat=4))
    n_words = 50_257 - FIRST_TOKEN
    tokens = (*(bytes([byte]) for byte in range(FIRST_TOKEN)), *islice(words, n_words))
    return WhisperModel(
        dims=dims,
        encoder=encoder,
        decoder=decoder,
        tokenizer=WhisperTokenizer(tokens, dims.n_vocab),
        alignment_heads=heads,
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


class DictatedSampler(MlxSampler):
    """Samples as ever, and then says what is dictated: the tokens heard so far, then the end."""

    def __init__(self, model: WhisperModel) -> None:
        nothing = np.zeros(model.dims.n_vocab, dtype=np.float32)
        super().__init__(model, nothing, nothing)
        self._eot = model.tokenizer.eot
        self.heard = self.until = self.next_token = FIRST_TOKEN

    def sample(
        self, hidden: mx.array, rows: Sequence[int], *, at_start: bool, watched: Watched = ()
    ) -> Sampled:
        """See `TokenSampler`; every word is sure, and somebody speaks."""
        super().sample(hidden, rows, at_start=at_start, watched=watched)
        ahead = range(self.next_token, self.next_token + len(rows))
        self.next_token += len(rows)
        tokens = [token if token < self.until else self._eot for token in ahead]
        return Sampled(tokens, [0.0] * len(tokens), [0.0] * len(watched))


class DictatedDecoder(GreedyDecoder):
    """Decodes what is dictated, each word where it was said."""

    def __init__(self, model: WhisperModel) -> None:
        super().__init__(model)
        self._sampler = self.dictated = DictatedSampler(model)
        self.begin_s: float | None = None
        """Where the words begin in audio that is no more than a window: all of them are heard."""

    def hear(self, seconds: float) -> None:
        """Dictate the words of the first `seconds` of the audio."""
        self.dictated.heard = FIRST_TOKEN + int(TOKENS_PER_SECOND * seconds)

    def decode_steps(
        self,
        cross: CrossKeys,
        initial_tokens: Sequence[int],
        text: Sequence[int] = (),
        *,
        draft: Sequence[int] = (),
        n_frames: int,
        **options: Any,
    ) -> Steps[Decoded]:
        """See `GreedyDecoder`; the scores are made up after the real ones were computed."""
        said, n_heard = self.dictated, int(n_frames / FRAMES_PER_TOKEN)
        heard = said.heard
        if self.begin_s is not None:
            n_heard = int(max(0.0, n_frames - 50 * self.begin_s) / FRAMES_PER_TOKEN)
            heard = FIRST_TOKEN + n_heard
        committed = [token for token in text if token >= FIRST_TOKEN]  # not the wake word
        at = [*committed[:1], *draft[:1], max(FIRST_TOKEN, heard - n_heard)][0]
        until, at = min(heard, at + n_heard), at + len(committed)
        steps = super().decode_steps(
            cross, initial_tokens, text, draft=draft, n_frames=n_frames, **options
        )
        while True:  # another decode may be going on by turns
            said.next_token, said.until = at, until
            try:
                next(steps)
            except StopIteration as end:
                decoded: Decoded = end.value
                break
            at = said.next_token
            yield
        tokens = np.array([*text, *decoded.tokens], dtype=np.int64)
        frames = np.clip(n_frames - FRAMES_PER_TOKEN * (heard - tokens), 0, n_frames - 1)
        # Wider than the median filter takes away.
        near = np.abs(np.arange(n_frames) - frames[:, None]) < MEDIAN_WIDTH
        peaks = np.where(near, np.float32(30), np.float32(0))
        return replace(decoded, scores=mx.broadcast_to(mx.array(peaks), decoded.scores.shape))


def decode(model: WhisperModel, cross: CrossKeys, *, fresh: int) -> None:
    """Decode `fresh` tokens from scratch, a synchronisation each."""
    out = model.decoder(mx.zeros((4,), dtype=mx.int32), cross)
    token = mx.argmax(model.decoder.logits(out.hidden[:, -1:]), axis=-1)
    cache = out.cache
    for _ in range(fresh):
        token.item()
        out = model.decoder(token, cross, cache=cache)
        cache = out.cache
        token = mx.argmax(model.decoder.logits(out.hidden), axis=-1)
    mx.eval(token, out.cross_qk)


def padded_step(model: WhisperModel, audio: Samples) -> None:
    """Do what the reference does at every step: encode 30 s, decode all tokens from scratch."""
    window = np.zeros(30 * RATE, dtype=np.float32)
    window[: len(audio)] = audio / np.float32(32768)
    mel = mx.array(log_mel_spectrogram(window, model.dims.n_mels)).astype(model.dtype)
    cross = model.decoder.cross_keys(model.encoder(mel[None]))
    decode(model, cross, fresh=round(TOKENS_PER_SECOND * len(audio) / RATE))


def padded_times(model: WhisperModel, audio: Samples, step_s: float) -> list[float]:
    """Seconds of compute of each step, everything done anew."""
    ends = range(round(step_s * RATE), len(audio) + 1, round(step_s * RATE))
    return [timed(lambda end=end: padded_step(model, audio[:end])) for end in ends]  # type: ignore[misc]


class Stream:
    """The recogniser of a session, with dictated words; one utterance after another."""

    def __init__(self, model: WhisperModel, config: StreamingConfig = EVERY_STEP) -> None:
        self.greedy = DictatedDecoder(model)
        decoder = StreamingDecoder(model, config, greedy=self.greedy)
        self.transcriber = WhisperTranscriber(model, config, decoder=decoder)

    def run(self, how: str, audio: Samples, step_s: float, *, on_the_clock: bool = False) -> Row:
        """Stream int16 `audio`, and give back the memory as a session's end does."""
        size = round(step_s * RATE)
        times: list[float] = []
        first_text = 0.0
        self.transcriber.start(wake_phrase=None)
        for first in range(0, len(audio) - size + 1, size):
            self.greedy.hear((first + size) / RATE)
            begun_s = time.perf_counter()
            self.transcriber.feed(audio[first : first + size])
            shown = self.transcriber.step()
            times.append(time.perf_counter() - begun_s)
            if not first_text and (shown.text or shown.draft):
                first_text = times[-1]
            if on_the_clock:
                time.sleep(max(0.0, step_s - times[-1]))
        final_s = timed(self.transcriber.finish)
        self.transcriber.reset()
        return Row(how, step_s, times, first_text_s=first_text, final_s=final_s)


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` took."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def noise(seconds: float, rng: np.random.Generator) -> Samples:
    """(n,) int16 of noise at a speaker's level."""
    return (3000 * rng.standard_normal(round(seconds * RATE))).astype(np.int16)


def main() -> None:
    """Print the tables for one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="large-v3-turbo")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--steps", default="0.1,0.25,0.5,1,2,3")
    parser.add_argument("--no-padded", action="store_true", help="leave the reference out")
    args = parser.parse_args()
    out = sys.stdout.write
    model = random_model(args.shape)
    audio = noise(args.seconds, np.random.default_rng(0))
    steps = [float(step) for step in args.steps.split(",")]
    stream = Stream(model)
    out(f"{args.shape}, {mx.default_device()}, {model.dtype}, {args.seconds:g} s of audio\n")
    out(f"warm-up {timed(stream.transcriber.warm_up):.1f} s\n")
    out("how        step s  total s    RTF  median ms   p95   max   first text  final ms\n")
    for step_s in steps:
        for how in ("streamed", "again"):
            out(stream.run(how, audio, step_s).line())
    live = audio[: round(LIVE_S * RATE)]
    out(stream.run("live", live, LIVE_STEP_S, on_the_clock=True).line())
    if not args.no_padded:
        padded_step(model, audio)
        out(Row("batch", args.seconds, [timed(lambda: padded_step(model, audio))]).line())
        for step_s in steps:
            if step_s >= LEAST_PADDED_S:
                out(Row("padded", step_s, padded_times(model, audio, step_s)).line())
    out(f"memory {held_memory_bytes() / 2**20:.0f} MiB, peak {mx.get_peak_memory() / 2**20:.0f}\n")


@dataclass(frozen=True, slots=True)
class Row:
    """The steps of one run."""

    how: str
    step_s: float
    """Audio between two steps; all of it for a file that is there already."""
    times: list[float]
    first_text_s: float = 0.0
    """Seconds of computing of the step that showed the first text."""
    final_s: float = 0.0

    def line(self) -> str:
        """Give the run as a line of the table."""
        total_s = sum(self.times)
        ms = 1000 * np.array(self.times)
        return (
            f"{self.how:9s} {self.step_s:7.2f} {total_s:8.2f}"
            f" {total_s / (self.step_s * len(ms)):6.3f} {np.median(ms):10.1f}"
            f" {np.percentile(ms, 95):5.1f} {ms.max():5.1f}"
            f" {1000 * self.first_text_s:12.1f} {1000 * self.final_s:9.1f}\n"
        )


if __name__ == "__main__":
    main()
