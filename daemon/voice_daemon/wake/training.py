"""Trains the small network of a wake word, in numpy: seconds on one core.

Learns to tell windows of embeddings that end with the word from all others. Several nets, each
with its own start and its own share of the negatives left out, are averaged: one alone depends
much on its start. Windows that a net takes for the word by mistake come up more often.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.wake.head import HEAD_EMBEDDINGS, WakeHead
from voice_daemon.wake.speech_embedding import EMBEDDING_SIZE

Floats = NDArray[np.float32]

_INPUTS: Final = HEAD_EMBEDDINGS * EMBEDDING_SIZE
_SCORED_AT_ONCE: Final = 4096
_BETA_1, _BETA_2 = 0.9, 0.999


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers of a training; chosen on recordings of people, see docs/wake-word.md."""

    nets: int = 2
    hidden: int = 32
    steps: int = 500
    rate: float = 2e-3
    """Step size at the beginning; it falls to nothing as half a cosine."""
    dropout: float = 0.4
    """Share of the inputs that a step does not see."""
    decay: float = 1e-4
    """Share of the weights that a step takes away."""
    said: int = 96
    other: int = 256
    """Windows of each kind in a step."""
    hard: float = 0.5
    """Share of the others that are taken from the hardest."""
    look_every: int = 50
    """Steps between two looks for the hardest."""
    hardest: int = 2000

    @property
    def looks(self) -> int:
        """Looks for the hardest in a whole training."""
        return self.nets * -(-self.steps // self.look_every)


class Windows:
    """Windows of 16 embeddings out of recordings, made when they are asked for."""

    def __init__(self, recordings: Sequence[Floats]) -> None:
        """`recordings`: (n, 96) each; those shorter than a window give none."""
        kept = [r for r in recordings if len(r) >= HEAD_EMBEDDINGS]
        empty = np.zeros((0, EMBEDDING_SIZE), np.float32)
        self._embeddings = np.concatenate([empty, *kept])
        starts = np.cumsum([0, *(len(r) for r in kept)])
        self._ends = np.concatenate(
            [
                np.zeros(0, np.int64),
                *(
                    np.arange(start + HEAD_EMBEDDINGS, start + len(r) + 1)
                    for start, r in zip(starts[:-1], kept, strict=True)
                ),
            ]
        )

    def __len__(self) -> int:
        return len(self._ends)

    def scaling(self) -> tuple[Floats, Floats]:
        """Return the mean and the deviation of each of the 96 numbers."""
        return self._embeddings.mean(axis=0), self._embeddings.std(axis=0) + np.float32(1e-3)

    def scale(self, mean: Floats, deviation: Floats) -> None:
        """Give all windows with a mean of 0 and a deviation of 1 from now on."""
        self._embeddings = (self._embeddings - mean) / deviation

    def take(self, numbers: NDArray[np.int64]) -> Floats:
        """Return some of the windows, (n, 1536)."""
        at = self._ends[numbers][:, np.newaxis] - np.arange(HEAD_EMBEDDINGS, 0, -1)
        return self._embeddings[at].reshape(len(numbers), _INPUTS)

    def all_in_parts(self) -> Iterator[Floats]:
        """Yield all windows in order, some at a time."""
        for start in range(0, len(self), _SCORED_AT_ONCE):
            yield self.take(np.arange(start, min(start + _SCORED_AT_ONCE, len(self))))


class _Net:
    """One net and its optimiser's state (Adam)."""

    def __init__(self, hidden: int, rng: np.random.Generator) -> None:
        self.parts = [
            # As He et al. (2015) start rectified units: the signal keeps its power through the
            # layer.
            (rng.normal(size=(_INPUTS, hidden)) * np.sqrt(2 / _INPUTS)).astype(np.float32),
            np.zeros(hidden, np.float32),
            (rng.normal(size=hidden) * np.sqrt(1 / hidden)).astype(np.float32),
            np.zeros(1, np.float32),
        ]
        self._means = [np.zeros_like(p) for p in self.parts]
        self._squares = [np.zeros_like(p) for p in self.parts]
        self._n_steps = 0

    def logits(self, x: Floats) -> Floats:
        """(n, 1536) -> (n,), the logarithm of each one's odds."""
        weights, bias, out_weights, out_bias = self.parts
        logits: Floats = np.maximum(x @ weights + bias, 0) @ out_weights + out_bias
        return logits

    def learn(
        self, x: Floats, is_said: Floats, shares: Floats, *, rate: float, decay: float
    ) -> None:
        """Take a step down the cross-entropy's slope; `shares` weigh the windows."""
        weights, bias, out_weights, out_bias = self.parts
        hidden = np.maximum(x @ weights + bias, 0)
        logits = hidden @ out_weights + out_bias
        slope = ((1 / (1 + np.exp(-logits)) - is_said) * shares).astype(np.float32)
        back = np.outer(slope, out_weights) * (hidden > 0)
        slopes = [x.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(keepdims=True)]
        self._n_steps += 1
        for n, gradient in enumerate(slopes):
            part = self.parts[n]
            self._means[n] += (1 - _BETA_1) * (gradient - self._means[n])
            self._squares[n] += (1 - _BETA_2) * (gradient**2 - self._squares[n])
            # Both averages began at 0, and are too low at first.
            mean = self._means[n] / (1 - _BETA_1**self._n_steps)
            square = self._squares[n] / (1 - _BETA_2**self._n_steps)
            # Decay beside the step, not through its averages (Loshchilov and Hutter, AdamW).
            part -= rate * (mean / (np.sqrt(square) + 1e-8) + decay * part)


def train(
    said: Floats,
    recordings: Sequence[Floats],
    recipe: Recipe,
    *,
    seed: int,
    on_look: Callable[[], None] = lambda: None,
) -> WakeHead:
    """Train a head without threshold or phrase.

    `said`: (n, 16, 96) windows that end with the word; `recordings`: (m, 96) each, of anything
    else. `on_look` is called `recipe.looks` times.
    """
    rng = np.random.default_rng(seed)
    other = Windows(recordings)
    mean, deviation = other.scaling()
    other.scale(mean, deviation)
    x = ((said - mean) / deviation).reshape(len(said), _INPUTS)
    nets = [_train_net(x, other, recipe, rng, on_look) for _ in range(recipe.nets)]
    weights = np.concatenate([net.parts[0] for net in nets], axis=1)
    # The scaling is folded into the weights.
    weights /= np.tile(deviation, HEAD_EMBEDDINGS)[:, np.newaxis]
    bias = np.concatenate([net.parts[1] for net in nets]) - np.tile(mean, HEAD_EMBEDDINGS) @ weights
    return WakeHead(
        weights,
        bias,
        np.stack([net.parts[2] for net in nets]),
        np.concatenate([net.parts[3] for net in nets]),
        threshold=0.5,
        phrase="",
    )


def _train_net(
    x: Floats,
    other: Windows,
    recipe: Recipe,
    rng: np.random.Generator,
    on_look: Callable[[], None],
) -> _Net:
    net = _Net(recipe.hidden, rng)
    n_hard = round(recipe.hard * recipe.other)
    hardest = rng.integers(len(other), size=recipe.hardest)
    is_said = np.repeat(np.array([1, 0], np.float32), (recipe.said, recipe.other))
    weights = np.array([0.5 / recipe.said, 0.5 / recipe.other], np.float32)
    shares = np.repeat(weights, (recipe.said, recipe.other))
    for step in range(recipe.steps):
        if step % recipe.look_every == 0:
            on_look()
            hardest = _hardest(net, other, recipe.hardest) if step else hardest
        any_ = rng.integers(len(other), size=recipe.other - n_hard)
        numbers = np.concatenate((rng.choice(hardest, n_hard), any_))
        batch = np.concatenate((x[rng.integers(len(x), size=recipe.said)], other.take(numbers)))
        batch *= (rng.random(batch.shape, np.float32) >= recipe.dropout) / np.float32(
            1 - recipe.dropout
        )
        rate = recipe.rate * (1 + np.cos(np.pi * step / recipe.steps)) / 2
        net.learn(batch, is_said, shares, rate=rate, decay=recipe.decay)
    return net


def _hardest(net: _Net, other: Windows, n: int) -> NDArray[np.int64]:
    logits = np.concatenate([net.logits(x) for x in other.all_in_parts()])
    return np.argsort(logits)[-n:]
