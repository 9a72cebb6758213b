"""Makes a wake word of one's own: a network, and how well it does.

The embeddings of every clip are computed once. The nets are trained in two halves, each without
every other voice and every other recording of the rest: what a half has not heard tells how well
it does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from voice_daemon.assets import WAKE_NEGATIVES
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.wake.augment import Audio, coloured_noise, rendering
from voice_daemon.wake.head import HEAD_EMBEDDINGS, WakeHead
from voice_daemon.wake.openwakeword import SpeechEmbedder
from voice_daemon.wake.speech_embedding import EMBEDDING_SIZE, WAKE_FRAME_SAMPLES
from voice_daemon.wake.threshold import GateRules, Scored, ThresholdSweep, try_thresholds
from voice_daemon.wake.training import Floats, Recipe, Windows, train

RENDERINGS: Final = 500
"""Of the word, over all of its voices."""
FORMANT_SHARE: Final = 0.4
"""Of the renderings, for voices made of formants where there are others."""
TAKE_SHARE: Final = 0.35
"""Of the renderings, for takes of people where there are any."""
NOISE_S: Final = 120
THRESHOLD: Final = 0.99
"""The strictest that can be configured. Below it the recogniser is asked, which costs hardly a wake
word and a moment of time; networks that learned from synthesised speech alone give higher scores to
people's near-misses than to those they learned from: see docs/wake-word.md."""
_WINDOWS_AFTER: Final = 4
"""Windows of 80 ms that are taken behind a word's end."""
_HALF_SAID: Final = 0.55
"""Windows that end before this share of the word are none of it."""
_ALONE_SHARE: Final = 0.7
"""Of the renderings, without anything but noise beside the word."""
_LEAD_S: Final = (0.9, 1.7)
_TAIL_S: Final = 0.7
THRESHOLDS: Final = tuple(
    round(float(t), 4) for t in (*np.arange(0.05, 0.9, 0.05), *np.arange(0.9, 0.991, 0.01))
)


@dataclass(frozen=True, slots=True)
class Shipped:
    """Data that comes with the program: recordings of anything, as embeddings, and common words."""

    recordings: tuple[Floats, ...]
    words: tuple[str, ...]
    """The commonest first."""


@cache
def shipped_negatives() -> Shipped:
    """Read the shipped recordings: `scripts/make-wake-negatives` made them."""
    with np.load(WAKE_NEGATIVES, allow_pickle=False) as file:
        embeddings = file["embeddings"].astype(np.float32) * file["scale"]
        cuts = np.cumsum(file["lengths"])[:-1]
        return Shipped(tuple(np.split(embeddings, cuts)), tuple(str(file["words"]).split()))


@dataclass(frozen=True, slots=True)
class Clip:
    """Something spoken, and whose voice it is."""

    speaker: str
    audio: Audio
    is_formant: bool = False
    """True for a voice made of formants alone: it is easy to tell from people."""


@dataclass(frozen=True, slots=True)
class Material:
    """All that a word is made from. Audio is (n,) float32 at 16 kHz."""

    spoken: tuple[Clip, ...]
    """The phrase, by synthesised voices."""
    takes: tuple[Clip, ...] = ()
    """The phrase, by people."""
    near: tuple[Clip, ...] = ()
    """What sounds somewhat like it."""
    other: tuple[Floats, ...] = ()
    """(n, 96) embeddings of recordings in which nobody says it."""
    room: tuple[Audio, ...] = ()
    """Sound of the room without the phrase, and false wakes."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A word's network, and how it does on what it did not learn from."""

    head: WakeHead
    sweep: ThresholdSweep
    """Of renderings of voices, and of recordings, that a half of the nets had not heard."""
    near_accepted: float
    """Share of the near-misses that wake it, 0..1, likewise."""


@dataclass(frozen=True, slots=True)
class _Said:
    """One rendering of the phrase."""

    half: int
    """The nets that may not learn from it."""
    windows: Floats
    """(n, 16, 96) at its end."""
    before: Floats
    """(n, 96) up to where half of it is said."""
    whole: Floats
    """(n, 96)"""


class Workshop:
    """Makes wake words; `on_progress` is told the share that is done, 0..1."""

    def __init__(self, *, on_progress: Callable[[float], None] = lambda _: None) -> None:
        self._embedder = SpeechEmbedder(history=1)
        self._rng = np.random.default_rng(0)
        self._on_progress = on_progress

    def embeddings(self, audio: Audio) -> Floats:
        """(n,) samples -> (15 + n // 1280, 96): silence first, then one for every 80 ms.

        So there is a window for each of them, as in the daemon.
        """
        self._embedder.reset()
        silence = np.repeat(self._embedder.embeddings[-1:], HEAD_EMBEDDINGS - 1, axis=0)
        whole = len(audio) // WAKE_FRAME_SAMPLES * WAKE_FRAME_SAMPLES
        frames = to_int16(audio[:whole]).reshape(-1, WAKE_FRAME_SAMPLES)
        heard = np.zeros((len(frames), EMBEDDING_SIZE), np.float32)
        for number, frame in enumerate(frames):
            self._embedder.feed(self._embedder.mels(frame))
            heard[number] = self._embedder.embeddings[-1]
        return np.concatenate((silence, heard))

    def make(self, phrase: str, material: Material, recipe: Recipe) -> Trained:
        """Train a word and judge it."""
        said = self._said(material)
        near, rest = self._near(material), self._rest(material)
        # The renderings were the first half of the progress.
        looks = iter(np.linspace(0.5, 1, 2 * recipe.looks))
        heads = [
            train(
                np.concatenate([s.windows for s in said if s.half != half]),
                [
                    *(s.before for s in said if s.half != half),
                    *(e for n, e in enumerate((*near, *rest)) if n % 2 != half),
                ],
                recipe,
                seed=half,
                on_look=lambda: self._on_progress(float(next(looks, 1))),
            )
            for half in (0, 1)
        ]
        return _judged(phrase, heads, said, near, rest)

    def _said(self, material: Material) -> list[_Said]:
        """Render the phrase again and again, by every voice and in ever other rooms."""
        speakers = sorted({clip.speaker for clip in (*material.spoken, *material.takes)})
        half_of = {speaker: n % 2 for n, speaker in enumerate(speakers)}
        # A share, not their number: a hundred voices must not drown the owner's few takes.
        n_takes = round(RENDERINGS * TAKE_SHARE) if material.takes else 0
        formant = [clip for clip in material.spoken if clip.is_formant]
        natural = [clip for clip in material.spoken if not clip.is_formant] or formant
        n_formant = round((RENDERINGS - n_takes) * FORMANT_SHARE) if formant else 0
        chosen = [material.takes[n % len(material.takes)] for n in range(n_takes)]
        chosen += [formant[n % len(formant)] for n in range(n_formant)]
        chosen += [natural[n % len(natural)] for n in range(RENDERINGS - n_takes - n_formant)]
        said = []
        for number, clip in enumerate(chosen):
            said.append(self._one(clip, half_of[clip.speaker], material))
            self._on_progress(0.5 * number / len(chosen))
        return said

    def _one(self, clip: Clip, half: int, material: Material) -> _Said:
        lead_s = self._rng.uniform(*_LEAD_S)
        audio, ends = rendering(
            clip.audio, self._rng, lead_s=lead_s, tail_s=_TAIL_S, beside=self._beside(material)
        )
        heard = self.embeddings(audio)
        # Rounded up: the first frame that holds all of the phrase.
        first = -(-ends // WAKE_FRAME_SAMPLES)
        begins = lead_s * SAMPLE_RATE
        half_said = int((begins + _HALF_SAID * (ends - begins)) // WAKE_FRAME_SAMPLES)
        windows = np.stack(
            [heard[n - 1 : n - 1 + HEAD_EMBEDDINGS] for n in range(first, first + _WINDOWS_AFTER)]
        )
        return _Said(half, windows, heard[: half_said + HEAD_EMBEDDINGS - 1], heard)

    def _beside(self, material: Material) -> Audio | None:
        """Choose what is heard behind the phrase, most often nothing but noise."""
        behind = (*material.room, *(clip.audio for clip in material.near))
        if not behind or self._rng.random() < _ALONE_SHARE:
            return None
        return behind[int(self._rng.integers(len(behind)))]

    def _near(self, material: Material) -> list[Floats]:
        near = []
        for clip in material.near:
            audio, _ = rendering(clip.audio, self._rng, lead_s=1.0, tail_s=_TAIL_S, beside=None)
            near.append(self.embeddings(audio))
        return near

    def _rest(self, material: Material) -> list[Floats]:
        """Everything else: shipped recordings, the room, and noise as the phrase was mixed with."""
        rest = [*material.other]
        rest += [piece for audio in material.room for piece in _pieces(self.embeddings(audio))]
        for _ in range(NOISE_S // 10):
            level = 10 ** (self._rng.uniform(-50, -10) / 20)
            noise = coloured_noise(10 * SAMPLE_RATE, self._rng) * np.float32(level / 3)
            rest.append(self.embeddings(noise))
        return rest


def _pieces(embeddings: Floats) -> Iterator[Floats]:
    """Cut a long recording, so that both halves of the nets learn from it."""
    # Ten seconds, at 80 ms each.
    for start in range(0, len(embeddings), 125):
        yield embeddings[start : start + 125]


def _judged(
    phrase: str,
    heads: Sequence[WakeHead],
    said: Sequence[_Said],
    near: Sequence[Floats],
    rest: Sequence[Floats],
) -> Trained:
    """Put the halves together, and tell how each does on what it had not heard."""
    scored = [scored_by(heads[s.half], s.whole) for s in said]
    near_scored = [scored_by(heads[n % 2], each) for n, each in enumerate(near)]
    rest_scored = [scored_by(heads[(len(near) + n) % 2], each) for n, each in enumerate(rest)]
    sweep = try_thresholds(scored, rest_scored, GateRules(), thresholds=THRESHOLDS)
    near_peaks = [each.best()[1] for each in near_scored]
    return Trained(
        joined(heads, threshold=THRESHOLD, phrase=phrase),
        sweep,
        sum(peak >= THRESHOLD for peak in near_peaks) / max(1, len(near)),
    )


def scored_by(head: WakeHead, embeddings: Floats) -> Scored:
    """Score a recording's (n, 96) embeddings as the daemon would."""
    windows = Windows([embeddings])
    scores = head.run(windows.take(np.arange(len(windows)))) if len(windows) else np.zeros(0)
    seconds = len(embeddings) * WAKE_FRAME_SAMPLES / SAMPLE_RATE
    return Scored("", seconds, tuple({"": float(score)} for score in scores))


def joined(heads: Sequence[WakeHead], *, threshold: float, phrase: str) -> WakeHead:
    """Put nets side by side: the score is the mean of all."""
    return WakeHead(
        np.concatenate([head.weights for head in heads], axis=1),
        np.concatenate([head.bias for head in heads]),
        np.concatenate([head.out_weights for head in heads]),
        np.concatenate([head.out_bias for head in heads]),
        threshold,
        phrase,
    )
