"""Output that a terminal cannot take is replaced, never a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voice_daemon._lib.files import read_json
from voice_daemon._lib.terminal import print_error
from voice_daemon.audio.file import load_audio
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import parse
from voice_daemon.cli.vocabulary import _token
from voice_daemon.config import ConfigProblems, load_settings
from voice_daemon.errors import UsageError, VoiceDaemonError
from voice_daemon.mqtt.tls import read_password
from voice_daemon.vocabulary.document import read_document


def daemonctl(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VOICE_DAEMON_")}
    return subprocess.run(
        [sys.executable, "-m", "voice_daemon", *arguments],
        env={**kept, "VOICE_DAEMON_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "environ",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_status_is_readable_on_a_terminal_that_has_only_ascii(
    environ: dict[str, str], tmp_path: Path
) -> None:
    done = daemonctl(tmp_path, "status", **environ)
    assert done.returncode == 3
    assert "not running" in done.stdout
    assert done.stdout.isascii()
    assert done.stderr == ""


def test_json_keeps_every_character_where_the_encoding_has_only_ascii() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Context(None, {}, out, io.StringIO()).print_json({"device": "Küche 🎤"})
    assert json.loads(raw.getvalue()) == {"schema": 1, "device": "Küche 🎤"}


def test_an_error_cannot_steer_the_terminal() -> None:
    err = io.StringIO()
    print_error(VoiceDaemonError("x.y", "no file \x1b[2Ja", remedy="see \x07"), err)
    assert err.getvalue() == "daemonctl: no file \\x1b[2Ja\n  -> see \\x07\n"


def test_a_line_end_in_a_name_makes_no_line_of_ours() -> None:
    err = io.StringIO()
    print_error(VoiceDaemonError("x.y", "no file a\ndaemonctl: all is well", remedy=""), err)
    assert err.getvalue() == "daemonctl: no file a\\ndaemonctl: all is well\n"


@pytest.mark.parametrize(
    "arguments", [["transcribe", ""], ["run", "--input", ""], ["--config", "", "config", "check"]]
)
def test_an_empty_name_is_no_file_and_not_the_folder_one_is_in(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="'' is empty"):
        parse(arguments)


def test_a_sound_file_whose_name_is_not_utf8_is_read_as_any(
    demo_clip: Path, tmp_path: Path
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/k\xfcche.wav"))
    path.write_bytes(demo_clip.read_bytes())
    assert np.array_equal(load_audio(path), load_audio(demo_clip))


def test_a_folder_whose_name_is_not_utf8_is_named_where_a_models_path_leads_through_it(
    tmp_path: Path,
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/k\xfcche"))
    folder.mkdir()
    (folder / "config.toml").write_text('[wake]\nmodels = ["./word.onnx"]\n')
    with pytest.raises(ConfigProblems, match=r"models = .* lies in .*, whose name is not UTF-8"):
        load_settings(folder / "config.toml", {})
    with pytest.raises(ConfigProblems, match="holds bytes that are not UTF-8"):
        load_settings(None, {"VOICE_DAEMON_WAKE__MODELS": "k\udcfcche"})


def test_what_an_editor_puts_around_a_text_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbfa-token\r\n")
    file.chmod(0o600)
    assert _token(file) == "a-token"
    file.write_bytes("a-token\r\n".encode("utf-16"))  # PowerShell's
    assert _token(file) == "a-token"
    assert read_password(file) == b"a-token"
    document = b'\xef\xbb\xbf{"schema": 1,\r\n "areas": ["Kitchen"]}\r\n'
    assert [area.text for area in read_document(document).areas] == ["Kitchen"]
    file.write_bytes(document)
    assert read_json(file)["areas"] == ["Kitchen"]
