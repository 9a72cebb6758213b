"""Streaming Whisper on MLX, usable as a library: no microphone, broker or configuration.

model = load_model("path/to/model")
for result in generate_streaming(model, samples):
    print(result.text, result.draft)
"""

from voice_daemon.asr.openblas import preload_openblas

preload_openblas()  # has to precede the first import of MLX, below

from voice_daemon.asr.alignatt import get_most_attended_frame, should_emit  # noqa: E402
from voice_daemon.asr.decoding import GreedyDecoder  # noqa: E402
from voice_daemon.asr.features import log_mel_spectrogram  # noqa: E402
from voice_daemon.asr.load import WhisperModel, load_model  # noqa: E402
from voice_daemon.asr.model import (  # noqa: E402
    AudioEncoder,
    MultiHeadAttention,
    TextDecoder,
)
from voice_daemon.asr.offline import (  # noqa: E402
    DecodingOptions,
    DecodingResult,
    DecodingTask,
)
from voice_daemon.asr.streaming import (  # noqa: E402
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    generate_streaming,
)
from voice_daemon.asr.tokenizer import WhisperTokenizer  # noqa: E402
from voice_daemon.asr.transcriber import WhisperTranscriber  # noqa: E402

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
