"""What the file and the environment say, and every way in which they can be wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voice_daemon.config import (
    AsrSettings,
    ConfigProblems,
    MqttSettings,
    Problem,
    Settings,
    load_effective,
    load_settings,
)
from voice_daemon.config.sources import PASSWORD_VARIABLE, all_keys, model_of, variable
from voice_daemon.config.text import bounds, toml_value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from voice_daemon.config.rules import Key

DEFAULTS = {
    "audio": {
        "device": "default",
        "preroll_ms": 500,
        "queue_max_ms": 5000,
        "gain_db": 0.0,
        "stall_timeout_s": 3.0,
        "silence_alarm_s": 10.0,
    },
    "wake": {
        "models": ("hey_jarvis",),
        "threshold": 0.5,
        "trigger_level": 1,
        "refractory_s": 2.0,
        "vad_threshold": 0.0,
        "backend": "auto",
    },
    "session": {
        "silence_ms": 700,
        "no_speech_timeout_s": 5.0,
        "max_s": 15.0,
        "speech_start_ms": 100,
    },
    "asr": {
        "model": "tiny.en",
        "language": "en",
        "task": "transcribe",
        "step_s": 0.5,
        "frame_threshold": 25,
        "partials": True,
        "no_speech_threshold": 0.6,
        "dtype": "auto",
        "prompt": "",
    },
    "mqtt": {
        "host": "127.0.0.1",
        "port": 1883,
        "base_topic": "voice",
        "client_id": None,
        "username": None,
        "password_file": None,
        "tls": False,
        "ca_file": None,
        "cert_file": None,
        "key_file": None,
        "keepalive_s": 30,
        "reconnect_min_s": 1.0,
        "reconnect_max_s": 60.0,
        "offline_max": 100,
        "final_ttl_s": 30.0,
        "format": "native",
    },
    "homeassistant": {
        "discovery": True,
        "prefix": "homeassistant",
        "status_topic": "homeassistant/status",
    },
    "arbitration": {"enabled": False, "window_ms": 150},
    "wyoming": {"enabled": False, "host": "127.0.0.1", "port": 10300},
    "privacy": {"log_transcripts": False, "save_audio": False},
    "log": {"level": "info", "max_mb": 10, "backups": 5},
}

NUMERIC = [
    (key, limits)
    for key in all_keys()
    if (limits := bounds(model_of(key[0]).model_fields[key[1]])) is not None
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def mistakes(file: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    file.write_text(text)
    return problems_of(file, environ or {})


def problems_of(file: Path | None, environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        load_settings(file, environ)
    lines = caught.value.message.splitlines()
    assert lines == [str(problem) for problem in caught.value.problems]
    return lines


def entry(key: Key, value: object) -> str:
    section, name = key
    line = f"{name} = {toml_value(value)}\n"
    return f"[{section}]\n{line}" if section else line


def test_defaults_are_those_that_others_rely_on() -> None:
    assert Settings(node_id="x").model_dump() == {"node_id": "x", **DEFAULTS}


def test_a_missing_default_file_gives_the_defaults(tmp_path: Path) -> None:
    effective = load_effective(None, {"VOICE_DAEMON_HOME": str(tmp_path)})
    assert effective.settings == Settings()
    assert effective.file is None
    assert set(effective.origins.values()) == {"default"}


def test_the_default_file_is_read_where_there_is_one(file: Path, tmp_path: Path) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    effective = load_effective(None, {"VOICE_DAEMON_HOME": str(tmp_path)})
    assert effective.settings.wake.threshold == 0.7
    assert effective.origins["wake", "threshold"] == str(file)


def test_a_file_that_was_named_must_exist(file: Path) -> None:
    for path, environ in ((file, {}), (None, {"VOICE_DAEMON_CONFIG": str(file)})):
        (line,) = problems_of(path, environ)
        assert line.startswith(f"{file}: there is no such file; write one with ")


def test_the_argument_wins_over_the_variable_that_names_a_file(file: Path) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    environ = {"VOICE_DAEMON_CONFIG": "/nowhere.toml"}
    assert load_settings(file, environ).wake.threshold == 0.7


def test_the_environment_wins_over_the_file(file: Path) -> None:
    file.write_text("[wake]\nthreshold = 0.7\ntrigger_level = 2\n")
    environ = {"VOICE_DAEMON_WAKE__THRESHOLD": "0.8"}
    effective = load_effective(file, environ)
    assert effective.settings.wake.threshold == 0.8
    assert effective.settings.wake.trigger_level == 2
    assert effective.origins["wake", "threshold"] == "VOICE_DAEMON_WAKE__THRESHOLD"
    assert effective.origins["wake", "trigger_level"] == str(file)


def test_variables_are_converted_from_text(tmp_path: Path) -> None:
    environ = {
        "VOICE_DAEMON_HOME": str(tmp_path),
        "VOICE_DAEMON_NODE_ID": "attic",
        "VOICE_DAEMON_MQTT__PORT": "8883",
        "VOICE_DAEMON_MQTT__TLS": "true",
        "VOICE_DAEMON_MQTT__CLIENT_ID": "",
        "VOICE_DAEMON_ASR__STEP_S": "0.25",
        "VOICE_DAEMON_WAKE__MODELS": "hey_jarvis, alexa",
    }
    loaded = load_settings(None, environ)
    assert (loaded.node_id, loaded.mqtt.port, loaded.mqtt.tls) == ("attic", 8883, True)
    assert loaded.mqtt.client_id is None
    assert loaded.asr.step_s == 0.25
    assert loaded.wake.models == ("hey_jarvis", "alexa")


def test_every_key_has_a_variable(tmp_path: Path) -> None:
    for key in all_keys():
        line = problems_of(None, {"VOICE_DAEMON_HOME": str(tmp_path), variable(key): "\x00"})[0]
        assert line.startswith(f"environment: {variable(key)} = ")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().wake.threshold = 0.9


@pytest.mark.parametrize(("key", "limits"), NUMERIC, ids=lambda value: ".".join(map(str, value)))
def test_every_number_is_accepted_within_its_bounds_only(
    key: Key, limits: tuple[float, float], file: Path
) -> None:
    whole = model_of(key[0]).model_fields[key[1]].annotation is int
    low, high = (int(limits[0]), int(limits[1])) if whole else limits
    for good in (low, high):
        environ = {
            # Pairs of keys have an order; the other of the pair is put out of the way.
            "VOICE_DAEMON_MQTT__RECONNECT_MIN_S": "0.1",
            "VOICE_DAEMON_MQTT__RECONNECT_MAX_S": "3600",
        }
        environ.pop(variable(key), None)
        file.write_text(entry(key, good))
        assert load_effective(file, environ).value(key) == good
    for bad, said in ((low - 1, f"is less than {low:g}"), (high + 1, f"is more than {high:g}")):
        (line,) = mistakes(file, entry(key, bad))
        assert line.startswith(f"{file}: [{key[0]}] {key[1]} = {bad:g}: {said}; give a ")
        assert f"from {low:g} to {high:g}" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[mqtt]\nport = "1883"', '[mqtt] port = "1883": is not a whole number; '),
        ("[mqtt]\nport = 1883.0", "[mqtt] port = 1883: is not a whole number; "),
        ("[wake]\nthreshold = true", "[wake] threshold = true: is not a number; "),
        ("[wake]\nthreshold = nan", "[wake] threshold = nan: is not a finite number; "),
        ("[wake]\ntrigger_level = true", "[wake] trigger_level = true: is not a whole number; "),
        ('[mqtt]\ntls = "yes"', '[mqtt] tls = "yes": is not true or false; '),
        ("[mqtt]\ntls = 1", "[mqtt] tls = 1: is not true or false; "),
        ("[audio]\ndevice = 3", "[audio] device = 3: is not a text in quotes; "),
        ('[audio]\ndevice = " "', '[audio] device = " ": is empty; '),
        ('[audio]\ndevice = "a\\nb"', '[audio] device = "a\\nb": holds a control character; '),
        ('[wake]\nmodels = "alexa"', '[wake] models = "alexa": is not a list of texts; '),
        ("[wake]\nmodels = []", "[wake] models = []: is empty; "),
        ('[wake]\nmodels = ["a", "a"]', '[wake] models = ["a", "a"]: names the same one twice; '),
        ('[wake]\nbackend = "onyx"', '[wake] backend = "onyx": is not one of the choices; did'),
        ('[asr]\nlanguage = "german"', '[asr] language = "german": is not a language code '),
        ('[mqtt]\nhost = "mqtt://x"', '[mqtt] host = "mqtt://x": is not a host name or '),
        ('[mqtt]\nhost = ""', '[mqtt] host = "": is not a host name or an address; '),
        ('[mqtt]\nbase_topic = "a/#"', '[mqtt] base_topic = "a/#": holds a wildcard'),
        ('[mqtt]\nbase_topic = "/a"', '[mqtt] base_topic = "/a": has an empty level; '),
        ('[mqtt]\nbase_topic = "$SYS"', '[mqtt] base_topic = "$SYS": begins with $'),
        ("[mqtt]\nca_file = 3", "[mqtt] ca_file = 3: is not a text or nothing; "),
        ('node_id = "Küche"', 'node_id = "Küche": holds other characters; '),
        ('node_id = ""', 'node_id = "": is empty; '),
        ("audio = 5", "audio = 5: is a section; write [audio] on a line of its own"),
        ("[[audio]]\ngain_db = 1", "audio = [{...}]: is a section; "),
        ("[audio.device]\nx = 1", "[audio] device = {...}: is not a text in quotes; "),
        ("[log]\nlevel = 1979-05-27", "[log] level = 1979-05-27: is not one of the choices; "),
    ],
)
def test_a_bad_value_is_told_with_its_file_key_value_and_remedy(
    text: str, expected: str, file: Path
) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: {expected}")
    assert "; " in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[wake]\ntresholt = 1", "[wake] tresholt = 1: there is no such key; did you mean thresh"),
        ("[wake]\nsilence_ms = 1", "there is no such key; did you mean [session] silence_ms?"),
        ("[audio]\nport = 1", "did you mean [mqtt] port or [wyoming] port?"),
        ("threshold = 1", "threshold = 1: there is no such key; did you mean [wake] threshold?"),
        ("[audio]\ntreshold = 1", "did you mean [wake] threshold?"),
        ("[asr]\nstep-s = 1", "[asr] step-s = 1: there is no such key; did you mean step_s?"),
        ("node = 1", "node = 1: there is no such key; did you mean node_id?"),
        ("[log]\nxyzzy = 1", "[log] xyzzy = 1: there is no such key; [log] has level, max_mb"),
        ("[wakeword]\n", "[wakeword]: there is no such section; did you mean [wake]?"),
        ("[xyzzy]\n", "[xyzzy]: there is no such section; the sections are audio, wake,"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(text: str, expected: str, file: Path) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: ")
    assert expected in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VOICE_DAEMON_WAKE_THRESHOLD", "did you mean VOICE_DAEMON_WAKE__THRESHOLD?"),
        ("VOICE_DAEMON_SILENCE_MS", "did you mean VOICE_DAEMON_SESSION__SILENCE_MS?"),
        ("VOICE_DAEMON_CONFG", "did you mean VOICE_DAEMON_CONFIG?"),
        ("voice_daemon_wake__threshold", "did you mean VOICE_DAEMON_WAKE__THRESHOLD?"),
        ("VOICE_DAEMON_AUDIO", "there is no such variable; "),
        ("VOICE_DAEMON_XYZZY", "unset it, or write VOICE_DAEMON_<SECTION>__<KEY>"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_suggestion(
    name: str, expected: str, tmp_path: Path
) -> None:
    (line,) = problems_of(None, {"VOICE_DAEMON_HOME": str(tmp_path), name: "0.5"})
    assert line.startswith(f'environment: {name} = "0.5": there is no such variable; ')
    assert expected in line


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    environ = {
        "VOICE_DAEMON_HOME": str(tmp_path),
        "VOICE_DAEMON_TEST_DATA": "/data",
        "VOICEMAIL": "x",
    }
    assert load_settings(None, environ) == Settings()


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    text = 'prompt = 1\n[wake]\nthreshold = 7\nbackend = 3\n[mqtt]\nport = "x"\nprot = 1\n'
    lines = mistakes(file, text, {"VOICE_DAEMON_LOG__LEVEL": "loud", "VOICE_DAEMON_X": ""})
    assert len(lines) == 7
    assert all(line.count("\n") == 0 and ": " in line and "; " in line for line in lines)


def test_a_mistake_in_the_file_is_told_even_where_the_environment_wins(file: Path) -> None:
    (line,) = mistakes(file, "[wake]\nthreshold = 7\n", {"VOICE_DAEMON_WAKE__THRESHOLD": "0.5"})
    assert line.startswith(f"{file}: [wake] threshold = 7: ")


@pytest.mark.parametrize(
    ("text", "line_number", "said"),
    [
        ("[wake]\nthreshold = \n", 2, "is not TOML: Invalid value"),
        ("[wake]\n[wake]\n", 2, "is not TOML: Cannot declare"),
        ("[wake]\nmodels = [\n'a',\n", 3, "is not TOML: "),
        ("hello\n", 1, "is not TOML: "),
        ("{json: true}", 1, "is not TOML: "),
    ],
)
def test_a_syntax_error_is_told_with_its_line(
    text: str, line_number: int, said: str, file: Path
) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}:{line_number}: {said}")
    assert "(at " not in line


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe[\x00w\x00")
    (line,) = problems_of(file, {})
    assert line.startswith(f"{file}: is not UTF-8 text (")


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path, {})
    assert line.startswith(f"{tmp_path}: is not a file; ")


def test_an_unreadable_file_does_not_hide_what_is_wrong_with_the_environment(file: Path) -> None:
    lines = mistakes(file, "?", {"VOICE_DAEMON_LOG__LEVEL": "loud"})
    assert [line.split(":")[0] for line in lines] == [str(file), "environment"]


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
        f"environment: {PASSWORD_VARIABLE} = ***: there is no username to the password; "
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


def test_models_that_are_paths_are_found_from_the_configuration_file(file: Path) -> None:
    file.write_text('[wake]\nmodels = ["alexa", "mine.onnx"]\n[asr]\nmodel = "./whisper"\n')
    loaded = load_settings(file, {})
    assert loaded.wake.models == ("alexa", str(file.with_name("mine.onnx")))
    assert loaded.asr.model == str(file.with_name("whisper"))


def test_a_repository_id_is_no_path(file: Path) -> None:
    file.write_text('[asr]\nmodel = "mlx-community/whisper-small"\n')
    assert load_settings(file, {}).asr.model == "mlx-community/whisper-small"


@pytest.mark.parametrize(
    ("text", "blamed", "said"),
    [
        ('[asr]\nlanguage = "de"', '[asr] language = "de"', "knows English only"),
        ('[asr]\ntask = "translate"', '[asr] task = "translate"', "cannot translate"),
        ("[mqtt]\nreconnect_min_s = 61\n", "[mqtt] reconnect_min_s = 61", "is more than 60"),
        (
            "[mqtt]\nreconnect_min_s = 9\nreconnect_max_s = 2",
            "[mqtt] reconnect_min_s = 9",
            "greater than",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_told(
    text: str, blamed: str, said: str, file: Path
) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: {blamed}: ")
    assert said in line


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("password_file",), "there is no username to the password"),
        (("tls", "key_file"), "there is no certificate to the key"),
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


def test_the_key_that_was_set_is_blamed_for_a_contradiction_with_a_default(file: Path) -> None:
    (line,) = mistakes(
        file,
        '[asr]\nmodel = "base.en"\n',
        {"VOICE_DAEMON_ASR__LANGUAGE": "fr"},
    )
    assert line.startswith('environment: VOICE_DAEMON_ASR__LANGUAGE = "fr": ')


def test_what_should_have_been_meant_is_a_warning(file: Path) -> None:
    file.write_text("[wyoming]\nenabled = true\n[privacy]\nsave_audio = true\n")
    warnings = [str(warning) for warning in load_effective(file, {}).warnings]
    assert [line.split(": ")[1] for line in warnings] == ["[privacy] save_audio = true"]


def test_the_example_of_a_word_as_a_value_is_strict_in_code_too() -> None:
    with pytest.raises(ValueError, match="port"):
        MqttSettings(port="1883")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step_s"):
        AsrSettings(step_s=0.05)


def problems_if_any(file: Path | None, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    try:
        load_settings(file, environ)
    except ConfigProblems as error:
        return error.problems
    return ()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # TOML has no surrogates
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.lists(TEXT, max_size=3),
)
ANY = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ANY
@given(key=st.sampled_from(all_keys()), value=VALUES)
def test_any_value_of_any_key_is_taken_or_told_in_one_line(
    key: Key, value: object, file: Path
) -> None:
    file.write_text(entry(key, value), encoding="utf-8", newline="\n")
    for problem in problems_if_any(file, {}):
        assert problem.key.endswith(key[1])
        assert problem.remedy
        assert str(problem).isprintable()


@ANY
@given(key=st.sampled_from(all_keys()), text=st.text(max_size=40))
def test_any_text_of_any_variable_is_taken_or_told(key: Key, text: str, tmp_path: Path) -> None:
    environ = {"VOICE_DAEMON_HOME": str(tmp_path), variable(key): text}
    for problem in problems_if_any(None, environ):
        assert problem.key == variable(key)


@ANY
@given(section=TEXT, key=TEXT)
def test_any_unknown_name_is_told_in_one_line(section: str, key: str, file: Path) -> None:
    file.write_text(f"[{toml_value(section)}]\n{toml_value(key)} = 1\n", "utf-8", newline="\n")
    for problem in problems_if_any(file, {}):
        assert problem.remedy
        assert str(problem).isprintable()
