"""Stand-ins for the pipeline's parts that really hear: their audio says what is in it.

A `Scene` writes audio in which every sample carries a voice probability and the number of the
word being spoken. `FakeVad` reads the one, `FakeTranscriber` the other, so both keep working
when audio is cut, restarted, lost or zeroed, and none of them needs a schedule of its own.
Call order is part of what they check.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

import numpy as np
from numpy.typing import NDArray

from voice_daemon.errors import ModelError
from voice_daemon.events import (
    SAMPLE_RATE,
    AudioBlock,
    Ending,
    Event,
    Hypothesis,
    Transcript,
    WakeDetection,
    Word,
    ms_to_samples,
)
from voice_daemon.session.pipeline import Pipeline, PipelineOptions

_LEVELS = 128
_VOICE = 95
_QUIET = 3
_SHORTEST_SAMPLES = ms_to_samples(50)
"""A shorter piece of a word is not understood."""
WAKE_WORD = "hey_jarvis"
WAKE_PHRASE = "Hey Jarvis"


class Scene:
    """Coded audio under construction: |sample| = word number * 128 + voice probability in %."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int16]] = []
        self.words: list[str] = []
        """Word number n is `words[n - 1]`."""
        self.wakes: list[int] = []
        """Samples at which the wake word is detected."""
        self.now = 0
        """End of the scene so far, in samples."""

    def silence(self, ms: float) -> Scene:
        return self.noise(ms, percent=_QUIET)

    def noise(self, ms: float, *, percent: int) -> Scene:
        """Sound without words to which the voice detector gives a probability."""
        return self._add(ms, percent)

    def say(self, text: str, *, word_ms: float = 240) -> Scene:
        for word in text.split():
            self.words.append(word)
            assert len(self.words) * _LEVELS <= np.iinfo(np.int16).max - _VOICE, "too many words"
            self._add(word_ms, _VOICE + _LEVELS * len(self.words))
        return self

    def wake(self, *, late_ms: float = 0) -> Scene:
        """Say the wake word; it is detected `late_ms` after its end (or before, if negative)."""
        self.say(WAKE_PHRASE, word_ms=300)
        self.wakes.append(self.now + ms_to_samples(late_ms))
        return self

    @property
    def samples(self) -> NDArray[np.int16]:
        """(n,) int16, the whole scene."""
        return np.concatenate([np.zeros(0, np.int16), *self._parts])

    def _add(self, ms: float, code: int) -> Scene:
        # Alternating signs: a constant would be an offset, which is no sound.
        signs = 1 - 2 * (np.arange(ms_to_samples(ms)) % 2)
        self._parts.append((code * signs).astype(np.int16))
        self.now += ms_to_samples(ms)
        return self


@dataclass(slots=True)
class FakeClock:
    """The live input's clock, moved by the audio heard and by what recognition costs."""

    now: int = 0

    def __call__(self) -> int:
        return self.now


class FakeWake:
    """Detects at given samples of the input; hearing all of it, it also keeps the clock going."""

    def __init__(self, at_samples: Sequence[int] = (), *, clock: FakeClock | None = None) -> None:
        self.thresholds: Mapping[str, float] = {WAKE_WORD: 0.5}
        self.models: tuple[str, ...] = (WAKE_WORD,)
        self.beside_own_sound = False
        self.is_repeat = False
        """Whether what it detects is a repeat within the refractory time."""
        self.is_sure = True
        """Whether its score suffices."""
        self.resets: list[int] = []
        self.heard = 0
        """Samples fed in all."""
        self._at_samples = at_samples
        self._clock = clock or FakeClock()
        self._position = 0

    def feed(self, samples: NDArray[np.int16]) -> list[WakeDetection]:
        first, self._position = self._position, self._position + samples.size
        self.heard += samples.size
        self._clock.now = max(self._clock.now, self._position)
        return [
            WakeDetection(WAKE_WORD, 0.9, at, is_repeat=self.is_repeat, is_sure=self.is_sure)
            for at in self._at_samples
            if first < at <= self._position
        ]

    def choose(self, models: Sequence[str]) -> None:
        if "damaged" in models:
            raise ModelError("wake.model_unusable", "damaged cannot be loaded", remedy="get it")
        self.models = tuple(models)

    def reset(self, at_sample: int) -> None:
        self.resets.append(at_sample)
        self._position = at_sample

    def phrase(self, wake_word: str) -> str:
        return wake_word.replace("_", " ").title()


class FakeVad:
    """Reads the voice probability that a scene wrote into its samples."""

    frame_samples = 512

    def __init__(self) -> None:
        self.resets = 0
        self._pending = np.zeros(0, np.int16)

    def feed(self, samples: NDArray[np.int16]) -> list[float]:
        audio = np.concatenate((self._pending, samples))
        n_frames, rest = divmod(audio.size, self.frame_samples)
        self._pending = audio[audio.size - rest :].copy()
        frames = audio[: n_frames * self.frame_samples].reshape(n_frames, self.frame_samples)
        return [float(p) for p in (np.abs(frames) % _LEVELS).mean(axis=1) / 100]

    def reset(self) -> None:
        self.resets += 1
        self._pending = np.zeros(0, np.int16)


def _words_in(audio: NDArray[np.int16]) -> list[tuple[int, int, int]]:
    """Find the words in (n,) coded audio, as (number, first sample, end sample)."""
    numbers = np.abs(audio) // _LEVELS
    edges = [int(edge) for edge in np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))]
    runs = [(int(numbers[first]), first, end) for first, end in pairwise(edges)]
    return [run for run in runs if run[0] > 0 and run[2] - run[1] >= _SHORTEST_SAMPLES]


@dataclass(slots=True, kw_only=True)
class FakeTranscriber:
    """Reads the words that a scene wrote into its samples.

    A word is a draft once it began, and committed `commit_ms` after its end. `revise` turns
    the text into the final's. Each reading costs `cost_ms` on the clock. `fails_at` names a
    method and which of its calls raises; `forgets_at` is the step that takes everything back.
    """

    words: Sequence[str]
    clock: FakeClock = field(default_factory=FakeClock)
    commit_ms: float = 300
    cost_ms: float = 0
    revise: Callable[[str], str] = str
    confidence: float = 0.9
    no_speech_prob: float = 0.01
    completeness: Sequence[float] = (0.0,)
    """Of the finals, in order; the last one holds for all that follow."""
    corrections: Mapping[str, str] = field(default_factory=dict)
    """What a home's vocabulary makes of a text; empty: there is none."""
    endings: Mapping[str, Ending] = field(default_factory=dict)
    """What it says of the end of a text."""
    search_steps: int = 3
    """Steps that it takes to find out."""
    fails_at: tuple[str, int] | None = None
    forgets_at: int | None = None
    calls: list[str] = field(default_factory=list)
    """Methods called, in order, without `feed`."""
    wake_phrases: list[str | None] = field(default_factory=list)
    """What each `start` was told."""
    within_s: list[float] = field(default_factory=list)
    """Time that each `finish` was given."""
    _audio: list[NDArray[np.int16]] | None = None
    _wake_phrase: str | None = None

    def start(self, *, wake_phrase: str | None) -> None:
        assert self._audio is None, "start() before the last utterance was reset"
        self._called("start")
        self._audio = []
        self._wake_phrase = wake_phrase
        self.wake_phrases.append(wake_phrase)

    def feed(self, samples: NDArray[np.int16]) -> None:
        assert self._audio is not None, "feed() before start()"
        self._audio.append(samples.copy())

    def step(self) -> Hypothesis:
        self._called("step")
        heard = self._words()
        safe = self._fed().size - ms_to_samples(self.commit_ms)
        committed = [text for text, _, end in heard if end <= safe]
        draft = [text for text, _, end in heard if end > safe]
        if self.forgets_at == self.calls.count("step"):
            committed, draft = [], []
        text = " ".join(committed)
        lead = " " if committed and draft else ""
        times = [Word(t, a / SAMPLE_RATE, b / SAMPLE_RATE) for t, a, b in heard]
        return Hypothesis(
            text=text,
            draft=lead + " ".join(draft),
            language="en",
            words=tuple(times[: len(committed)]),
            draft_words=tuple(times[len(committed) :]),
        )

    def finish(self, *, within_s: float = 0) -> Transcript:
        self._called("finish")
        self.within_s.append(within_s)
        heard = self._words()
        read = " ".join(text for text, _, _ in heard)
        text = self.revise(read)
        return Transcript(
            text=text,
            revised=text != read,
            language="en",
            words=tuple(Word(t, a / SAMPLE_RATE, b / SAMPLE_RATE) for t, a, b in heard),
            confidence=self.confidence,
            no_speech_prob=self.no_speech_prob,
            completeness=self.completeness[
                min(self.calls.count("finish"), len(self.completeness)) - 1
            ],
            ending=self.endings.get(text),
        )

    def phrase_logprob(self, phrase: str) -> float:
        return 0.0 if phrase.lower() in self.finish().text.lower() else -20.0

    def correcting(self, transcript: Transcript) -> Generator[None, None, Transcript]:
        if not self.corrections:
            return transcript
        for _ in range(self.search_steps):
            self._called("search")
            yield
        text = self.corrections.get(transcript.text)
        if text is None:
            return replace(transcript, in_vocabulary=False)
        return replace(transcript, text=text, heard=transcript.text, in_vocabulary=True)

    def reset(self) -> None:
        self._called("reset")
        self._audio = None

    @property
    def holds_audio(self) -> bool:
        return self._audio is not None

    def _words(self) -> list[tuple[str, int, int]]:
        runs = _words_in(self._fed())
        heard = [(self.words[number - 1], first, end) for number, first, end in runs]
        phrase = (self._wake_phrase or "").split()
        if phrase and [text for text, _, _ in heard[: len(phrase)]] == phrase:
            return heard[len(phrase) :]
        return heard

    def _fed(self) -> NDArray[np.int16]:
        assert self._audio is not None, "no utterance was started"
        return np.concatenate([np.zeros(0, np.int16), *self._audio])

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if method not in {"start", "reset"}:
            self.clock.now += ms_to_samples(self.cost_ms)
        if self.fails_at == (method, self.calls.count(method)):
            raise RuntimeError("out of memory")


class Rig:
    """A pipeline on fakes that hears a scene."""

    def __init__(
        self,
        scene: Scene,
        *,
        options: PipelineOptions | None = None,
        transcriber: FakeTranscriber | None = None,
        now_sample: Callable[[], int] | None = None,
    ) -> None:
        self.scene = scene
        self.transcriber = transcriber or FakeTranscriber(words=scene.words)
        self.clock = self.transcriber.clock
        self.wake = FakeWake(scene.wakes, clock=self.clock)
        self.vad = FakeVad()
        numbers = count(1)
        self.pipeline = Pipeline(
            wake=self.wake,
            vad=self.vad,
            transcriber=self.transcriber,
            options=options or PipelineOptions(),
            now_sample=now_sample or self.clock,
            new_session_id=lambda: f"session-{next(numbers)}",
        )
        self.played = 0
        """Samples of the scene that were fed."""

    def play(self, *, until: int | None = None, block_ms: float = 20) -> list[Event]:
        """Feed the scene on to a sample; without recognition costs it is heard without lag."""
        events: list[Event] = []
        for block in blocks(self.scene.samples[:until], ms_to_samples(block_ms), self.played):
            self.played = block.first_sample + block.samples.size
            events += self.pipeline.feed(block)
        return events


def blocks(
    samples: NDArray[np.int16], block_samples: int, first_sample: int = 0
) -> Iterator[AudioBlock]:
    """Cut samples from `first_sample` on into blocks; the last one may be shorter."""
    for at in range(first_sample, samples.size, block_samples):
        yield AudioBlock(at, samples[at : at + block_samples])
