"""Rules between keys, and warnings of legal settings that are probably a mistake."""

from collections.abc import Callable
from dataclasses import dataclass

from voice_daemon.config.schema import MqttSettings, Settings

Key = tuple[str, str]
"""Section and key."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A relation between keys, of which those that were set are to blame."""

    keys: tuple[Key, ...]
    broken: Callable[[Settings], bool]
    message: str
    remedy: str


def _english_only(settings: Settings) -> bool:
    """Tell of the published models, whose names say it; others are looked into when they load."""
    model = settings.asr.model
    return model.endswith(".en") and "/" not in model


def _mqtt(broken: Callable[[MqttSettings], object]) -> Callable[[Settings], bool]:
    return lambda settings: bool(broken(settings.mqtt))


RULES = (
    Rule(
        (("asr", "language"), ("asr", "model")),
        lambda s: _english_only(s) and s.asr.language not in {"en", "auto"},
        "a model whose name ends in .en knows English only",
        'set language = "en", or take a multilingual model',
    ),
    Rule(
        (("asr", "task"), ("asr", "model")),
        lambda s: _english_only(s) and s.asr.task == "translate",
        "a model whose name ends in .en cannot translate",
        'set task = "transcribe", or take a multilingual model',
    ),
    Rule(
        (("mqtt", "reconnect_min_s"), ("mqtt", "reconnect_max_s")),
        _mqtt(lambda m: m.reconnect_min_s > m.reconnect_max_s),
        "reconnect_min_s is greater than reconnect_max_s",
        "lower reconnect_min_s, or raise reconnect_max_s",
    ),
    Rule(
        (("mqtt", "password_file"), ("mqtt", "username")),
        _mqtt(lambda m: m.password_file and not m.username),
        "a password is set without a username",
        "set username too, or remove password_file",
    ),
    Rule(
        (("mqtt", "key_file"), ("mqtt", "cert_file")),
        _mqtt(lambda m: m.key_file and not m.cert_file),
        "key set without a certificate",
        "set cert_file too, or remove key_file",
    ),
    Rule(
        (("mqtt", "ca_file"), ("mqtt", "tls")),
        _mqtt(lambda m: m.ca_file and not m.tls),
        "has no effect while tls is false",
        "set tls = true, or remove it",
    ),
    Rule(
        (("mqtt", "cert_file"), ("mqtt", "tls")),
        _mqtt(lambda m: m.cert_file and not m.tls),
        "has no effect while tls is false",
        "set tls = true, or remove it",
    ),
)

WARNINGS = (
    Rule(
        (("privacy", "save_audio"),),
        lambda s: s.privacy.save_audio,
        "the sound of every session is kept on disk",
        "set it to false unless you need it",
    ),
)
"""Legal settings that are probably a mistake."""
