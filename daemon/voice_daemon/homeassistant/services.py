"""The two Wyoming services of a satellite, as they describe themselves, and its voice.

The second one is speech: the recogniser that hands out what is known, and the system's own voice
for homes that have no other.
"""

from dataclasses import dataclass
from typing import Any, Final

import structlog
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice
from wyoming.info import Satellite as SatelliteInfo

from voice_daemon import __version__
from voice_daemon.errors import SpeechError
from voice_daemon.sound.sounds import spoken, voice_program

PROGRAM: Final = "voice-daemon"
CHUNK_SAMPLES: Final = 4096
log = structlog.get_logger()

_OURS: Final[dict[str, Any]] = {
    "attribution": Attribution(name=PROGRAM, url=""),
    "installed": True,
    "version": __version__,
}
"""The same of every service, model and voice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteOptions:
    """The satellite's description, and the address that it listens on."""

    name: str
    area: str
    host: str
    port: int
    """Of the satellite; the recogniser has the next one. 0: any two."""
    model: str
    languages: tuple[str, ...]
    ttl_s: float
    """How long a command may wait for Home Assistant."""


def satellite_info(options: SatelliteOptions) -> Info:
    """Describe the satellite."""
    return Info(
        satellite=SatelliteInfo(
            name=options.name,
            description="Wake word and speech recognition on this device",
            area=options.area or None,
            has_vad=False,
            **_OURS,
        )
    )


def speech_info(options: SatelliteOptions) -> Info:
    """Describe the recogniser, and the voice where the system has one."""
    languages = list(options.languages)
    model = AsrModel(
        name=options.model,
        description="Text that the satellite has recognised",
        languages=languages,
        **_OURS,
    )
    recogniser = AsrProgram(
        name=options.name,
        description="Hands out what the satellite heard",
        models=[model],
        requires_external_vad=False,
        **_OURS,
    )
    name = voice_program()
    if name is None:
        return Info(asr=[recogniser])
    voice = TtsVoice(name=name, description="The system's own voice", languages=languages, **_OURS)
    speaker = TtsProgram(
        name=options.name,
        description="Speaks by the system's own voice",
        voices=[voice],
        **_OURS,
    )
    return Info(asr=[recogniser], tts=[speaker])


def synthesised(event: Event) -> list[Eventable]:
    """Speak the text of a `synthesize` into events; takes as long as the program does."""
    text = event.data.get("text")
    if not isinstance(text, str):
        return [Error(text="there is no text to speak", code="tts")]
    try:
        sound = next(spoken(text))
    except SpeechError as error:
        log.warning(error.code, reason=error.message, remedy=error.remedy)
        return [Error(text=error.message, code="tts")]
    pcm = {"rate": sound.rate_hz, "width": 2, "channels": 1}
    chunks = [
        AudioChunk(**pcm, audio=sound.samples[at : at + CHUNK_SAMPLES].tobytes())
        for at in range(0, len(sound.samples), CHUNK_SAMPLES)
    ]
    return [AudioStart(**pcm), *chunks, AudioStop()]
