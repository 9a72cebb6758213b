"""Passwords and keys: the files that hold them, and how they are kept out of every message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.config_files import mistakes, problems_of
from voice_daemon.config import load_effective, load_settings
from voice_daemon.config.load import PASSWORD_VARIABLE


def test_an_inline_password_is_refused_and_never_shown(file: Path) -> None:
    file.write_text('[mqtt]\nusername = "me"\npassword = "hunter2"\n')
    file.chmod(0o600)
    environ = {"VOICE_DAEMON_ASR__TOKEN": "hunter3"}
    lines = problems_of(file, environ)
    assert lines[0].startswith(f"{file}: [mqtt] password = ***: there is no such key; ")
    assert lines[1].startswith("environment: VOICE_DAEMON_ASR__TOKEN = ***: ")
    assert all("password_file" in line and "hunter" not in line for line in lines)
    assert len(lines) == 2


def test_the_variable_for_the_password_is_no_setting_and_needs_a_user(file: Path) -> None:
    environ = {PASSWORD_VARIABLE: "hunter2"}
    file.write_text('[mqtt]\nusername = "me"\n')
    assert "hunter2" not in str(load_effective(file, environ))
    file.write_text("")
    (line,) = problems_of(file, environ)
    assert line == (
        f"environment: {PASSWORD_VARIABLE} = ***: a password is set without a username; "
        "set [mqtt] username too, or unset it"
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_readable_file_with_a_password_asks_for_a_new_password(mode: int, file: Path) -> None:
    file.write_text('[mqtt]\npassword = "hunter2"\n')
    file.chmod(mode)
    lines = problems_of(file, {})
    assert len(lines) == 2
    assert f"others can read this file (mode {mode:04o})" in lines[1]
    assert f"`chmod 600 {file}`, and change the password" in lines[1]


def test_a_user_in_the_host_is_masked(file: Path) -> None:
    (line,) = mistakes(file, '[mqtt]\nhost = "mqtt://me:hunter2@broker"\n')
    assert '= "***@broker": ' in line
    assert "hunter2" not in line


def test_a_password_file_is_found_from_the_configuration_file(file: Path) -> None:
    password = file.with_name("password")
    password.write_text("hunter2\n")
    password.chmod(0o600)
    file.write_text('[mqtt]\nusername = "me"\npassword_file = "password"\n')
    assert load_settings(file, {}).mqtt.password_file == password


def test_a_path_in_a_variable_is_found_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("x")
    monkeypatch.chdir(tmp_path)
    environ = {
        "VOICE_DAEMON_HOME": str(tmp_path / "home"),
        "VOICE_DAEMON_MQTT__CA_FILE": "ca.pem",
        "VOICE_DAEMON_MQTT__TLS": "1",
    }
    assert load_settings(None, environ).mqtt.ca_file == certificates


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("hunter2", 0o644, "others can read this file (mode 0644); `chmod 600 "),
        ("hunter2", 0o620, "others can read this file (mode 0620); `chmod 600 "),
        (" \n", 0o600, "the file is empty; write what is missing into "),
        (None, 0o600, "the file cannot be used: No such file or directory; put the file at "),
    ],
)
def test_a_password_file_must_be_private_and_hold_something(
    content: str | None, mode: int, said: str, file: Path
) -> None:
    password = file.with_name("password")
    if content is not None:
        password.write_text(content)
        password.chmod(mode)
    (line,) = mistakes(file, '[mqtt]\nusername = "me"\npassword_file = "password"\n')
    assert line.startswith(f'{file}: [mqtt] password_file = "password": {said}{password}')
    assert "hunter2" not in line


@pytest.mark.parametrize("key", ["password_file", "ca_file"])
def test_a_file_too_long_to_be_what_is_named_is_not_read(key: str, file: Path) -> None:
    named = file.with_name("named")
    named.touch(0o600)
    os.truncate(named, 2**40)  # of holes: to read it would take hours
    (line,) = mistakes(file, f'[mqtt]\nusername = "u"\ntls = true\n{key} = "named"\n')
    assert "is longer than 1 MiB; name the file that holds" in line


def test_a_folder_is_no_password_file(file: Path) -> None:
    (line,) = mistakes(file, '[mqtt]\nusername = "me"\npassword_file = "."\n')
    assert "is not a file; " in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_this_user_may_not_read_is_told(file: Path) -> None:
    certificates = file.with_name("ca.pem")
    certificates.write_text("x")
    certificates.chmod(0)
    (line,) = mistakes(file, '[mqtt]\ntls = true\nca_file = "ca.pem"\n')
    assert "this user may not read the file; " in line


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("password_file",), "a password is set without a username"),
        (("tls", "key_file"), "key set without a certificate"),
        (("ca_file",), "has no effect while tls is false"),
        (("cert_file",), "has no effect while tls is false"),
    ],
)
def test_files_need_the_keys_that_go_with_them(
    keys: tuple[str, ...], said: str, file: Path
) -> None:
    named = file.with_name("named")
    named.write_text("x")
    named.chmod(0o600)
    values = {key: "true" if key == "tls" else '"named"' for key in keys}
    lines = mistakes(file, "[mqtt]\n" + "\n".join(f"{k} = {v}" for k, v in values.items()))
    assert any(said in line for line in lines)
