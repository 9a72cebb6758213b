"""One name in several spellings is one name."""

from __future__ import annotations

from pathlib import Path

import pytest

from voice_daemon._lib.names import name_key, path_in_any_normal_form
from voice_daemon.config import load_settings
from voice_daemon.wake.models import wake_word_of, wake_word_of_setting

COMPOSED, APART = "k\u00fcche", "ku\u0308che"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (COMPOSED, APART),
        (COMPOSED.upper(), APART),
        ("STRASSE", "straße"),
        ("Peter\u2019s Mic", "peter's mic"),
        (" USB\u00a0Mic ", "usb mic"),
        ("\u0130ris", "i\u0307ris"),  # folding undoes a normal form
    ],
)
def test_spellings_of_one_name_share_a_key(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


def test_names_that_differ_do_not() -> None:
    assert len({name_key(name) for name in ("küche", "kuche", "USB Mic", "USBMic", "")}) == 5


@pytest.mark.parametrize(("there", "named"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_a_file_is_found_in_either_normal_form(there: str, named: str, tmp_path: Path) -> None:
    made = tmp_path / there / f"{there}.onnx"
    made.parent.mkdir()
    made.touch()
    path = tmp_path / named / f"{named}.onnx"
    assert path_in_any_normal_form(path).samefile(made)
    assert path_in_any_normal_form(path.with_name("gone")) == path.with_name("gone")
    config = tmp_path / "config.toml"
    config.write_text(f'[wake]\nmodels = ["{named}/{named}.onnx"]\n')
    (word,) = load_settings(config, {}).wake.models
    assert Path(word).samefile(made)
    assert wake_word_of_setting(word) == wake_word_of(made) == COMPOSED


def test_a_language_is_named_in_any_case() -> None:
    assert load_settings(None, {"VOICE_DAEMON_ASR__LANGUAGE": "EN"}).asr.language == "en"
