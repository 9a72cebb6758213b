"""Streaming Whisper on MLX, usable as a library: no microphone, broker or configuration.

model = load_model("tiny.en")
for result in generate_streaming(model, samples):
    print(result.text, result.draft)
"""

import voice_daemon.asr.openblas  # noqa: F401 - has to precede the first import of MLX

# isort: split
from voice_daemon.asr.alignatt import get_most_attended_frame, should_emit
from voice_daemon.asr.blocks import MultiHeadAttention
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.features import log_mel_spectrogram
from voice_daemon.asr.load import WhisperModel, load_model
from voice_daemon.asr.model import AudioEncoder, TextDecoder
from voice_daemon.asr.offline import DecodingOptions, DecodingResult, DecodingTask
from voice_daemon.asr.streaming import (
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    generate_streaming,
)
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.asr.transcriber import WhisperTranscriber

__all__ = [
    "AudioEncoder",
    "DecodingOptions",
    "DecodingResult",
    "DecodingTask",
    "GreedyDecoder",
    "MultiHeadAttention",
    "StreamingConfig",
    "StreamingDecoder",
    "StreamingResult",
    "TextDecoder",
    "WhisperModel",
    "WhisperTokenizer",
    "WhisperTranscriber",
    "generate_streaming",
    "get_most_attended_frame",
    "load_model",
    "log_mel_spectrogram",
    "should_emit",
]
