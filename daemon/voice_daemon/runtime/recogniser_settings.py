"""From the user's settings of the recogniser to the recogniser's own options.

Shared by all who build a recogniser from a configuration. Knows no model and no audio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_daemon.asr import DecodingOptions, StreamingConfig

if TYPE_CHECKING:
    from voice_daemon.config import AsrSettings


def streaming_config(settings: AsrSettings) -> StreamingConfig:
    """Return how to stream for a caller that paces the steps itself, as `Pace` does.

    The first ones come sooner, and all fall on whole blocks of audio: a quarter of `step_s` is
    the least that the decoder insists on.
    """
    return StreamingConfig(
        frame_threshold=settings.frame_threshold,
        min_chunk_duration=settings.step_s / 4,
        emit_partial=settings.partials,
        language=settings.language,
        task=settings.task,
        prompt=settings.prompt,
        no_speech_threshold=settings.no_speech_threshold,
    )


def decoding_options(settings: AsrSettings) -> DecodingOptions:
    """Return how to decode whole recordings offline."""
    language = None if settings.language == "auto" else settings.language
    return DecodingOptions(task=settings.task, language=language, prompt=settings.prompt)
