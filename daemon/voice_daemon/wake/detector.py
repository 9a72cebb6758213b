"""Hears wake words in a stream: scores by openWakeWord's models, and our own gate over them.

Deterministic: the same audio gives the same detections, however it is split. Time is a sample
index.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import WakeSettings
from voice_daemon.errors import ModelError
from voice_daemon.events import SAMPLE_RATE, WakeDetection
from voice_daemon.wake.head import HEAD_SUFFIX, load_head
from voice_daemon.wake.models import PHRASES, backends_to_try, find_wake_model, wake_thresholds
from voice_daemon.wake.openwakeword import OpenWakeWord
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES

__all__ = ["OpenWakeWord", "WakeDetector", "WakeGate", "WakeSelfTest"]

log = structlog.get_logger()

REPEAT_SAMPLES: Final = round(1.5 * SAMPLE_RATE)
"""Until then the word that was detected is in the 1.3 s that a classifier sees, and scores may rise
again: 0.7 to 1.1 s after the detection they did so in 13 of 36 recordings of one "alexa"."""
_UNSURE_FRAMES: Final = 4
"""A run of scores that has not reached the threshold by then, 320 ms, will not."""
_ASKED_WITHIN: Final = (6, 60 * SAMPLE_RATE)
"""Unsure wakes that are told within so many samples: each costs a reading of the recogniser, and a
noise may go on."""
CERTAIN: Final = 0.999
"""A score that is enough beside an own sound as well, whose rests reached 0.997: a recogniser does
not spell every wake word."""
LEAST_LOGPROB: Final = -8.0
"""Of a word that is not sure, from which the recogniser proves it: docs/wake-word.md."""
OWN_LEAST_LOGPROB: Final = -6.0
"""The same for a word of the owner's own, which is asked for more often."""
OWN_LIKELY: Final = (0.9, -10.0)
"""The score from which such a word takes less, and how much: little else scores as high, and a
recogniser does not know how every name is spelt."""
OWN_VERIFY_FROM: Final = 0.1
"""Networks that learned from synthesised speech give low scores to much: from 0.01 up to 200 to 470
an hour of other sound, where the bundled ones do so 30 times."""
_SELF_TEST_WORD: Final = "hey_jarvis"
"""The words of the bundled clip."""
_SELF_TEST_SCORE: Final = 0.5


@dataclass(frozen=True, slots=True)
class WakeSelfTest:
    """Result of the wake models' self-test on this machine."""

    passed: bool
    score: float
    """Score of "hey_jarvis" on the bundled clip, 0..1; at least 0.5 passes."""
    backend: str
    """Runtime of the models: "onnx" or "tflite"."""

    @property
    def remedy(self) -> str:
        """Say what to do where it has not passed: the other runtime computes on its own."""
        if self.backend == "onnx":
            return (
                "pip install ai-edge-litert, which the daemon then falls back to "
                '(wake.backend = "auto"); or reinstall onnxruntime'
            )
        return 'set wake.backend = "onnx", or reinstall ai-edge-litert'


class WakeGate:
    """Decides which scores are wakes: `trigger_level` frames in a row at or over the threshold.

    `thresholds`: of single wake words; `threshold` is that of all others. A run of scores that only
    reaches `verify_from` is told once it has ended or lasted `_UNSURE_FRAMES`, as one that is not
    sure; 0 tells none.
    For `refractory_samples` after a wake any other is a repeat, of any wake word, as one utterance
    may please several models; so is what rises within `REPEAT_SAMPLES` of a repeat. A run of high
    scores wakes once, however long it is.
    """

    def __init__(self, *, threshold: float, trigger_level: int, refractory_samples: int) -> None:
        self.threshold = threshold
        self.thresholds: Mapping[str, float] = {}
        self.verify_from = 0.0
        self.own_words: frozenset[str] = frozenset()
        """Those of the owner's own, which take more to be believed."""
        self.beside_own_sound = False
        """While our own sound is heard only `CERTAIN` is sure, unless `verify_from` is 0."""
        self._unsure: dict[str, list[float]] = {}
        self._trigger_level = trigger_level
        self._refractory_samples = refractory_samples
        self._runs: dict[str, int] = {}
        self._asked_at: deque[int] = deque(maxlen=_ASKED_WITHIN[0])
        self._woke_at: int | None = None
        self._repeated_at: int | None = None
        """When a wake was last no more than a repeat."""

    def feed(self, scores: Mapping[str, float], *, at_sample: int) -> WakeDetection | None:
        """Take the scores of the frame that ends before `at_sample`; return the best wake."""
        for word, score in scores.items():
            is_high = score >= max(self._threshold(word), CERTAIN * self._must_be_read(word))
            self._runs[word] = self._runs.get(word, 0) + 1 if is_high else 0
        due = [word for word in scores if self._runs[word] == self._trigger_level]
        if not due:
            return self._unsure_wake(scores, at_sample=at_sample)
        self._unsure.clear()
        best = max(due, key=lambda word: scores[word])
        if self._resting(at_sample, self._refractory_samples):
            # It may still be the same one, whose score flutters.
            self._repeated_at = at_sample
            if self._resting(at_sample, REPEAT_SAMPLES):
                return None
            return WakeDetection(best, scores[best], at_sample, is_repeat=True)
        repeated_at, self._repeated_at = self._repeated_at, None
        if repeated_at is not None and 0 <= at_sample - repeated_at < REPEAT_SAMPLES:
            return None  # one said in the refractory time, whose score flutters beyond it
        self._woke_at = at_sample
        return WakeDetection(best, scores[best], at_sample)

    def _unsure_wake(self, scores: Mapping[str, float], *, at_sample: int) -> WakeDetection | None:
        """Tell the end of a run that may have been a wake word."""
        found = None
        for word, score in scores.items():
            run = self._unsure.setdefault(word, [])
            lowest = max(self.verify_from, OWN_VERIFY_FROM * (word in self.own_words))
            if self._must_be_read(word):
                lowest = max(lowest, self._threshold(word))
            rises = self.verify_from and score >= lowest and self._runs[word] == 0
            if rises:
                run.append(score)
            if len(run) == _UNSURE_FRAMES or (run and len(run) < _UNSURE_FRAMES and not rises):
                found = WakeDetection(
                    word,
                    max(run),
                    at_sample,
                    is_sure=False,
                    least_logprob=self._least_logprob(word, max(run)),
                )
            if not rises:
                run.clear()
        if found is None or self._resting(at_sample, max(self._refractory_samples, REPEAT_SAMPLES)):
            return None
        if self._must_be_read(found.wake_word):
            return found  # without our sound it would open a session, which costs more
        asked = self._asked_at
        if len(asked) == asked.maxlen and 0 <= at_sample - asked[0] < _ASKED_WITHIN[1]:
            return None
        asked.append(at_sample)
        return found

    def tune(self, *, trigger_level: int, refractory_samples: int) -> None:
        """Decide by other numbers from now on."""
        self._trigger_level = trigger_level
        self._refractory_samples = refractory_samples
        self._runs.clear()

    def reset(self) -> None:
        """Forget runs of high scores, but not the last wake: it still must not repeat."""
        self._runs.clear()
        self._unsure.clear()

    def _threshold(self, word: str) -> float:
        return self.thresholds.get(word, self.threshold)

    def _least_logprob(self, word: str, score: float) -> float:
        if word not in self.own_words:
            return LEAST_LOGPROB
        likely, least = OWN_LIKELY
        return least if score >= likely else OWN_LEAST_LOGPROB

    def _must_be_read(self, word: str) -> bool:
        """True where few scores are enough: what is left of our own sound pleases the models."""
        return self.beside_own_sound and self.verify_from > 0 and word not in PHRASES

    def _resting(self, at_sample: int, rest_samples: int) -> bool:
        return self._woke_at is not None and 0 <= at_sample - self._woke_at < rest_samples


class WakeDetector:
    """Wake words over a stream of blocks of any size.

    `models`: bundled names or paths. `backend`: "onnx", "tflite", or "auto", which takes the
    first that passes the self-test. Raises `ModelError`.
    """

    def __init__(
        self,
        models: Sequence[str],
        *,
        gate: WakeGate,
        backend: str = "auto",
        vad_threshold: float = 0.0,
    ) -> None:
        self._models = tuple(models)
        self._gate = gate
        self._scorer = OpenWakeWord(
            models,
            backend=choose_backend(backend, models),
            vad_threshold=vad_threshold,
            spare_quiet=True,
        )
        gate.own_words = self._scorer.own_words
        self._pending = np.zeros(0, np.int16)
        self._at_sample = 0
        self._last_scores = dict.fromkeys(self._scorer.wake_words, 0.0)

    @classmethod
    def from_settings(cls, settings: WakeSettings) -> WakeDetector:
        """Build one from the `[wake]` section; raises `ModelError`."""
        gate = WakeGate(
            threshold=settings.threshold,
            trigger_level=settings.trigger_level,
            refractory_samples=round(settings.refractory_s * SAMPLE_RATE),
        )
        gate.thresholds = wake_thresholds(settings, settings.models)
        gate.verify_from = settings.verify_from
        return cls(
            settings.models,
            gate=gate,
            backend=settings.backend,
            vad_threshold=settings.vad_threshold,
        )

    @property
    def beside_own_sound(self) -> bool:
        """True while what is fed is left of the speaker's own sound."""
        return self._gate.beside_own_sound

    @beside_own_sound.setter
    def beside_own_sound(self, is_beside: bool) -> None:
        self._gate.beside_own_sound = is_beside

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The score that wakes, 0..1, of each wake word; they may be set at any time."""
        return {
            word: self._gate.thresholds.get(word, self._gate.threshold) for word in self.wake_words
        }

    @thresholds.setter
    def thresholds(self, thresholds: Mapping[str, float]) -> None:
        self._gate.thresholds = dict(thresholds)

    def tune(self, settings: WakeSettings) -> None:
        """Take over what else governs the gate, from now on; thresholds are set by themselves."""
        refractory_samples = round(settings.refractory_s * SAMPLE_RATE)
        self._gate.tune(trigger_level=settings.trigger_level, refractory_samples=refractory_samples)
        self._gate.verify_from = settings.verify_from

    def choose(self, models: Sequence[str]) -> None:
        """Listen for other wake words from now on, given by bundled names or paths.

        Raises `ModelError`, and goes on as before, when one of them cannot be loaded.
        """
        self._scorer.choose(models)
        self._models = tuple(models)
        self._gate.own_words = self._scorer.own_words
        self._gate.reset()
        self._last_scores = dict.fromkeys(self._scorer.wake_words, 0.0)

    @property
    def wake_words(self) -> tuple[str, ...]:
        """Names of the wake words, in the order of `models`."""
        return self._scorer.wake_words

    @property
    def backend(self) -> str:
        """Runtime of the models: "onnx" or "tflite"."""
        return self._scorer.backend

    @property
    def last_scores(self) -> Mapping[str, float]:
        """Scores of the newest wake frame, 0..1."""
        return MappingProxyType(self._last_scores)

    def feed(self, samples: NDArray[np.int16]) -> list[WakeDetection]:
        """Take the next (n,) int16 samples; return what was detected in whole wake frames."""
        audio = np.concatenate((self._pending, samples))
        if len(audio) < WAKE_FRAME_SAMPLES:
            self._pending = audio
            return []
        whole = len(audio) - len(audio) % WAKE_FRAME_SAMPLES
        self._pending = audio[whole:]
        frames = audio[:whole].reshape(-1, WAKE_FRAME_SAMPLES)
        detections = (self._hear(frame) for frame in frames)
        return [detection for detection in detections if detection is not None]

    def reset(self, at_sample: int) -> None:
        """Forget all audio; the next sample fed is `at_sample`."""
        self._scorer.reset()
        self._gate.reset()
        self._pending = np.zeros(0, np.int16)
        self._at_sample = at_sample
        self._last_scores = dict.fromkeys(self._scorer.wake_words, 0.0)

    def self_test(self) -> WakeSelfTest:
        """Find out whether the models hear the bundled clip on this machine.

        Also whether the configured ones give scores at all. Does not touch the stream.
        """
        return self_test(self._models, backend=self.backend)

    def phrase(self, wake_word: str) -> str:
        """Return how a wake word is written: "hey_jarvis" -> "Hey Jarvis"."""
        return wake_word.replace("_", " ").replace("-", " ").title()

    def _hear(self, frame: NDArray[np.int16]) -> WakeDetection | None:
        self._at_sample += WAKE_FRAME_SAMPLES
        self._last_scores = self._scorer.score(frame)
        found = self._gate.feed(self._last_scores, at_sample=self._at_sample)
        # The name of a model of many sentences proves nothing where it is read.
        is_unread = found is not None and not found.is_sure and found.wake_word in PHRASES
        return None if is_unread else found


def self_test(models: Sequence[str], *, backend: str) -> WakeSelfTest:
    """Score the bundled clip with the bundled model for it, and with `models`.

    openWakeWord's ONNX models are known to give nothing but zeros on some machines; the clip
    tells. It cannot tell whether other models hear their own wake word: for those any score
    between 0 and 1 will do. Raises `ModelError` when a model cannot be loaded.
    """
    reference = OpenWakeWord(
        [str(find_wake_model(_SELF_TEST_WORD, backend=backend))], backend=backend
    )
    configured = OpenWakeWord(models, backend=backend)
    audio = to_int16(load_audio(DEMO_CLIP))
    whole = len(audio) - len(audio) % WAKE_FRAME_SAMPLES
    best = 0.0
    for frame in audio[:whole].reshape(-1, WAKE_FRAME_SAMPLES):
        scores = configured.score(frame)
        best = max(best, reference.score(frame)[_SELF_TEST_WORD])
        if not all(0 <= score <= 1 for score in scores.values()):
            return WakeSelfTest(passed=False, score=best, backend=backend)
        if best >= _SELF_TEST_SCORE:
            return WakeSelfTest(passed=True, score=best, backend=backend)
    return WakeSelfTest(passed=False, score=best, backend=backend)


def check_models(settings: WakeSettings) -> None:
    """Raise `ModelError` where a wake word's file is missing for every backend that may run it.

    One of the owner's own is read as well; another is a program, which may run for ever.
    """
    backends = backends_to_try(settings.backend, settings.models)
    for name in settings.models:
        for backend in backends:
            try:
                file = find_wake_model(name, backend=backend)
            except ModelError:
                if backend == backends[-1]:
                    raise
            else:
                if file.suffix.lower() == HEAD_SUFFIX:
                    load_head(file)
                break


def choose_backend(setting: str, models: Sequence[str]) -> str:
    """Return the backend to use for a setting: for "auto" the first that passes the self-test.

    When none passes it is the first, so that the daemon can start and say so. Raises
    `ModelError` when the models cannot be loaded at all.
    """
    candidates = backends_to_try(setting, models)
    if len(candidates) == 1:
        return candidates[0]
    for backend in candidates:
        try:
            result = self_test(models, backend=backend)
        except ModelError as error:
            if backend == candidates[0]:
                raise
            log.warning("wake.no_fallback", backend=backend, reason=error.message)
            continue
        if result.passed:
            return backend
        log.warning("wake.backend_fails", backend=backend, score=result.score)
    return candidates[0]
