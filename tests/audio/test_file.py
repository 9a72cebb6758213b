"""Audio files of all kinds, written and read by libsndfile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from voice_daemon.audio import BLOCK_SAMPLES
from voice_daemon.audio.file import FileSource, load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.errors import AudioFileError
from voice_daemon.events import SAMPLE_RATE, AudioBlock


def tone(rate_hz: int, seconds: float) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(rate_hz * seconds)) / rate_hz)


def read_all(source: FileSource) -> list[AudioBlock]:
    source.start()
    blocks = []
    while not source.exhausted:
        block = source.read(10)
        if block is not None:
            blocks.append(block)
    source.stop()
    return blocks


def read_on(source: FileSource) -> None:
    while not source.exhausted:
        source.read(1)


def joined(blocks: list[AudioBlock]) -> NDArray[np.int16]:
    return np.concatenate([block.samples for block in blocks])


def test_a_plain_wav_comes_through_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(-32_768, 32_768, 10_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    blocks = read_all(FileSource(tmp_path / "a.wav", realtime=False))
    assert np.array_equal(joined(blocks), samples)
    assert {len(block.samples) for block in blocks[:-1]} == {BLOCK_SAMPLES}
    for earlier, later in pairwise(blocks):
        assert later.first_sample == earlier.first_sample + BLOCK_SAMPLES


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels", "subtype", "within"),
    [
        ("a.wav", 44_100, 2, "PCM_U8", 0.01),
        ("a.wav", 48_000, 6, "PCM_24", 1e-3),
        ("a.wav", 8_000, 1, "ULAW", 0.02),
        ("a.wav", 96_000, 2, "FLOAT", 1e-3),
        ("a.flac", 22_050, 1, "PCM_16", 1e-3),
        ("a.ogg", 44_100, 2, "VORBIS", 0.05),
        ("a.aiff", 11_025, 1, "PCM_16", 1e-3),
    ],
)
def test_any_rate_channels_and_format_are_converted(  # noqa: PLR0917 - pytest names them
    tmp_path: Path, name: str, rate_hz: int, channels: int, subtype: str, within: float
) -> None:
    path = tmp_path / name
    audio = np.repeat(tone(rate_hz, 1.0)[:, np.newaxis], channels, axis=1)
    soundfile.write(path, audio, rate_hz, subtype=subtype)
    loaded = load_audio(path)
    assert loaded.dtype == np.float32
    assert len(loaded) == pytest.approx(SAMPLE_RATE, rel=0.1)
    middle = slice(4000, 12_000)
    assert loaded[middle] == pytest.approx(tone(SAMPLE_RATE, 1.0)[middle], abs=within)


def test_an_mp3_is_read_in_pieces_as_it_is_read_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(SAMPLE_RATE, 2.0), SAMPLE_RATE)
    whole, _rate_hz = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    assert load_audio(tmp_path / "a.mp3") == pytest.approx(whole, abs=1e-6)


def test_channels_are_mixed(tmp_path: Path) -> None:
    left_and_right = np.array([[1000, 3000], [-1000, -3000]] * 400, np.int16)
    soundfile.write(tmp_path / "a.wav", left_and_right, SAMPLE_RATE)
    blocks = read_all(FileSource(tmp_path / "a.wav", realtime=False))
    assert set(joined(blocks).tolist()) == {2000, -2000}


def test_a_float_file_that_is_too_loud_is_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [3.0, -3.0] * 200, SAMPLE_RATE, subtype="FLOAT")
    blocks = read_all(FileSource(tmp_path / "a.wav", realtime=False))
    assert set(joined(blocks).tolist()) == {32_767, -32_768}


def test_what_is_not_a_number_harms_only_itself(tmp_path: Path) -> None:
    audio = tone(8_000, 1.0)
    audio[4000] = np.nan
    soundfile.write(tmp_path / "a.wav", audio, 8_000, subtype="DOUBLE")
    loaded = load_audio(tmp_path / "a.wav")
    assert loaded[10_000:14_000] == pytest.approx(tone(SAMPLE_RATE, 1.0)[10_000:14_000], abs=0.01)


def test_a_wav_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.wav", tmp_path / "cut.wav"
    soundfile.write(whole, tone(SAMPLE_RATE, 1.0), SAMPLE_RATE)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    loaded = load_audio(cut)
    assert 0 < len(loaded) < SAMPLE_RATE
    assert np.array_equal(loaded, load_audio(whole)[: len(loaded)])


def test_a_damaged_flac_is_played_up_to_the_damage(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.flac", tmp_path / "cut.flac"
    noise = np.random.default_rng(1).normal(0, 0.1, 10 * SAMPLE_RATE)
    soundfile.write(whole, noise, SAMPLE_RATE)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = FileSource(cut, realtime=False)
    source.start()
    with pytest.raises(AudioFileError, match=r"cut.flac is damaged after \d\.\d s"):
        read_on(source)
    assert 3 * SAMPLE_RATE < source.now_sample() < 5 * SAMPLE_RATE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as audio"),
        (b"turn on the kitchen lights\n" * 20, "cannot be read as audio"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "cannot be read as audio"),
    ],
)
def test_what_is_not_audio_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.wav"
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=message) as caught:
        FileSource(path, realtime=False).start()
    assert str(path) in caught.value.message
    assert "WAV" in caught.value.remedy


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), SAMPLE_RATE)
    with pytest.raises(AudioFileError, match="holds no audio"):
        FileSource(tmp_path / "a.wav", realtime=False).start()
    with pytest.raises(AudioFileError, match="holds no audio"):
        load_audio(tmp_path / "a.wav")


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="No such file"):
        load_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioFileError, match="directory"):
        load_audio(tmp_path)


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    file, pipe = tmp_path / "tone.flac", tmp_path / "pipe"
    soundfile.write(file, tone(44_100, 1.0), 44_100)
    os.mkfifo(pipe)
    writing = threading.Thread(target=lambda: pipe.write_bytes(file.read_bytes()))
    writing.start()
    piped = load_audio(pipe)
    writing.join()
    np.testing.assert_array_equal(piped, load_audio(file))


def test_a_pipe_without_an_end_is_refused() -> None:
    told = "/dev/zero is a pipe or a device and gave more than 512 MiB"
    with pytest.raises(AudioFileError, match=told):
        load_audio(Path("/dev/zero"))


def test_a_rate_that_nobody_records_at_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 100)
    with pytest.raises(AudioFileError, match="sample rate of 100 Hz"):
        load_audio(tmp_path / "a.wav")


PEAK_OF_A_REPLAY = """
import sys, tracemalloc
from pathlib import Path
from voice_daemon.audio.file import FileSource
source = FileSource(Path(sys.argv[1]), realtime=False)
source.start()
tracemalloc.start()
while not source.exhausted:
    source.read(1)
print(tracemalloc.get_traced_memory()[1])
"""
"""In a process of its own: memory of other tests' threads is none of the file's."""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for seconds in (5, 60):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros((seconds * 44_100, 2)), 44_100)
        command = [sys.executable, "-c", PEAK_OF_A_REPLAY, str(path)]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
    assert peaks[1] < 1.5 * peaks[0]


def test_it_can_be_played_again(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    source = FileSource(tmp_path / "a.wav", realtime=False)
    assert source.exhausted
    assert np.array_equal(joined(read_all(source)), joined(read_all(source)))


def test_a_fast_replay_stands_where_its_reader_does(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    source = FileSource(tmp_path / "a.wav", realtime=False)
    source.start()
    source.read(1)
    source.read(1)
    assert source.now_sample() == 2 * BLOCK_SAMPLES


def test_in_real_time_no_block_comes_before_it_was_spoken(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE, 0.2), SAMPLE_RATE)
    source = FileSource(tmp_path / "a.wav", realtime=True)
    started_s = time.monotonic()
    source.start()
    while not source.exhausted:
        block = source.read(1)
        assert block is not None
        spoken = block.first_sample + len(block.samples)
        assert time.monotonic() - started_s >= spoken / SAMPLE_RATE
        assert source.now_sample() >= spoken


def test_in_real_time_blocks_come_together_up_to_the_sample_that_is_wanted(
    tmp_path: Path,
) -> None:
    samples = tone(SAMPLE_RATE, 0.2)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    source = FileSource(tmp_path / "a.wav", realtime=True)
    source.start()
    blocks = []
    for wanted in (1280, 0, 1920, SAMPLE_RATE):
        source.wanted_sample = wanted
        blocks.append(source.read(1))
    assert [len(block.samples) for block in blocks if block is not None] == [1280, 320, 320, 1280]
    assert source.exhausted
    together = np.concatenate([block.samples for block in blocks if block is not None])
    assert np.array_equal(together, to_int16(load_audio(tmp_path / "a.wav")))


def test_in_real_time_a_short_wait_ends_without_a_block(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE, 0.2), SAMPLE_RATE)
    source = FileSource(tmp_path / "a.wav", realtime=True)
    source.start()
    states = [(source.read(0), source.exhausted)]
    source.stop()
    states.append((source.read(1), source.exhausted))
    assert states == [(None, False), (None, True)]


@pytest.mark.parametrize(
    ("name", "kind", "subtype"),
    [("a.wav", "WAV", "GSM610"), ("a.gsm", "RAW", "GSM610"), ("a.vox", "RAW", "VOX_ADPCM")],
)
def test_formats_that_cannot_seek_are_read_to_their_end(
    tmp_path: Path, name: str, kind: str, subtype: str
) -> None:
    with soundfile.SoundFile(tmp_path / name, "w", 8000, 1, subtype, format=kind) as file:
        file.write(tone(8000, 1))
    samples = load_audio(tmp_path / name)
    assert len(samples) / SAMPLE_RATE == pytest.approx(1, abs=0.05)
    # A telephone's codec keeps the power of a tone, but not its shape.
    assert float(np.sqrt(np.mean(np.square(samples)))) == pytest.approx(0.5 / np.sqrt(2), rel=0.2)


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("piped", [False, True])
def test_a_wav_whose_length_was_never_written_is_read_to_its_end(
    tmp_path: Path, length: int, *, piped: bool
) -> None:
    file = tmp_path / "a.wav"
    samples = np.random.default_rng(1).integers(-32_768, 32_768, 10_000).astype(np.int16)
    soundfile.write(file, samples, SAMPLE_RATE)
    content = bytearray(file.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = length.to_bytes(4, "little")
    file.write_bytes(content)
    if piped:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(bytes(content),))
        writer.start()
        loaded = load_audio(pipe)
        writer.join()
    else:
        loaded = load_audio(file)
    assert np.array_equal(np.rint(loaded * 32_768), samples)


def test_an_empty_wav_with_a_chunk_behind_its_data_holds_no_audio(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, np.zeros(0, np.int16), SAMPLE_RATE)
    file.write_bytes(file.read_bytes() + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    with pytest.raises(AudioFileError, match="holds no audio"):
        load_audio(file)


def test_channels_out_of_phase_do_not_cancel_each_other(tmp_path: Path) -> None:
    voice = tone(SAMPLE_RATE, 1)
    soundfile.write(tmp_path / "a.wav", np.stack([voice, -voice], axis=1), SAMPLE_RATE)
    assert float(np.abs(load_audio(tmp_path / "a.wav")).max()) == pytest.approx(0.5, abs=0.01)


def test_one_connected_channel_of_many_keeps_its_level(tmp_path: Path) -> None:
    channels = np.zeros((SAMPLE_RATE, 8))
    channels[:, 5] = tone(SAMPLE_RATE, 1)
    soundfile.write(tmp_path / "a.wav", channels, SAMPLE_RATE)
    assert float(np.abs(load_audio(tmp_path / "a.wav")).max()) == pytest.approx(0.5, abs=0.01)


def test_two_like_channels_are_mixed(tmp_path: Path) -> None:
    both = np.stack([tone(SAMPLE_RATE, 1), 0.5 * tone(SAMPLE_RATE, 1)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, SAMPLE_RATE)
    assert float(np.abs(load_audio(tmp_path / "a.wav")).max()) == pytest.approx(0.375, abs=0.01)
