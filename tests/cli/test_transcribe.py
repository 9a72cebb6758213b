"""`daemonctl transcribe`: real recogniser, real clip."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from support.daemon_process import PATIENCE_S
from voice_daemon.asr import load_model
from voice_daemon.cli.main import main
from voice_daemon.errors import EXIT_INTERRUPTED

COMMAND = "turn on the kitchen lights"


@pytest.fixture(autouse=True, scope="module")
def _one_model() -> Iterator[None]:
    """Load the bundled model once for all commands of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voice_daemon.cli.transcribe.load_model", functools.cache(load_model))
        yield


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(tmp_path))
    monkeypatch.delenv("VOICE_DAEMON_CONFIG", raising=False)


@pytest.fixture
def command_clip(demo_clip: Path, tmp_path: Path) -> Path:
    """The bundled recording without its wake word."""
    samples, rate = soundfile.read(demo_clip, dtype="int16")
    file = tmp_path / "command.wav"
    soundfile.write(file, samples[int(1.3 * rate) :], rate)
    return file


def plain(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower()).strip()


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_text_is_printed_alone(command_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(command_clip)]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert plain(captured.out).endswith(COMMAND)
    assert captured.err == ""


def test_json_has_a_line_for_every_step_and_a_final(
    command_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "--json", "--step-s", "0.4", str(command_clip)]) == 0
    *partials, final = json_lines(capsys.readouterr().out)
    audio_s = soundfile.info(command_clip).duration
    # Steps are closer until words are committed; each is at the end of a block of 20 ms.
    n_early = sum(not line["text"] for line in partials)
    at_s = [line["audio_s"] for line in partials]
    gaps_s = np.diff(at_s)
    assert at_s[0] < 0.5
    assert 0 < n_early < len(partials)
    assert all(0 < gap_s < 0.4 for gap_s in gaps_s[: n_early - 1])
    assert gaps_s[n_early:] == pytest.approx(0.4)
    for line in partials:
        assert list(line) == ["schema", "event", "file", "audio_s", "compute_s", "text", "draft"]
        assert (line["schema"], line["event"]) == (1, "partial")
        assert line["compute_s"] > 0
    texts = [line["text"] for line in partials]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert any(line["draft"] for line in partials)
    assert list(final) == [*list(partials[0])[:-1], "words", "language", "revised"]
    assert (final["event"], final["file"]) == ("final", str(command_clip))
    assert final["audio_s"] == pytest.approx(audio_s, abs=0.001)
    assert plain(final["text"]).endswith(COMMAND)
    assert final["language"] == "en"
    assert final["revised"] is not final["text"].startswith(texts[-1])
    assert " ".join(word["text"] for word in final["words"]) == final["text"]
    times = [time for word in final["words"] for time in (word["start_s"], word["end_s"])]
    assert times == sorted(times)
    assert times[-1] <= audio_s


def test_offline_is_one_decode_with_the_times_of_its_words(
    command_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "--json", "--offline", str(command_clip)]) == 0
    (final,) = json_lines(capsys.readouterr().out)
    assert final["event"] == "final"
    assert plain(final["text"]).endswith(COMMAND)
    assert final["revised"] is False
    assert " ".join(word["text"] for word in final["words"]) == final["text"]
    assert final["words"][-1]["end_s"] <= final["audio_s"]


def test_a_bad_file_does_not_stop_the_others(
    command_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("not audio")
    missing, empty = (tmp_path / f"{name}.wav" for name in ("missing", "empty"))
    soundfile.write(empty, np.zeros(0), 16_000)
    files = [str(file) for file in (note, missing, command_clip, empty, command_clip)]
    assert main(["transcribe", *files]) == 1
    captured = capsys.readouterr()
    good = captured.out.splitlines()
    assert len(good) == 2
    assert all(line.startswith(f"{command_clip}: ") for line in good)
    said = [line for line in captured.err.splitlines() if line.startswith("daemonctl: ")]
    named = [re.search(r"(\w+)\.(wav|txt)", line) for line in said]
    assert [match and match[1] for match in named] == ["note", "missing", "empty"]
    assert captured.err.count("  -> ") == 3


def test_without_partials_there_is_the_final_alone(
    command_clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_DAEMON_ASR__PARTIALS", "false")
    assert main(["transcribe", "--json", str(command_clip)]) == 0
    assert [line["event"] for line in json_lines(capsys.readouterr().out)] == ["final"]


@pytest.mark.parametrize("step_s", ["0.09", "10.1", "nan", "-1"])
def test_a_step_out_of_bounds_is_refused(step_s: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", f"--step-s={step_s}", "x.wav"]) == 2
    assert capsys.readouterr().err == (
        f"daemonctl: --step-s {step_s} is out of bounds\n"
        "  -> give a number from 0.1 to 10 (seconds)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: FILE"),
        (["--offline", "--step-s", "1", "x.wav"], "argument --step-s: not allowed with argument"),
        (["--step-s", "x", "x.wav"], "argument --step-s: invalid float value: 'x'"),
    ],
)
def test_a_wrong_command_line_gives_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"daemonctl: {said}")


@pytest.mark.parametrize("model", ["no-such-model", "./no-such-folder", "org/no-such-model"])
def test_a_missing_model_is_told_with_the_way_to_get_it(
    model: str, command_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "--model", model, str(command_clip)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert model.removeprefix("./") in captured.err
    assert "daemonctl models" in captured.err


def test_a_broken_model_is_told_in_one_line(
    command_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"\x06\x00\x00\x00")
    assert main(["transcribe", "--model", str(folder), str(command_clip)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("daemonctl: ")
    assert captured.err.count("\n") == 2


def test_a_model_of_the_command_line_is_compared_with_the_configured_language(
    command_clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_DAEMON_ASR__LANGUAGE", "de")
    assert main(["transcribe", str(command_clip)]) == 2
    assert "knows English only" in capsys.readouterr().err
    assert main(["transcribe", "--model", "org/multilingual", str(command_clip)]) == 1
    assert "org/multilingual" in capsys.readouterr().err


def test_waiting_for_a_pipe_can_be_interrupted(command_clip: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-m", "voice_daemon", "transcribe", str(pipe)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        # Opening waits until the command has opened the other end.
        with pipe.open("wb") as writing:
            writing.write(command_clip.read_bytes()[:1000])
            writing.flush()
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == EXIT_INTERRUPTED
        assert process.stderr is not None
        assert process.stderr.read() == b""
