"""A command on its way through Home Assistant's pipeline, and how it may end."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from wyoming.asr import Transcribe, Transcript
from wyoming.error import Error
from wyoming.event import Event
from wyoming.ping import Pong
from wyoming.pipeline import PipelineStage
from wyoming.tts import Synthesize

from voice_daemon.events import ErrorRaised

WAITING: Final = "waiting"
SENT: Final = "sent"
SETTLED: Final = "settled"
"""How far a command has got: taken over, handed out, and over (or never ours)."""
BEGINS_S: Final = 1.0
"""A pipeline that has not begun so long after Home Assistant read the request will not."""
SETTLES_S: Final = 0.5
"""From the text's arrival to its being carried out, where nothing tells of that."""
DUPLICATE: Final = "duplicate_wake_up_detected"
"""Home Assistant's code where another satellite was called by the same wake word just now."""


@dataclass(slots=True)
class PipelineCommand:
    """A text, and what is known of the pipeline that is to carry it out."""

    session_id: str
    text: str
    language: str
    wake_word: str | None
    due_s: float
    """On the monotonic clock: not handed out after this."""
    last_stage: PipelineStage = PipelineStage.HANDLE
    """Of the run that was asked for last."""
    has_begun: bool = False
    is_handed_out: bool = False
    error: str = ""
    """Home Assistant's code for the run's failure."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """It was handed out, or the run will not ask for it."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """It was carried out, as far as can be known, or has failed."""

    def asked(self, last_stage: PipelineStage) -> None:
        """Begin anew: a run was asked for."""
        self.last_stage, self.has_begun, self.error = last_stage, False, ""
        self.decided.clear()

    def hand_out(self) -> str:
        """Give the text, which happens once."""
        self.is_handed_out = True
        self.decided.set()
        return self.text

    def read(self, event: Event) -> None:
        """Take note of what Home Assistant tells of the run."""
        loop = asyncio.get_running_loop()
        if Transcribe.is_type(event.type):
            self.has_begun = True
        elif Pong.is_type(event.type) and event.data.get("text") == self.session_id:
            # It was sent behind the request, so that one was read. (Versions before 2026.11 say
            # nothing of a pipeline that cannot run.)
            loop.call_later(BEGINS_S, self._give_up_unless_begun)
        elif Error.is_type(event.type):
            self.error = str(event.data.get("code") or "error")
            self.decided.set()
            self.over.set()
        elif Synthesize.is_type(event.type):
            self.over.set()
        elif Transcript.is_type(event.type) and self.last_stage is not PipelineStage.TTS:
            loop.call_later(SETTLES_S, self.over.set)

    def _give_up_unless_begun(self) -> None:
        if not self.has_begun:
            self.decided.set()


def not_run(session_id: str, reason: str) -> ErrorRaised:
    """Report a command that was taken over, and that nobody carries out."""
    return ErrorRaised(
        "satellite.not_run",
        f"the command was not carried out: {reason}",
        "say it again; if it happens always, give the pipeline a text-to-speech (Home Assistant "
        "2026.2 runs none without), or see Home Assistant's Wyoming integration",
        session_id,
    )


def unconfirmed(session_id: str, reason: str) -> ErrorRaised:
    """Report a command that Home Assistant has taken, and may not have carried out."""
    return ErrorRaised(
        "satellite.unconfirmed",
        f"the command may have been carried out, or not: {reason}",
        "look whether it was done before you say it again",
        session_id,
    )
