"""The recogniser as the pipeline wants it: int16 audio in, `Hypothesis` and `Transcript` out.

Owns the warm-up and the one streaming decoder that sessions share in turn. Everything here
runs on the thread that made it (MLX's streams are thread-local).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.streaming import StreamingConfig, StreamingDecoder, StreamingResult
from voice_daemon.events import SAMPLE_RATE, Hypothesis, Transcript, Word

ALIKE = 0.6
"""Shared letters over all letters of two phrases that are taken for one another."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def after_phrase(text: str, phrase: str) -> str | None:
    """Return what follows the phrase that `text` begins with; None where it begins otherwise.

    The phrase may be read without its first words, and not quite as it is written. It ends
    with a word, and its punctuation goes with it.
    """
    said = list(_WORD.finditer(text))
    wanted = _WORD.findall(phrase.casefold())
    best, end = 0.0, 0
    for n_words in range(1, min(len(said), len(wanted) + 1) + 1):
        heard = "".join(match.group().casefold() for match in said[:n_words])
        for first in range(len(wanted)):
            likeness = SequenceMatcher(None, heard, "".join(wanted[first:])).ratio()
            if likeness > best:
                best, end = likeness, said[n_words - 1].end()
    if best < ALIKE:
        return None
    rest = _WORD.search(text, end)
    return text[rest.start() :] if rest else ""


def last_words(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """Return those of `words`, in order, that make up `text`, which is the end of what they say."""
    wanted = _n_letters(text)
    first = len(words)
    while first and wanted > 0:
        first -= 1
        wanted -= _n_letters(words[first].text)
    return tuple(words[first:])


def _n_letters(text: str) -> int:
    return sum(letter.isalnum() for letter in text)


class WhisperTranscriber:
    """One utterance after another: `start`, then `feed`, `step` and `finish`, then `reset`."""

    def __init__(
        self,
        model: WhisperModel,
        config: StreamingConfig | None = None,
        *,
        decoder: StreamingDecoder | None = None,
    ) -> None:
        self._model = model
        self._config = config or StreamingConfig()
        self._decoder = decoder or StreamingDecoder(model, self._config)
        self._second_reader = self._decoder.another(self._config)
        self._wake_phrase: str | None = None
        self._with_phrase: list[NDArray[np.int16]] = []

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that it can be told to expect."""
        return tuple(self._model.tokenizer.languages)

    def another(self, *, language: str | None = None) -> WhisperTranscriber:
        """Make a transcriber for utterances beside this one's, on the same weights.

        `language`: what is spoken there; None means as here.
        """
        config = replace(self._config, language=language or self._config.language)
        return WhisperTranscriber(self._model, config, decoder=self._decoder.another(config))

    def warm_up(self) -> None:
        """Run every path once, so that the first command is not the slow one.

        Raises whatever the model raises: a recogniser that cannot warm up must not be used.
        """
        at_once(self.warming_up())

    def warming_up(self) -> Steps[None]:
        """Do as `warm_up` does, in steps."""
        tone = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05).astype(np.float32) * 0.1
        self._decoder.reset()
        for first in range(0, len(tone), SAMPLE_RATE // 2):
            self._decoder.feed(tone[first : first + SAMPLE_RATE // 2])
            yield
            self._decoder.step()
        yield
        self._decoder.finish()
        self._decoder.reset()

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance whose audio opens with `wake_phrase`, which is not transcribed."""
        self.reset()
        self._wake_phrase = wake_phrase
        if wake_phrase:
            self._decoder.reset(spoken_prefix=f"{wake_phrase}.")

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Append (n,) int16 samples at 16 kHz."""
        self._decoder.feed(samples)
        if self._wake_phrase:
            self._with_phrase.append(samples.copy())

    def step(self) -> Hypothesis:
        """One streaming step over what was fed."""
        results = self._decoder.step()
        result = results[-1] if results else self._decoder.snapshot()
        return Hypothesis(
            text=result.text,
            draft=result.draft,
            language=result.language,
            words=result.words,
            ended=result.ended,
            confidence=result.confidence,
            no_speech_prob=result.no_speech_prob,
        )

    def finish(self) -> Transcript:
        """A free decode of everything fed; feeding more afterwards makes it stale.

        A model that is told that the wake phrase was said may take what follows for a part of
        it, and write nothing. Then it is asked again without being told.
        """
        transcript = _transcript(self._decoder.finish())
        if self._wake_phrase and not any(letter.isalnum() for letter in transcript.text):
            return self._read_with(self._wake_phrase)
        return transcript

    def reset(self) -> None:
        """Forget the utterance."""
        self._decoder.reset()
        self._wake_phrase = None
        self._with_phrase = []

    def _read_with(self, phrase: str) -> Transcript:
        """Read all audio, the wake phrase too, and leave it out of the text."""
        self._second_reader.reset()
        for samples in self._with_phrase:
            self._second_reader.feed(samples)
        read = _transcript(self._second_reader.finish())
        self._second_reader.reset()
        text = after_phrase(read.text, phrase) or ""
        return replace(read, text=text, words=last_words(read.words, text), revised=False)


def _transcript(result: StreamingResult) -> Transcript:
    return Transcript(
        text=result.text,
        revised=result.revised,
        language=result.language,
        words=result.words,
        confidence=result.confidence,
        no_speech_prob=result.no_speech_prob,
        ended=result.ended,
        completeness=result.completeness,
    )
