"""What the server answers to `describe`: one speech-to-text program with one model.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wyoming.info import AsrModel, AsrProgram, Attribution, Info

from voice_daemon import __version__

if TYPE_CHECKING:
    from voice_daemon.wyoming.parts import Recogniser

PROGRAM: Final = "voice-daemon"


def info_of(recogniser: Recogniser) -> Info:
    """Describe the recogniser."""
    model = AsrModel(
        name=recogniser.model,
        attribution=Attribution("OpenAI", "https://github.com/openai/whisper"),
        installed=True,
        description=f"Whisper {recogniser.model}",
        version=None,
        languages=list(recogniser.languages),
    )
    program = AsrProgram(
        name=PROGRAM,
        attribution=Attribution(PROGRAM, ""),
        installed=True,
        description="Streaming Whisper on MLX",
        version=__version__,
        models=[model],
        supports_transcript_streaming=recogniser.streams,
    )
    return Info(asr=[program])
