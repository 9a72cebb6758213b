"""The configuration: what may be set, what is in force, and what is wrong with it."""

from voice_daemon.config.load import Effective, load_effective, load_settings, with_kept_node_id
from voice_daemon.config.problems import ConfigProblems, Mistake
from voice_daemon.config.schema import (
    STEP_S_MAX,
    STEP_S_MIN,
    ArbitrationSettings,
    AsrSettings,
    AudioSettings,
    HomeAssistantSettings,
    LogSettings,
    MqttSettings,
    PrivacySettings,
    SessionSettings,
    Settings,
    SoundsSettings,
    VocabularySettings,
    WakeSettings,
    WyomingSettings,
)

__all__ = [
    "STEP_S_MAX",
    "STEP_S_MIN",
    "ArbitrationSettings",
    "AsrSettings",
    "AudioSettings",
    "ConfigProblems",
    "Effective",
    "HomeAssistantSettings",
    "LogSettings",
    "Mistake",
    "MqttSettings",
    "PrivacySettings",
    "SessionSettings",
    "Settings",
    "SoundsSettings",
    "VocabularySettings",
    "WakeSettings",
    "WyomingSettings",
    "load_effective",
    "load_settings",
    "with_kept_node_id",
]
