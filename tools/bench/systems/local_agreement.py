"""whisper_streaming's policy, LocalAgreement-2, over faster-whisper with the same weights.

Greedy, as all systems here, and in float32; for the rest faster-whisper's own defaults. The
audio is cut at the end of a committed segment once it is longer than 15 s, and the text before
the cut is the prompt: the published settings. It can read CTranslate2 folders alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from tools.bench.replay import Reading
from tools.bench.systems import UnavailableError
from tools.bench.systems.agreement import LocalAgreement, SpokenWord
from voice_daemon.events import SAMPLE_RATE

TRIM_S: Final = 15.0


class LocalAgreementWhisper:
    """The audio buffer around the policy."""

    has_draft = True

    def __init__(self, model: WhisperModel) -> None:
        self._model = model
        self.start(step_s=None, language="en")

    def start(self, *, step_s: float | None, language: str) -> None:  # noqa: ARG002 - any step
        self._policy = LocalAgreement()
        self._language = language
        self._audio = np.zeros(0, np.float32)
        self._from_s = 0.0

    def feed(self, samples: NDArray[np.float32]) -> None:
        self._audio = np.concatenate((self._audio, samples))

    def step(self) -> Reading:
        words, segment_ends_s = self._read()
        self._policy.read(words)
        self._trim(segment_ends_s)
        committed = self._text(self._policy.committed)
        draft = "".join(word.text for word in self._policy.open)
        return Reading(committed, draft)

    def finish(self) -> str:
        words, _ = self._read()
        self._policy.read(words)
        self._policy.close()
        return self._text(self._policy.committed)

    def _read(self) -> tuple[list[SpokenWord], list[float]]:
        """Recognise the buffer: its words and the ends of its segments."""
        segments, _ = self._model.transcribe(
            self._audio,
            language=self._language,
            initial_prompt=self._policy.prompt(before_s=self._from_s) or None,
            beam_size=1,
            best_of=1,
            word_timestamps=True,
            condition_on_previous_text=True,
        )
        words, ends_s = [], []
        for segment in segments:
            ends_s.append(self._from_s + segment.end)
            for word in segment.words or ():
                start_s, end_s = self._from_s + word.start, self._from_s + word.end
                words.append(SpokenWord(word.word, start_s, end_s))
        return words, ends_s

    def _trim(self, segment_ends_s: list[float]) -> None:
        if len(self._audio) <= TRIM_S * SAMPLE_RATE:
            return
        cut_s = self._policy.cut_s(segment_ends_s)
        if cut_s is not None and cut_s > self._from_s:
            self._audio = self._audio[round((cut_s - self._from_s) * SAMPLE_RATE) :]
            self._from_s = cut_s

    @staticmethod
    def _text(words: list[SpokenWord]) -> str:
        return "".join(word.text for word in words).strip()


def load(model: Path) -> LocalAgreementWhisper:
    """Load a CTranslate2 folder; raises UnavailableError for other layouts."""
    if not (model / "model.bin").is_file():
        raise UnavailableError(
            "bench.layout",
            f"local-agreement reads CTranslate2 folders, and {model} is none",
            remedy="name a CTranslate2 folder of the same model",
        )
    whisper = WhisperModel(
        str(model),
        device="cpu",
        compute_type="float32",
        cpu_threads=int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        local_files_only=True,
    )
    return LocalAgreementWhisper(whisper)
