"""Good input for each reader, to be mutated. Small, and made here: nothing is anybody's recording.

Knows nothing of how it is mutated.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from support.whisper_files import (
    SMALL,
    small_tensors,
    transformers_config,
    write_ctranslate2,
    write_ggml,
    write_mlx,
)
from tools.fuzz import readers
from tools.fuzz.onnx_graphs import graph, graph_without_input
from tools.fuzz.readers import Reader
from voice_daemon.config import Settings
from voice_daemon.config.render import example
from voice_daemon.errors import Problem
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)
from voice_daemon.wake.head import HEAD_EMBEDDINGS, WakeHead, save_head
from voice_daemon.wake.models import bundled_folder
from voice_daemon.wake.speech_embedding import EMBEDDING_SIZE


def _json(*documents: object) -> tuple[bytes, ...]:
    return tuple(json.dumps(document).encode() for document in documents)


def _config() -> tuple[bytes, ...]:
    return example().encode(), b'[mqtt]\nhost = "hub"\nport = 1883\n[asr]\nstep_s = 0.5\n'


def _mqtt() -> tuple[bytes, ...]:
    claim = {
        "schema": 1,
        "event_type": "claim",
        "node_id": "den",
        "session_id": "a",
        "wake_word": "hey_jarvis",
        "score": 0.9,
    }
    call = {"value": "ON", "transaction": "1"}
    return (
        b"cmd/listen\0",
        b"wake_threshold/set\x000.5",
        b"silence_ms/set\x00700",
        b"wake_word/set\0alexa",
        *(b"mute/set\0" + payload for payload in _json(claim, call)),
    )


def _requests() -> tuple[bytes, ...]:
    lines = _json({"verb": "status"}, {"verb": "listen", "arguments": {"wait": 1}})
    return (b"\n".join(lines) + b"\n",)


def _replies() -> tuple[bytes, ...]:
    status = Status(
        version="1",
        pid=1,
        uptime_s=1.0,
        mic=MicStatus("mic", 16_000),
        wake=WakeStatus(("hey_jarvis",), 0.5, "pass"),
        asr=AsrStatus("tiny.en", warm=True),
        mqtt=BrokerStatus("mqtt://hub", "a", connected=True),
        session=SessionStatus("idle", muted=False),
        problems=(Problem("mic", "it is silent", "plug it in"),),
    )
    return _json({"ok": True, "version": "1", "schema": 1, "result": status.to_dict()})


def _states() -> tuple[bytes, ...]:
    changes = {"wake_threshold": {"value": 0.6, "configured": Settings().wake.threshold}}
    announced = [{"topic": "homeassistant/device/a/config", "root": "voice/a", "components": {}}]
    return _json({"schema": 1, "settings": changes, "announced": announced})


def _log_lines() -> tuple[bytes, ...]:
    about = {"at": "2026-01-01T00:00:00.000Z", "level": "info", "session_id": "a"}
    facts = {"wake_word": "alexa", "score": 0.9, "session_ms": 1, "text": "on", "reason": "silence"}
    more = {"confidence": 0.9, "seq": 1, "lag_ms": 1, "finals": 1, "rtf": 0.1, "speech_ms": 1}
    events = (
        "wake.detected",
        "session.started",
        "speech.started",
        "speech.ended",
        "transcript.partial",
        "transcript.final",
        "session.done",
        "error.raised",
        "arbitration.stood_down",
    )
    lines = _json(*({**about, "event": event, **facts, **more} for event in events))
    crash = b'Traceback (most recent call last):\n  File "a"\nValueError: x\ndaemonctl: y\n  -> z'
    return (*lines, crash)


def _frames() -> tuple[bytes, ...]:
    head = {"type": "audio-chunk", "data": {"rate": 16_000, "width": 2, "channels": 1}}
    (line,) = _json({**head, "payload_length": 4})
    return (line + b"\n\0\0\0\0", b'{"type": "describe", "data_length": 2}\n{}')


def _configs() -> tuple[bytes, ...]:
    mlx = {"model_type": "whisper", **asdict(SMALL), "alignment_heads": [[0, 0]]}
    quantised = {**mlx, "quantization": {"group_size": 64, "bits": 4}, "suppress_tokens": [1]}
    return _json(mlx, quantised, {"model_type": "whisper", **transformers_config(SMALL)})


def _generation() -> tuple[bytes, ...]:
    return _json(
        {"alignment_heads": [[0, 0], [1, 1]], "suppress_tokens": [1], "begin_suppress_tokens": [2]}
    )


def _shards() -> tuple[bytes, ...]:
    return _json({"weight_map": {"decoder.ln.weight": "model-00001-of-00001.safetensors"}})


def _vocabularies() -> tuple[bytes, ...]:
    tokens = {"a": 0, "b": 1, "c": 2}
    added = [{"content": "<|endoftext|>", "id": 2}]
    forms = _json({"model": {"vocab": tokens}, "added_tokens": added}, tokens, list(tokens))
    return (*(bytes([at]) + form for at, form in enumerate(forms)), b"\x03a\nb\n<|c|>\n")


def _weights(write: Callable[[Path], Path]) -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return (write(Path(folder)).read_bytes(),)


def _safetensors() -> tuple[bytes, ...]:
    return _weights(lambda folder: write_mlx(folder, small_tensors(), SMALL))


def _npz() -> tuple[bytes, ...]:
    return _weights(lambda f: write_mlx(f, small_tensors(), SMALL, weights="weights.npz"))


def _ctranslate2() -> tuple[bytes, ...]:
    plain = _weights(lambda folder: write_ctranslate2(folder, small_tensors(), SMALL))
    return plain + _weights(
        lambda folder: write_ctranslate2(folder, small_tensors(), SMALL, quantization="int8")
    )


def _ggml() -> tuple[bytes, ...]:
    return _weights(lambda folder: write_ggml(folder / "ggml-a.bin", small_tensors(), SMALL))


def _sounds() -> tuple[bytes, ...]:
    tone = (0.3 * np.sin(np.arange(4000) / 5)).astype(np.float32)
    forms: tuple[tuple[str, dict[str, Any]], ...] = (
        ("WAV", {"subtype": "PCM_16"}),
        ("WAV", {"subtype": "IMA_ADPCM"}),
        ("WAVEX", {"subtype": "FLOAT"}),
        ("FLAC", {}),
        ("OGG", {"subtype": "VORBIS"}),
        ("AIFF", {}),
        ("AU", {}),
        ("CAF", {"subtype": "ALAC_16"}),
        ("MP3", {}),
    )
    return tuple(_sound(tone, form, options) for form, options in forms)


def _sound(tone: Any, form: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone, 16_000, format=form, **options)
    return file.getvalue()


def _wake_models() -> tuple[bytes, ...]:
    trained = (bundled_folder() / "hey_rhasspy_v0.1.onnx").read_bytes()
    return graph(), graph(operator="ReduceMax"), graph_without_input(), trained


def _home_names() -> tuple[bytes, ...]:
    names = {
        "schema": 1,
        "language": "en",
        "entities": ["TV", {"name": "Bed Light", "domain": "light", "aliases": ["night lamp"]}],
        "areas": [{"name": "Kitchen"}],
        "lists": {"artist": ["The Beatles"]},
        "sentences": ["(play|start) {artist} [now]", "([a] {name};please) for me"],
    }
    toml = b'schema = 1\nareas = ["Kitchen"]\nsentences = ["light up {area}"]\n'
    return b"\0" + json.dumps(names).encode(), b"\1" + toml


def _journals() -> tuple[bytes, ...]:
    lines = _json(
        {"root": "voice/default"},
        *({"started": "a"}, {"final": "a", "is": "waiting"}, {"final": "a", "is": "sent"}),
        *({"ended": "a"}, {"started": "b"}),
    )
    return (b"\n".join(lines) + b"\n",)


def _wake_heads() -> tuple[bytes, ...]:
    size = HEAD_EMBEDDINGS * EMBEDDING_SIZE
    nets = np.zeros((2, 3), np.float32)
    head = WakeHead(
        weights=np.zeros((size, nets.size), np.float32),
        bias=nets.ravel(),
        out_weights=nets,
        out_bias=nets[:, 0],
        threshold=0.5,
        phrase="okay house",
    )
    return _weights(lambda folder: _saved(head, folder / "word.npz"))


def _saved(head: WakeHead, path: Path) -> Path:
    save_head(head, path)
    return path


_GOOD: dict[Reader, Callable[[], tuple[bytes, ...]]] = {
    readers.config: _config,
    readers.mqtt_message: _mqtt,
    readers.control_request: _requests,
    readers.control_reply: _replies,
    readers.state_file: _states,
    readers.log_lines: _log_lines,
    readers.wyoming_frames: _frames,
    readers.model_config: _configs,
    readers.generation_config: _generation,
    readers.shard_index: _shards,
    readers.vocabulary: _vocabularies,
    readers.home_names: _home_names,
    readers.safetensors: _safetensors,
    readers.npz: _npz,
    readers.ctranslate2: _ctranslate2,
    readers.ggml: _ggml,
    readers.audio: _sounds,
    readers.wake_model: _wake_models,
    readers.wake_head: _wake_heads,
    readers.journal: _journals,
}

READERS: dict[str, Reader] = {reader.__name__: reader for reader in _GOOD}
"""By the name that a folder of the corpus and the command line have."""

NATIVE = frozenset({"safetensors", "npz", "ctranslate2", "ggml", "audio", "wake_model"})
"""Read by code in C or C++, whose faults end a process: mutated in one of their own."""


@cache
def good(name: str) -> tuple[bytes, ...]:
    """Give input that the reader takes."""
    return _GOOD[READERS[name]]()
