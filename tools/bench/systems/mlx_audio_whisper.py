"""mlx-audio's own Whisper streaming (0.6.2, from PyPI), with the same weights.

Its decoder is driven chunk by chunk as its `Model.generate_streaming` does: log-mel of the
chunk alone, then `decode_chunk`; the last chunk is announced as such. It gets the model's own
alignment heads. What it has emitted is its committed text; it shows no draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

from numpy.typing import NDArray

from tools.bench.replay import Reading
from voice_daemon.asr import WhisperTokenizer
from voice_daemon.asr.checkpoints.load import load_weights
from voice_daemon.asr.load import default_dtype

# isort: split
# After ours, which loads OpenBLAS before MLX.
import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_audio.stt.models.whisper.audio import log_mel_spectrogram
from mlx_audio.stt.models.whisper.streaming import StreamingDecoder
from mlx_audio.stt.models.whisper.whisper import Model, ModelDimensions


class HubTokenizer:
    """Our tokenizer under the names of Hugging Face's, as far as mlx-audio asks for them."""

    def __init__(self, tokenizer: WhisperTokenizer) -> None:
        self._tokenizer = tokenizer
        self._specials = {
            "<|0.00|>": tokenizer.timestamp_begin,
            "<|startoftranscript|>": tokenizer.sot,
            "<|startoflm|>": tokenizer.sot_lm,
            "<|startofprev|>": tokenizer.sot_prev,
            "<|notimestamps|>": tokenizer.no_timestamps,
            "<|nospeech|>": tokenizer.no_speech,
            "<|transcribe|>": tokenizer.transcribe,
            "<|translate|>": tokenizer.translate,
            **{f"<|{code}|>": token for code, token in tokenizer.languages.items()},
        }
        self.eos_token_id = self.unk_token_id = tokenizer.eot

    def convert_tokens_to_ids(self, token: str) -> int:
        return self._specials.get(token, self.unk_token_id)

    def get_vocab(self) -> dict[str, int]:
        return self._specials

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:  # noqa: ARG002 - theirs
        return self._tokenizer.encode(text)

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:  # noqa: ARG002
        return self._tokenizer.decode(tokens)


class MlxAudio:
    """One of its streaming decoders for each language."""

    has_draft = False

    def __init__(self, model: Model) -> None:
        self._model = model
        self._decoders: dict[str, StreamingDecoder] = {}
        self._decoder: StreamingDecoder
        self._text = ""
        self._pieces: list[NDArray[np.float32]] = []

    def start(self, *, step_s: float | None, language: str) -> None:  # noqa: ARG002 - any step
        if language not in self._decoders:
            self._decoders[language] = StreamingDecoder(self._model, language=language)
        self._decoder = self._decoders[language]
        self._decoder.reset()
        self._text = ""
        self._pieces = []

    def feed(self, samples: NDArray[np.float32]) -> None:
        self._pieces.append(samples)

    def step(self) -> Reading:
        return Reading(self._decode(is_last=False).strip())

    def finish(self) -> str:
        return self._decode(is_last=True).strip()

    def _decode(self, *, is_last: bool) -> str:
        chunk = np.concatenate(self._pieces)
        self._pieces = []
        mel = log_mel_spectrogram(chunk, n_mels=self._model.dims.n_mels)
        self._text += self._decoder.decode_chunk(mel, is_last=is_last).text
        return self._text


def load(model: Path) -> MlxAudio:
    """Build its network from the weights of a folder or file, in the precision that we use."""
    data = load_weights(model)
    network = Model(ModelDimensions(**asdict(data.dims)), default_dtype())
    if data.quantization is not None:
        nn.quantize(
            network,
            group_size=data.quantization["group_size"],
            bits=data.quantization["bits"],
            class_predicate=lambda path, _: f"{path}.scales" in data.arrays,
        )
    network.load_weights(list(network.sanitize(data.arrays).items()))
    mx.eval(network.parameters())
    if data.alignment_heads:
        network.set_alignment_heads([list(pair) for pair in data.alignment_heads])
    tokenizer = WhisperTokenizer.from_vocabulary(data.vocabulary, n_vocab=data.dims.n_vocab)
    network._processor = SimpleNamespace(tokenizer=HubTokenizer(tokenizer))
    return MlxAudio(network)
