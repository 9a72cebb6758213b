"""The library as it is promised: every name, its signature and values, and the page's examples."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from numpy.typing import NDArray

import voice_daemon.audio.microphone
from rigs.fake_portaudio import Device, PortAudio
from voice_daemon import asr
from voice_daemon.asr import (
    AudioEncoder,
    DecodingTask,
    MultiHeadAttention,
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    TextDecoder,
    WhisperModel,
    generate_streaming,
    get_most_attended_frame,
    load_model,
    log_mel_spectrogram,
    should_emit,
)
from voice_daemon.audio.portaudio import AudioDriver
from voice_daemon.audio.resample import to_int16
from voice_daemon.errors import AudioFormatError, ModelError, VoiceDaemonError

PAGE = Path(__file__).parents[2] / "docs/library.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (.+?)$.*?```python\n(.+?)```", TEXT, re.DOTALL | re.MULTILINE)

SIGNATURES: dict[str, list[str]] = {
    "load_model": ["name_or_path", "dtype"],
    "log_mel_spectrogram": ["samples", "n_mels"],
    "get_most_attended_frame": ["cross_qk", "alignment_heads"],
    "should_emit": ["most_attended_frame", "content_frames", "threshold"],
    "generate_streaming": ["model", "audio", "config"],
    "StreamingDecoder": ["model", "config"],
    "StreamingDecoder.feed": ["self", "samples"],
    "StreamingDecoder.step": ["self"],
    "StreamingDecoder.finish": ["self"],
    "StreamingDecoder.reset": ["self"],
}
CLASSES = (
    *("AudioEncoder", "TextDecoder", "MultiHeadAttention", "WhisperModel", "WhisperTokenizer"),
    *("DecodingOptions", "DecodingResult", "DecodingTask", "GreedyDecoder"),
    *("StreamingConfig", "StreamingResult", "StreamingDecoder"),
)
RESULT_FIELDS = (
    *("text", "tokens", "is_final", "start_time", "end_time", "progress"),
    *("audio_position", "audio_duration", "draft", "words", "language"),
)


def named(path: str) -> Any:
    found: Any = asr
    for part in path.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("path", "wanted"), SIGNATURES.items())
def test_every_promised_function_takes_its_arguments_in_order(path: str, wanted: list[str]) -> None:
    parameters = list(inspect.signature(named(path)).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == wanted
    beyond = [p for p in parameters if p.name not in wanted]
    assert all(p.default is not p.empty for p in beyond), "what is added must have a default"


@pytest.mark.parametrize("name", [*CLASSES, *(path for path in SIGNATURES if "." not in path)])
def test_every_promised_name_is_documented_and_listed(name: str) -> None:
    assert name in asr.__all__
    assert inspect.getdoc(named(name))
    assert f"`{name}" in TEXT


def test_a_loaded_model_has_the_promised_parts(tiny: WhisperModel) -> None:
    assert isinstance(tiny.encoder, AudioEncoder)
    assert isinstance(tiny.decoder, TextDecoder)
    assert isinstance(tiny.decoder.blocks[0].cross_attn, MultiHeadAttention)
    assert isinstance(tiny.encoder, nn.Module)
    assert isinstance(tiny.tokenizer, asr.WhisperTokenizer)
    assert tiny.dims.n_mels == 80
    assert all(len(pair) == 2 for pair in tiny.alignment_heads)


def test_the_decoder_returns_the_alignment_heads_cross_attention(tiny: WhisperModel) -> None:
    audio = tiny.encoder(mx.zeros((1, 200, tiny.dims.n_mels)))
    assert audio.shape == (1, 100, tiny.dims.n_audio_state)
    tokens = tiny.initial_tokens("en", "transcribe")
    out = tiny.decoder(mx.array(tokens), tiny.decoder.cross_keys(audio))
    assert out.cross_qk is not None
    assert out.cross_qk.shape == (len(tiny.alignment_heads), len(tokens), 100)
    assert out.hidden.shape == (1, len(tokens), tiny.dims.n_text_state)


def test_the_defaults_of_streaming_are_the_promised_ones() -> None:
    config = StreamingConfig()
    assert config.frame_threshold == 25
    assert config.min_chunk_duration == 0.5
    assert config.emit_partial is True


def test_a_result_has_the_promised_fields() -> None:
    assert set(RESULT_FIELDS) <= {entry.name for entry in fields(StreamingResult)}


def test_alignatt_is_safe_only_a_threshold_before_the_end() -> None:
    scores = np.zeros((2, 3, 50), np.float32)
    scores[1, -1, 30] = 9
    assert get_most_attended_frame([None, scores], [(1, 1)]) == 30
    assert should_emit(30, 55, 25)
    assert not should_emit(31, 55, 25)


def test_the_spectrogram_has_a_row_every_ten_milliseconds(
    command_speech: NDArray[np.float32],
) -> None:
    mel = log_mel_spectrogram(command_speech, 80)
    assert mel.shape == (len(command_speech) // 160, 80)
    assert mel.dtype == np.float32


def test_a_stream_of_blocks_ends_as_the_whole_array_does(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    *partials, final = generate_streaming(tiny, command_speech)
    blocks = np.array_split(to_int16(command_speech), 7)
    *_, of_blocks = generate_streaming(tiny, iter(blocks))
    assert final.is_final
    assert not any(partial.is_final for partial in partials)
    assert final.text == of_blocks.text
    assert "kitchen lights" in final.text.lower()
    assert 0 < final.progress <= 1


def test_a_model_is_loaded_by_its_name(tiny: WhisperModel) -> None:
    assert load_model("tiny.en").dims == tiny.dims


def test_a_name_that_is_no_model_says_how_to_get_one() -> None:
    with pytest.raises(ModelError, match="no model at nobody/nothing") as caught:
        load_model("nobody/nothing")
    assert "daemonctl models pull" in caught.value.remedy


def test_a_pulled_model_is_loaded_by_its_repository_name(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/somebody--whisper").symlink_to(tiny_folder)
    assert load_model("somebody/whisper").name == "somebody/whisper"


SECOND = np.zeros(16_000, np.float32)
NOT_SAMPLES = {
    "a mel": (np.zeros((300, 80), np.float32), "audio.shape", "log-mel"),
    "two channels": (np.zeros((16_000, 2), np.float32), "audio.shape", "mean"),
    "a batch": (SECOND[None], "audio.shape", "mix"),
    "a number": (np.float32(0.5), "audio.not_samples", "NumPy"),
    "a scalar array": (np.zeros((), np.float32), "audio.shape", "mix"),
    "a list": ([0.0] * 160, "audio.not_samples", "NumPy"),
    "a file's name": ("a.wav", "audio.not_samples", "load_audio"),
    "float64": (SECOND.astype(np.float64), "audio.dtype", "astype"),
    "int32": (SECOND.astype(np.int32), "audio.dtype", "astype"),
    "unscaled": (SECOND + 900, "audio.range", "full scale"),
    "not a number": (SECOND + np.nan, "audio.range", "NaN"),
}


@pytest.fixture(scope="module")
def entrances(tiny: WhisperModel) -> tuple[Callable[..., object], ...]:
    """Everything that takes samples."""
    return (
        lambda audio, **rate: log_mel_spectrogram(audio, 80, **rate),
        StreamingDecoder(tiny).feed,
        DecodingTask(tiny).run,
        lambda audio, **rate: list(generate_streaming(tiny, audio, **rate)),
    )


@pytest.mark.parametrize("kind", NOT_SAMPLES)
def test_what_is_not_audio_is_refused_by_every_entrance(
    entrances: tuple[Callable[..., object], ...], kind: str
) -> None:
    audio, code, remedy = NOT_SAMPLES[kind]
    for entrance in entrances:
        with pytest.raises(AudioFormatError, match="16 kHz") as caught:
            entrance(audio)
        assert caught.value.code == code
        assert remedy in caught.value.remedy
        assert isinstance(caught.value, VoiceDaemonError)


def test_another_rate_is_refused_with_the_way_to_resample(
    entrances: tuple[Callable[..., object], ...],
) -> None:
    for entrance in entrances:
        with pytest.raises(AudioFormatError, match="44100 Hz") as caught:
            entrance(SECOND, rate_hz=44_100)
        assert caught.value.code == "audio.rate"
        assert "soxr.resample(samples, 44100, 16000)" in caught.value.remedy


def test_samples_where_the_encoder_wants_a_mel_are_refused(tiny: WhisperModel) -> None:
    for shape in ((16_000,), (1, 80, 300), (300, 80)):
        with pytest.raises(AudioFormatError, match="log-mel") as caught:
            tiny.encoder(mx.zeros(shape))
        assert "log_mel_spectrogram" in caught.value.remedy


def test_the_microphone_is_named_without_being_loaded() -> None:
    code = (
        "import sys, voice_daemon.audio\n"
        "assert 'MicrophoneCapture' in voice_daemon.audio.__all__\n"
        "light = not {'sounddevice', 'numpy', 'soxr', 'mlx'} & set(sys.modules)\n"
        "from voice_daemon.audio import MicrophoneCapture\n"
        "print(light, MicrophoneCapture.__module__, 'sounddevice' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "voice_daemon.audio.microphone", "False"]


def test_the_library_needs_neither_broker_nor_microphone_nor_configuration() -> None:
    code = "import sys, voice_daemon.asr; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"paho", "sounddevice", "pydantic", "wyoming", "huggingface_hub"}


def test_the_page_shows_three_uses_in_some_twenty_lines_each() -> None:
    assert [title for title, _ in EXAMPLES] == [
        "Streaming a file",
        "A live microphone",
        "Offline decoding",
    ]
    assert all(code.count("\n") <= 24 for _, code in EXAMPLES)


@pytest.fixture
def virtual_microphone(
    command_speech: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> PortAudio:
    """The bundled clip said into the only input there is, as soon as it is opened."""
    portaudio = PortAudio(Device("Anker PowerConf"))
    opened = portaudio.InputStream

    def speaking(**arguments: Any) -> Any:
        stream = opened(**arguments)
        start = stream.start

        def start_and_speak() -> None:
            start()
            stream.deliver(to_int16(command_speech))

        monkeypatch.setattr(stream, "start", start_and_speak)
        return stream

    monkeypatch.setattr(portaudio, "InputStream", speaking)
    driver = AudioDriver(lambda: portaudio)
    monkeypatch.setattr(voice_daemon.audio.microphone, "process_driver", lambda: driver)
    return portaudio


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
@pytest.mark.usefixtures("virtual_microphone")
def test_the_pages_examples_run_and_hear_the_command(
    title: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), {})  # noqa: S102 - our own page
    assert "kitchen lights" in capsys.readouterr().out.lower()
