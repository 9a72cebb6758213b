"""Every configuration key: its type, default, bounds and meaning."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from voice_daemon.config.values import (
    Domains,
    Host,
    Language,
    Line,
    Names,
    NodeId,
    OptionalLine,
    OptionalPath,
    Scores,
    Topic,
    Words,
    host_node_id,
)

ENV_PREFIX = "VOICE_DAEMON_"
ENV_DELIMITER = "__"

STEP_S_MIN = 0.1
STEP_S_MAX = 10.0


class Section(BaseModel):
    """One table of the file. Frozen and strict: text is not a number, nor is true."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class AudioSettings(Section):
    """The microphone and what is kept of it."""

    device: Line = Field(
        default="default",
        description="Input device: a name from `daemonctl devices`, or default for the system's.",
    )
    output: Line = Field(
        default="default",
        description="Output device for sounds and speech: a name, default, or none for silence.",
    )
    preroll_ms: int = Field(
        default=500,
        ge=0,
        le=2000,
        description="Audio kept from before the wake word, so that no first word is lost.",
    )
    queue_max_ms: int = Field(
        default=5000,
        ge=500,
        le=60_000,
        description="Audio that may wait for the recogniser; beyond it a session ends (overload).",
    )
    gain_db: float = Field(default=0, ge=-30, le=40, description="Gain applied to the input.")
    stall_timeout_s: float = Field(
        default=3, ge=0.5, le=60, description="Time without audio until the input is reopened."
    )
    silence_alarm_s: float = Field(
        default=10,
        ge=1,
        le=3600,
        description="Digital silence that suggests a missing microphone permission.",
    )

    @property
    def plays(self) -> bool:
        """False where nothing is to be played at all."""
        return self.output.lower() != "none"


class WakeSettings(Section):
    """The wake word."""

    models: Names = Field(
        default=("hey_jarvis",),
        description="Wake words: bundled names, your own, or paths of openWakeWord models.",
    )
    threshold: float = Field(
        default=0.5,
        ge=0.01,
        le=0.99,
        description="Score from which a wake word counts as heard, where its model names none.",
    )
    thresholds: Scores = Field(
        default={}, description="The same for single wake words; wins over what a model names."
    )
    verify_from: float = Field(
        default=0.01,
        ge=0,
        le=0.99,
        description="Lower score that counts too if the recogniser finds the word; 0 is off.",
    )
    trigger_level: int = Field(
        default=1,
        ge=1,
        le=20,
        description="Scores in a row, 80 ms each, that must pass the threshold.",
    )
    refractory_s: float = Field(
        default=2.0, ge=0, le=30, description="Time after a detection in which there is no other."
    )
    vad_threshold: float = Field(
        default=0.0,
        ge=0,
        le=0.99,
        description="Speech probability that a detection also needs; 0 is off.",
    )
    backend: Literal["auto", "onnx", "tflite"] = Field(
        default="auto", description="What runs the wake models; auto takes the first that works."
    )


class SessionSettings(Section):
    """Sessions: each lasts from the wake word to the end of the command."""

    silence_ms: int = Field(
        default=700,
        ge=200,
        le=5000,
        description="Silence that ends a command; less after a whole sentence, else more.",
    )
    no_speech_timeout_s: float = Field(
        default=5, ge=1, le=60, description="Wait for the first word after the wake word."
    )
    # With the pre-roll it has to fit into the recogniser's window of 30 s.
    max_s: float = Field(
        default=15, ge=2, le=28, description="Longest command; what was said by then is the final."
    )
    speech_start_ms: int = Field(
        default=100,
        ge=30,
        le=1000,
        description="Speech shorter than this is taken for noise.",
    )


class AsrSettings(Section):
    """The recogniser."""

    model: Line = Field(
        default="tiny.en",
        description="tiny.en (bundled), a Hugging Face repository id, or a folder (/, ./ or ~).",
    )
    language: Language = Field(default="en", description="Language spoken; auto detects it.")
    task: Literal["transcribe", "translate"] = Field(
        default="transcribe", description="transcribe, or translate into English."
    )
    step_s: float = Field(
        default=0.5,
        ge=STEP_S_MIN,
        le=STEP_S_MAX,
        description="Audio between two steps of the recogniser once there are words; less shows "
        "words sooner.",
    )
    frame_threshold: int = Field(
        default=25,
        ge=1,
        le=200,
        description="Distance from the audio's end, in frames of 20 ms, that makes a word safe.",
    )
    partials: bool = Field(
        default=True, description="Publish text while the command is being spoken."
    )
    no_speech_threshold: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="No-speech probability that drops doubtful text.",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="Number format of the weights; auto takes the machine's best."
    )
    prompt: Words = Field(
        default="",
        description="Words that the recogniser should expect; may cause repetition.",
    )

    @property
    def expects_english(self) -> bool:
        """True where the recogniser has to read English, as the self-test's recording is."""
        return self.language in {"en", "auto"}


class MqttSettings(Section):
    """The broker."""

    host: Host = Field(default="127.0.0.1", description="The broker's host name or address.")
    port: int = Field(default=1883, ge=1, le=65_535, description="The broker's port; 8883 for TLS.")
    base_topic: Topic = Field(default="voice", description="First part of every topic.")
    client_id: OptionalLine = Field(
        default=None, description="MQTT client id; none means voice-daemon-<node_id>."
    )
    username: OptionalLine = Field(
        default=None, description="User name at the broker; none: no login."
    )
    password_file: OptionalPath = Field(
        default=None,
        description="File that holds the password alone; only its owner may read it (0600).",
    )
    tls: bool = Field(default=False, description="Encrypt the connection.")
    ca_file: OptionalPath = Field(
        default=None, description="Certificates to trust (PEM); none means the system's."
    )
    cert_file: OptionalPath = Field(default=None, description="Client certificate (PEM).")
    key_file: OptionalPath = Field(
        default=None,
        description="The certificate's key (PEM); only its owner may read it (0600).",
    )
    keepalive_s: int = Field(
        default=30, ge=5, le=3600, description="Interval at which a silent connection is checked."
    )
    reconnect_min_s: float = Field(
        default=1, ge=0.1, le=60, description="First wait before connecting again."
    )
    reconnect_max_s: float = Field(
        default=60, ge=1, le=3600, description="Longest wait before connecting again."
    )
    offline_max: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Messages kept while offline; the oldest are dropped.",
    )
    final_ttl_s: float = Field(
        default=30,
        ge=1,
        le=3600,
        description="Age at which an unsent final is dropped.",
    )


class HomeAssistantSettings(Section):
    """Home Assistant's MQTT discovery."""

    discovery: bool = Field(default=True, description="Announce the device to Home Assistant.")
    prefix: Topic = Field(default="homeassistant", description="Home Assistant's discovery prefix.")
    status_topic: Topic = Field(
        default="homeassistant/status", description="Where Home Assistant announces its start."
    )
    area: OptionalLine = Field(
        default="", description="The room that this device stands in, as Home Assistant names it."
    )
    satellite: bool = Field(
        default=False,
        description="Be an Assist satellite too: Home Assistant's own pipeline runs each command.",
    )
    satellite_host: Host = Field(
        default="0.0.0.0",  # noqa: S104 - Home Assistant is another machine
        description="Where the satellite listens for Home Assistant.",
    )
    satellite_port: int = Field(
        default=10700,
        ge=1,
        le=65534,
        description="The satellite's port; the next one is its recogniser's.",
    )


class VocabularySettings(Section):
    """Names and sentences of the home, so that they are heard right."""

    enabled: bool = Field(
        default=True, description="Use the home's names; without any, nothing changes."
    )
    file: OptionalPath = Field(
        default=None,
        description="The home's names, in JSON or TOML; what comes over MQTT wins.",
    )
    sentences: Literal["home-assistant", "none"] = Field(
        default="home-assistant",
        description="What can be said, besides the document's own sentences.",
    )
    margin: float = Field(
        default=5,
        ge=0,
        le=20,
        description="How much less probable than what was heard a home's sentence may be, in nats; "
        "0 corrects nothing.",
    )
    protected: Domains = Field(
        default=("lock", "alarm_control_panel"),
        description="Kinds of entities that no correction reaches, only what was really heard.",
    )


class SoundsSettings(Section):
    """The daemon's own sounds."""

    enabled: bool = Field(
        default=True, description="Short sounds when a wake word is heard and a command ends."
    )
    volume: float = Field(
        default=0.5, ge=0, le=1, description="Loudness of sounds, speech and timers; 1 is full."
    )


class ArbitrationSettings(Section):
    """Several devices that hear the same wake word."""

    enabled: bool = Field(default=False, description="Only the device that heard best answers.")
    window_ms: int = Field(
        default=150, ge=20, le=2000, description="Wait for other devices' scores."
    )


class WyomingSettings(Section):
    """The Wyoming protocol."""

    enabled: bool = Field(default=False, description="Serve the recogniser by Wyoming.")
    host: Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=10_300, ge=1, le=65_535, description="Port to listen on.")
    endpoint: bool = Field(
        default=True,
        description="End a command at its pause if the client takes the text then; off: dictation.",
    )


class PrivacySettings(Section):
    """Traces of what was said."""

    log_transcripts: bool = Field(default=False, description="Write what was said into the log.")
    save_audio: bool = Field(default=False, description="Keep the audio of each command on disk.")


class LogSettings(Section):
    """The log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important events that are logged."
    )
    max_mb: int = Field(
        default=10, ge=1, le=1000, description="Size at which a log file is rotated."
    )
    backups: int = Field(default=5, ge=1, le=100, description="Older log files that are kept.")


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        enable_decoding=False,
    )

    node_id: NodeId = Field(
        default_factory=host_node_id,
        description="Name of this device in topics; the default is the host name.",
    )
    audio: AudioSettings = AudioSettings()
    wake: WakeSettings = WakeSettings()
    session: SessionSettings = SessionSettings()
    asr: AsrSettings = AsrSettings()
    mqtt: MqttSettings = MqttSettings()
    homeassistant: HomeAssistantSettings = HomeAssistantSettings()
    vocabulary: VocabularySettings = VocabularySettings()
    sounds: SoundsSettings = SoundsSettings()
    arbitration: ArbitrationSettings = ArbitrationSettings()
    wyoming: WyomingSettings = WyomingSettings()
    privacy: PrivacySettings = PrivacySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing on construction: `config.load` reads the file and the environment."""
        return (init_settings,)
