"""Where a setting comes from: the defaults, the file, the environment, and which of them wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.config_files import problems_of
from voice_daemon.config import AsrSettings, MqttSettings, Settings, load_effective, load_settings
from voice_daemon.config.load import KEPT, all_keys, variable, with_kept_node_id

DEFAULTS = {
    "audio": {
        "device": "default",
        "output": "default",
        "preroll_ms": 500,
        "queue_max_ms": 5000,
        "gain_db": 0.0,
        "stall_timeout_s": 3.0,
        "silence_alarm_s": 10.0,
    },
    "wake": {
        "models": ("hey_jarvis",),
        "threshold": 0.5,
        "thresholds": {},
        "verify_from": 0.01,
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
    },
    "homeassistant": {
        "discovery": True,
        "prefix": "homeassistant",
        "status_topic": "homeassistant/status",
        "area": None,
        "satellite": False,
        "satellite_host": "0.0.0.0",  # noqa: S104 - a default that is asked for
        "satellite_port": 10700,
    },
    "sounds": {"enabled": True, "volume": 0.5},
    "arbitration": {"enabled": False, "window_ms": 150},
    "vocabulary": {
        "enabled": True,
        "file": None,
        "sentences": "home-assistant",
        "margin": 5,
        "protected": ("lock", "alarm_control_panel"),
    },
    "wyoming": {"enabled": False, "host": "127.0.0.1", "port": 10300, "endpoint": True},
    "privacy": {"log_transcripts": False, "save_audio": False},
    "log": {"level": "info", "max_mb": 10, "backups": 5},
}


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


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    environ = {
        "VOICE_DAEMON_HOME": str(tmp_path),
        "VOICEMAIL": "x",
    }
    assert load_settings(None, environ) == Settings()


def test_models_that_are_paths_are_found_from_the_configuration_file(file: Path) -> None:
    file.write_text('[wake]\nmodels = ["alexa", "mine.onnx"]\n[asr]\nmodel = "./whisper"\n')
    loaded = load_settings(file, {})
    assert loaded.wake.models == ("alexa", str(file.with_name("mine.onnx")))
    assert loaded.asr.model == str(file.with_name("whisper"))


def test_a_repository_id_is_no_path(file: Path) -> None:
    file.write_text('[asr]\nmodel = "mlx-community/whisper-small"\n')
    assert load_settings(file, {}).asr.model == "mlx-community/whisper-small"


def test_what_should_have_been_meant_is_a_warning(file: Path) -> None:
    file.write_text("[wyoming]\nenabled = true\n[privacy]\nsave_audio = true\n")
    file.chmod(0o600)
    warnings = [str(warning) for warning in load_effective(file, {}).warnings]
    assert [line.split(": ")[1] for line in warnings] == ["[privacy] save_audio = true"]


def test_the_example_of_a_word_as_a_value_is_strict_in_code_too() -> None:
    with pytest.raises(ValueError, match="port"):
        MqttSettings(port="1883")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step_s"):
        AsrSettings(step_s=0.05)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_from_windows_is_read_as_any_other(file: Path, line_end: str) -> None:
    lines = ["\ufeffnode_id = 'kitchen'", "[wake]", "threshold = 0.6", ""]
    file.write_bytes(line_end.join(lines).encode())
    settings = load_settings(file, {})
    assert (settings.node_id, settings.wake.threshold) == ("kitchen", 0.6)


def test_a_list_written_as_json_in_a_variable_is_refused_with_its_form(tmp_path: Path) -> None:
    environ = {"VOICE_DAEMON_HOME": str(tmp_path), "VOICE_DAEMON_WAKE__MODELS": '["alexa"]'}
    (line,) = problems_of(None, environ)
    assert "is written as JSON; write the names with commas" in line


def test_the_first_node_id_is_kept_when_the_host_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, environ = tmp_path / "state.json", {"VOICE_DAEMON_HOME": str(tmp_path)}
    shown = []
    for name in ("mac-mini.local", "mac-mini-2.local", "192.168.1.5"):
        monkeypatch.setattr("voice_daemon.config.values.machine_name", lambda name=name: name)
        effective = with_kept_node_id(load_effective(None, environ), state)
        shown.append((effective.settings.node_id, effective.origins["", "node_id"]))
    assert set(shown) == {("mac-mini", KEPT)}
    (tmp_path / "config.toml").write_text('node_id = "den"')
    effective = with_kept_node_id(load_effective(None, environ), state)
    assert effective.settings.node_id == "den"


def test_a_node_id_that_cannot_be_kept_is_the_hosts(tmp_path: Path) -> None:
    effective = load_effective(None, {"VOICE_DAEMON_HOME": str(tmp_path)})
    (tmp_path / "file").touch()
    assert with_kept_node_id(effective, tmp_path / "file" / "state.json") == effective
