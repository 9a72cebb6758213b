"""A program for the parity test: scores a clip with openWakeWord itself, on stdout as JSON.

A process of its own, because openWakeWord pulls in scikit-learn and its warnings.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import soundfile
from openwakeword.model import Model

WAKE_FRAME_SAMPLES = 1280

np.random.seed(0)  # noqa: NPY002 - openWakeWord fills its buffers from there
model = Model(wakeword_models=sys.argv[2:], inference_framework="onnx")
clip, _rate_hz = soundfile.read(sys.argv[1], dtype="int16")
frames = clip[: len(clip) // WAKE_FRAME_SAMPLES * WAKE_FRAME_SAMPLES].reshape(
    -1, WAKE_FRAME_SAMPLES
)
scores = [{word: float(score) for word, score in model.predict(frame).items()} for frame in frames]
print(json.dumps(scores))  # noqa: T201 - this is how it answers
