"""Scores audio for wake words: embeddings of speech, and a classifier for each word.

Deterministic, unlike openWakeWord's own streaming, which starts from features of random noise.
The windows are those of openWakeWord 0.5.1 (`utils.AudioFeatures`): every 1280 samples become one
embedding of 96 numbers, and a classifier sees the newest 16 or more embeddings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import ModelError
from voice_daemon.wake.head import WakeHead
from voice_daemon.wake.models import (
    EMBEDDING,
    MELSPECTROGRAM,
    Graph,
    bundled_folder,
    find_wake_model,
    load_graph,
    wake_word_of,
)
from voice_daemon.wake.room import RoomNoise
from voice_daemon.wake.speech_embedding import (
    EMBEDDING_SIZE,
    WAKE_FRAME_SAMPLES,
    WINDOW_STEPS,
    MelSpectrogram,
    StreamingEmbedding,
)

_MAX_EMBEDDINGS: Final = 1000
"""80 s: no wake phrase is that long, and a file's claim must not decide about memory."""
_WARM_UP_FRAMES: Final = 5
"""Scores of the first 0.4 s count as 0: no wake phrase is that short. openWakeWord does so too."""
_VOICE_FRAMES: Final = 10
"""0.8 s, about a wake phrase: voice must have been heard within it when that is asked for."""


class SpeechEmbedder:
    """The newest embeddings of a stream, as if silence had come before its beginning.

    Silence is what openWakeWord's authors pad clips with. Of the starts that were tried (zeros,
    faint and loud noise) it gave no false wake on audio that begins in the middle of speech.
    """

    def __init__(self, *, history: int) -> None:
        folder = bundled_folder()
        self._mels = MelSpectrogram(folder / f"{MELSPECTROGRAM}.onnx")
        self._network = StreamingEmbedding(folder / f"{EMBEDDING}.onnx")
        silent_embedding = self._hear_silence()
        self._silent_embeddings = np.resize(silent_embedding, (history, EMBEDDING_SIZE))
        self.embeddings: NDArray[np.float32] = self._silent_embeddings
        """(history, 96), the newest last."""
        self._put_off = self._missing_frames()

    def remember(self, history: int) -> None:
        """Keep at least so many embeddings from now on; silence stands for those not kept yet."""
        missing = history - len(self.embeddings)
        if missing > 0:
            self._silent_embeddings = np.resize(
                self._silent_embeddings[0], (history, EMBEDDING_SIZE)
            )
            self.embeddings = np.concatenate((self._silent_embeddings[:missing], self.embeddings))
            self._put_off = self._missing_frames(self._put_off)

    def reset(self) -> None:
        """Forget all audio: silence came before."""
        self._hear_silence()
        self.embeddings = self._silent_embeddings
        self._put_off.clear()

    def mels(self, frame: NDArray[np.int16]) -> NDArray[np.float32]:
        """Take the stream's next (1280,) int16 samples; return their (8, 32) mel frames."""
        return self._mels.feed(frame)

    def put_off(self, mels: NDArray[np.float32]) -> None:
        """Take mel frames whose embedding nobody needs yet."""
        self._put_off.append(mels)

    def feed(self, mels: NDArray[np.float32]) -> None:
        """Take (8, 32) mel frames: `embeddings` moves on by one, and by all that were put off."""
        put_off = [*self._put_off]
        self._put_off.clear()
        newest = [self._network.feed(frames) for frames in (*put_off, mels)]
        known = np.concatenate((self.embeddings, newest))
        self.embeddings = known[-len(self.embeddings) :]

    def _missing_frames(
        self, kept: Iterable[NDArray[np.float32]] = ()
    ) -> deque[NDArray[np.float32]]:
        """Keep as many mel frames as all embeddings are made of: older ones change nothing."""
        return deque(kept, maxlen=len(self.embeddings) + WINDOW_STEPS)

    def _hear_silence(self) -> NDArray[np.float32]:
        """Fill the network with silence; return its embedding, (96,)."""
        self._mels.reset()
        silent_mels = self._mels.feed(np.zeros(WAKE_FRAME_SAMPLES, np.int16))
        return [self._network.feed(silent_mels) for _ in range(WINDOW_STEPS)][-1]


@dataclass(frozen=True, slots=True)
class _Classifier:
    """One wake word's model."""

    graph: Graph
    n_embeddings: int

    @classmethod
    def load(cls, name: str, *, backend: str) -> tuple[str, _Classifier]:
        """Return a wake word and its model, given by name or path; raises `ModelError`."""
        path = find_wake_model(name, backend=backend)
        graph = load_graph(path)
        match graph.input_shape:
            case (_, int(n_embeddings), int(size)) if (
                size == EMBEDDING_SIZE and 1 <= n_embeddings <= _MAX_EMBEDDINGS
            ):
                classifier = cls(graph, n_embeddings)
                classifier.try_out(path)
                return wake_word_of(path), classifier
        raise ModelError(
            "wake.not_a_wake_model",
            f"{path} takes input of shape {graph.input_shape}, "
            f"not (1, n, {EMBEDDING_SIZE}) with n up to {_MAX_EMBEDDINGS}",
            remedy="give a model that was trained with openWakeWord",
        )

    def try_out(self, path: Path) -> None:
        """Score nothing once; raises `ModelError` for a graph that only loads."""
        try:
            self.score(np.zeros((self.n_embeddings, EMBEDDING_SIZE), np.float32))
        except Exception as error:
            raise ModelError(
                "wake.not_a_wake_model",
                f"{path} fails when it is run: {next(iter(str(error).splitlines()), error)}",
                remedy="give a model that was trained with openWakeWord",
            ) from error

    def score(self, embeddings: NDArray[np.float32]) -> float:
        """Score the newest of (n, 96) embeddings, 0..1.

        A model with several classes (the bundled timer: 1 minute, 5 minutes...) is one wake
        word: its first class is "nothing", and any other counts.
        """
        scores = self.graph.run(embeddings[np.newaxis, -self.n_embeddings :]).ravel()
        return float(scores[0] if scores.size == 1 else scores[1:].max())


class OpenWakeWord:
    """Wake words' scores over a stream of wake frames.

    `models`: bundled names or paths of files; a wake word is named after its file. `backend`:
    "onnx" or "tflite". With `vad_threshold` above 0 a score counts only if the probability of
    voice passed it within the last 0.8 s. `spare_quiet`: while nothing is louder than the room's
    own noise the scores are 0, and cost next to nothing. Raises `ModelError`.
    """

    def __init__(
        self,
        models: Sequence[str],
        *,
        backend: str = "onnx",
        vad_threshold: float = 0.0,
        spare_quiet: bool = False,
    ) -> None:
        self.backend = backend
        self._classifiers = _load_classifiers(models, backend=backend)
        self._embedder = SpeechEmbedder(history=_history(self._classifiers))
        self._vad_threshold = vad_threshold
        self._vad = SileroVad() if vad_threshold > 0 else None
        self._voice: deque[float] = deque(maxlen=_VOICE_FRAMES)
        self._frames_heard = 0
        self._room = RoomNoise() if spare_quiet else None

    @property
    def wake_words(self) -> tuple[str, ...]:
        """The wake words, in the order of `models`."""
        return tuple(self._classifiers)

    @property
    def own_words(self) -> frozenset[str]:
        """Those whose models were trained here."""
        return frozenset(w for w, c in self._classifiers.items() if isinstance(c.graph, WakeHead))

    def choose(self, models: Sequence[str]) -> None:
        """Listen for others from now on, with what was heard so far still in the ear.

        Raises `ModelError` and leaves everything as it was when one of them cannot be loaded.
        """
        classifiers = _load_classifiers(models, backend=self.backend)
        self._embedder.remember(_history(classifiers))
        self._classifiers = classifiers

    def score(self, samples: NDArray[np.int16]) -> dict[str, float]:
        """Take the next wake frame, (1280,) int16; return every wake word's score, 0..1."""
        mels = self._embedder.mels(samples)
        self._frames_heard += 1
        # In a quiet room too: the detector's memory must not skip frames.
        voice = self._voice_heard(samples)
        if self._room is not None and not self._room.is_exceeded(mels):
            self._embedder.put_off(mels)
            return dict.fromkeys(self._classifiers, 0.0)
        self._embedder.feed(mels)
        if not voice or self._frames_heard <= _WARM_UP_FRAMES:
            return dict.fromkeys(self._classifiers, 0.0)
        embeddings = self._embedder.embeddings
        return {word: model.score(embeddings) for word, model in self._classifiers.items()}

    def reset(self) -> None:
        """Forget all audio."""
        self._embedder.reset()
        self._frames_heard = 0
        self._voice.clear()
        if self._room is not None:
            self._room.reset()
        if self._vad is not None:
            self._vad.reset()

    def _voice_heard(self, samples: NDArray[np.int16]) -> bool:
        """Tell whether there was voice lately; True when nobody asked for that."""
        if self._vad is None:
            return True
        self._voice.append(max(self._vad.feed(samples), default=0.0))
        return max(self._voice) >= self._vad_threshold


def _load_classifiers(models: Sequence[str], *, backend: str) -> dict[str, _Classifier]:
    """Load the models of wake words, by wake word; raises `ModelError`."""
    classifiers: dict[str, _Classifier] = {}
    for name in models:
        wake_word, classifier = _Classifier.load(name, backend=backend)
        if wake_word in classifiers:
            raise ModelError(
                "wake.twice",
                f"two of wake.models are for {wake_word!r}",
                remedy="keep one of them, or rename its file",
            )
        classifiers[wake_word] = classifier
    return classifiers


def _history(classifiers: dict[str, _Classifier]) -> int:
    """Return how many embeddings the longest look back takes."""
    return max((c.n_embeddings for c in classifiers.values()), default=1)
