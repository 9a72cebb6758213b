"""Sounds at the moments of a session, texts, the ring of a timer, and what barging in means.

Whoever says the wake word is heard out: what is being played stops. A ringing timer is stopped
by it too, and no command is expected then.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import soundfile

from voice_daemon.assets import DONE_SOUND, HEARD_SOUND, NOTHING_SOUND, TIMER_SOUND
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.config import SoundsSettings
from voice_daemon.errors import SpeechError, VoiceDaemonError
from voice_daemon.events import SAMPLE_RATE, EndReason, Event, SessionEnded, SessionStarted
from voice_daemon.sound.output import Loudspeaker, Sound

VOICE_PROGRAMS: Final = {
    "say": ("-f", "-", "--data-format=LEI16@22050", "-o"),
    "espeak-ng": ("--stdin", "-w"),
}
"""Arguments before the file's name; the text is on standard input, so none is an option."""
VOICE_TIMEOUT_S: Final = 60.0
RINGS: Final = 80
"""Two minutes of 1.5 s each."""
_FAILED: Final = frozenset(
    {EndReason.NO_SPEECH, EndReason.ERROR, EndReason.OVERLOAD, EndReason.MIC_LOST}
)


@cache
def bundled_sound(file: Path) -> Sound:
    """Load one of the bundled sounds."""
    return Sound(to_int16(load_audio(file)), SAMPLE_RATE)


class Sounds:
    """Plays what goes with events, timers and texts; silent where `speaker` is None.

    `cancel` drops the open session. `report` is told, on the speaker's thread, why a text that
    somebody sent is not heard.
    """

    def __init__(
        self,
        speaker: Loudspeaker | None,
        settings: SoundsSettings,
        *,
        cancel: Callable[[], None],
        report: Callable[[VoiceDaemonError], None],
    ) -> None:
        self._speaker = speaker
        self._cancel = cancel
        self._report = report
        self._rings = 0
        self.tune(settings)

    def tune(self, settings: SoundsSettings) -> None:
        """Take over the settings, from the next sound on."""
        self._with_cues = settings.enabled
        if self._speaker is not None:
            self._speaker.volume = settings.volume

    def on_event(self, event: Event) -> None:
        """Do what goes with an event; never waits."""
        match event:
            case SessionStarted():
                self._barge_in(by_wake_word=event.wake_word is not None)
            case SessionEnded() if event.reason in _FAILED:
                self._cue(NOTHING_SOUND)
            case SessionEnded() if event.finals:
                self._cue(DONE_SOUND)
            case _:
                pass

    def ring(self) -> None:
        """Ring for a timer that is over, until somebody stops it or two minutes are past."""
        if self._speaker is not None:
            self._rings += 1
            self._speaker.play(self._ringing(), done=self._rung)

    def speak(self, text: str) -> bool:
        """Speak a text in its turn, by the system's voice; False where there is no output."""
        if self._speaker is None:
            return False
        self._speaker.play(spoken(text), failed=self._report)
        return True

    def silence(self) -> None:
        """Stop what is being played."""
        if self._speaker is not None:
            self._speaker.silence()

    def _barge_in(self, *, by_wake_word: bool) -> None:
        is_ringing = self._rings > 0
        self.silence()
        if is_ringing and by_wake_word:
            self._cancel()
        elif by_wake_word:
            self._cue(HEARD_SOUND)

    def _ringing(self) -> Iterator[Sound]:
        for _ in range(RINGS):
            yield bundled_sound(TIMER_SOUND)

    def _rung(self, *_: object) -> None:
        self._rings -= 1

    def _cue(self, file: Path) -> None:
        if self._speaker is not None and self._with_cues:
            self._speaker.play((bundled_sound(file),))


def voice_program() -> str | None:
    """Name the system's speech program; None where it has none."""
    return next((name for name in VOICE_PROGRAMS if shutil.which(name)), None)


def spoken(text: str) -> Iterator[Sound]:
    """Give a text as sound; raises `SpeechError` where it cannot be spoken.

    Waits for the program when it is first asked for sound.
    """
    program = voice_program()
    if program is None:
        raise SpeechError(
            "output.no_voice",
            f"there is no voice to speak with: none of {', '.join(VOICE_PROGRAMS)} is installed",
            remedy="Debian: apt-get install espeak-ng",
        )
    with tempfile.TemporaryDirectory(prefix="voice-daemon-") as folder:
        file = Path(folder) / "spoken.wav"
        try:
            subprocess.run(
                [program, *VOICE_PROGRAMS[program], str(file)],
                input=text.encode(),
                check=True,
                capture_output=True,
                timeout=VOICE_TIMEOUT_S,
            )
            samples, rate_hz = soundfile.read(file, dtype="int16", always_2d=True)
        except (OSError, subprocess.SubprocessError, soundfile.SoundFileError) as error:
            raise SpeechError(
                "output.not_spoken",
                f"{program} could not speak the text: {type(error).__name__}",
                remedy=f"try it by itself: echo hello | {program}",
            ) from None  # its arguments are nobody's business
    yield Sound(samples[:, 0], rate_hz)
