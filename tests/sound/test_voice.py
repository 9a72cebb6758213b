"""The system's voice, by programs that stand in for those of other systems."""

import shutil
import stat
from pathlib import Path

import pytest

from voice_daemon.assets import HEARD_SOUND
from voice_daemon.errors import SpeechError
from voice_daemon.sound.sounds import bundled_sound, spoken, voice_program


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder where alone programs are looked for, beside the shell's own."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(shutil, "which", lambda name: (tmp_path / name).exists() or None)
    return tmp_path


def install(programs: Path, name: str, script: str) -> None:
    file = programs / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_say_gets_the_text_on_its_input_and_writes_a_wav(programs: Path) -> None:
    install(
        programs,
        "say",
        f'cat > {programs}/text; echo "$@" > {programs}/arguments\n'
        f'for last; do :; done; cp {HEARD_SOUND} "$last"',
    )
    (sound,) = spoken("--version, please; $HOME")
    assert (programs / "text").read_text() == "--version, please; $HOME"
    words = (programs / "arguments").read_text().split()
    assert words[:4] == ["-f", "-", "--data-format=LEI16@22050", "-o"]
    assert words[4].endswith(".wav")
    assert sound.rate_hz == 16_000
    assert sound.samples.tolist() == bundled_sound(HEARD_SOUND).samples.tolist()


def test_without_a_program_the_error_says_what_to_install(programs: Path) -> None:
    assert programs.exists()
    assert voice_program() is None
    with pytest.raises(SpeechError) as caught:
        next(spoken("hello"))
    assert caught.value.code == "output.no_voice"
    assert "apt-get install espeak-ng" in caught.value.remedy


@pytest.mark.parametrize("script", ["exit 1", "exit 0", 'for last; do :; done; echo x > "$last"'])
def test_a_program_that_gives_no_sound_is_told(programs: Path, script: str) -> None:
    install(programs, "say", script)
    with pytest.raises(SpeechError) as caught:
        next(spoken("the key is under the mat"))
    assert caught.value.code == "output.not_spoken"
    assert "mat" not in caught.value.message
