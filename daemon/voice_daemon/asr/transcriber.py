"""The recogniser as the pipeline wants it: int16 audio in, `Hypothesis` and `Transcript` out.

Owns the warm-up and the one streaming decoder that sessions share in turn. Everything here
runs on the thread that made it (MLX's streams are thread-local).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.load import WhisperModel, free_unused_memory, on_gpu
from voice_daemon.asr.streaming import StreamingConfig, StreamingDecoder, StreamingResult
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.asr.types import FinalReading
from voice_daemon.events import SAMPLE_RATE, Ending, Hypothesis, Transcript, Word, last_words

SHAPES_WITHIN_S = 8.0
"""Longest that the warm-up on a GPU goes on meeting new shapes."""
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


class FinalCorrector(Protocol):
    """Knows what is said where the audio comes from, and looks for it in a final."""

    def correcting(self, heard: FinalReading) -> Steps[Correction | None]:
        """Decide what was said, in short steps; may be given up at any. Never raises."""

    def ending(self, text: str, language: str) -> Ending | None:
        """Give what may follow a text; None where nothing said there begins so. Never raises."""


class Correction(Protocol):
    """A sentence that a corrector found in the audio."""

    @property
    def text(self) -> str:
        """The text to write."""

    @property
    def in_vocabulary(self) -> bool:
        """True when it is something that is said there."""


class WhisperTranscriber:
    """One utterance after another: `start`, then `feed`, `step` and `finish`, then `reset`."""

    def __init__(
        self,
        model: WhisperModel,
        config: StreamingConfig | None = None,
        *,
        decoder: StreamingDecoder | None = None,
        corrector: FinalCorrector | None = None,
    ) -> None:
        self._model = model
        self._config = config or StreamingConfig()
        self._decoder = decoder or StreamingDecoder(model, self._config)
        self._second_reader = self._decoder.another(self._config)
        self._corrector = corrector
        self.passed_self_test: bool | None = None
        """Whether it read the test recording; None where it was not asked to."""
        self._final: FinalReading | None = None
        self._wake_phrase: str | None = None
        self._with_phrase: list[NDArray[np.int16]] = []

    @property
    def corrector(self) -> FinalCorrector | None:
        """The search for the home's sentences; shared with the transcribers beside this one."""
        return self._corrector

    @property
    def tokenizer(self) -> WhisperTokenizer:
        """The model's."""
        return self._model.tokenizer

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that it can be told to expect."""
        return tuple(self._model.tokenizer.languages)

    def another(self, *, language: str | None = None) -> WhisperTranscriber:
        """Make a transcriber for utterances beside this one's, on the same weights.

        `language`: what is spoken there; None means as here.
        """
        config = replace(self._config, language=language or self._config.language)
        decoder = self._decoder.another(config)
        return WhisperTranscriber(self._model, config, decoder=decoder, corrector=self._corrector)

    def warm_up(self) -> None:
        """Run every path once, so that the first command is not the slow one.

        Raises whatever the model raises: a recogniser that cannot warm up must not be used.
        """
        # Sound, not silence: decoding ends at once where nobody seems to speak.
        tone = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05).astype(np.float32) * 0.1
        self._decoder.reset()
        for first in range(0, len(tone), SAMPLE_RATE // 2):
            self._decoder.feed(tone[first : first + SAMPLE_RATE // 2])
            self._decoder.step()
        self._decoder.finish(within_s=math.inf)
        self._decoder.reset()
        self.meet_shapes()
        self._decoder.feed(tone)
        self._decoder.learn_final_cost()
        self._decoder.reset()

    def meet_shapes(self) -> None:
        """Compute once at each size that commands have: on a GPU a new one costs time."""
        if self._model.decoder.few_shapes:
            self._decoder.meet_shapes(SHAPES_WITHIN_S)

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance whose audio opens with `wake_phrase`, which is not transcribed."""
        self.reset()
        self._wake_phrase = wake_phrase
        if wake_phrase:
            self._decoder.reset(spoken_prefix=wake_phrase)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Append (n,) int16 samples at 16 kHz."""
        self._decoder.feed(samples)
        if self._wake_phrase:
            # For a second reading, by when the caller's buffer may hold something else.
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
            draft_words=result.draft_words,
            ended=result.ended,
            confidence=result.confidence,
            no_speech_prob=result.no_speech_prob,
        )

    def finish(self, *, within_s: float = 0.0) -> Transcript:
        """A free decode of everything fed; feeding more afterwards makes it stale.

        It is read beside live silence where that is ready within `within_s`. A model that is told
        that the wake phrase was said may take what follows for a part of it, and write nothing.
        Then it is asked again without being told.
        """
        final = self._decoder.finish(within_s=within_s)
        self._final = self._decoder.final_reading(final) if self._corrector else None
        transcript = _transcript(final)
        if self._wake_phrase and not any(letter.isalnum() for letter in transcript.text):
            transcript = self._read_with(self._wake_phrase)
        return self._with_ending(transcript)

    def phrase_logprob(self, phrase: str) -> float:
        """Give the log-probability that a phrase is somewhere in what was fed."""
        return self._decoder.phrase_logprob(self._decoder.finish(within_s=0), phrase)

    def correcting(self, transcript: Transcript) -> Steps[Transcript]:
        """Look for what is said here in the utterance that `finish` read as `transcript`.

        In a step for each call of the decoder; may be given up at any. Feeding and stepping may
        go on meanwhile.
        """
        reading = self._final
        if self._corrector is None or reading is None or reading.text != transcript.text:
            return transcript
        found = yield from self._corrector.correcting(reading)
        return transcript if found is None else self._with_ending(corrected(transcript, found))

    def reset(self) -> None:
        """Forget the utterance, and on a GPU give back the memory that it was read with."""
        self._final = None
        self._decoder.reset()
        self._wake_phrase = None
        self._with_phrase = []
        if on_gpu():
            free_unused_memory()

    def _with_ending(self, transcript: Transcript) -> Transcript:
        if self._corrector is None:
            return transcript
        ending = self._corrector.ending(transcript.text, transcript.language)
        return replace(transcript, ending=ending)

    def _read_with(self, phrase: str) -> Transcript:
        """Read all audio, the wake phrase too, and leave it out of the text."""
        self._second_reader.reset()
        for samples in self._with_phrase:
            self._second_reader.feed(samples)
        read = _transcript(self._second_reader.finish(within_s=0))
        self._second_reader.reset()
        text = after_phrase(read.text, phrase) or ""
        return replace(read, text=text, words=last_words(read.words, text), revised=False)


def corrected(transcript: Transcript, found: Correction) -> Transcript:
    """The transcript with what a corrector found."""
    if found.text == transcript.text:
        return replace(transcript, in_vocabulary=found.in_vocabulary)
    return replace(
        transcript,
        text=found.text,
        words=retimed(transcript.words, found.text),
        heard=transcript.text,
        in_vocabulary=found.in_vocabulary,
    )


def retimed(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """The words of another text at the times of these.

    Words in the place of others share their time.
    """
    said = text.split()
    times: list[Word] = []
    matcher = SequenceMatcher(a=[_bare(w.text) for w in words], b=[_bare(w) for w in said])
    for _, a_first, a_end, b_first, b_end in matcher.get_opcodes():
        replaced, written = words[a_first:a_end], said[b_first:b_end]
        start_s = replaced[0].start_s if replaced else times[-1].end_s if times else 0.0
        end_s = replaced[-1].end_s if replaced else start_s
        if len(replaced) == len(written):
            pairs = zip(replaced, written, strict=True)
            times += [replace(word, text=new) for word, new in pairs]
            continue
        each_s = (end_s - start_s) / max(1, len(written))
        times += [
            Word(new, start_s + at * each_s, start_s + (at + 1) * each_s)
            for at, new in enumerate(written)
        ]
    return tuple(times)


def _bare(word: str) -> str:
    return "".join(sign for sign in word.casefold() if sign.isalnum())


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
