"""Plays what Home Assistant has a satellite say: answers and announcements.

Home Assistant sends the text of an answer (`synthesize`) and then its sound, or the sound alone
for an announcement. It is told when the sound has really ended. It does not say whether an answer
expects another; its own conversation agents do by the answer's last character, and so do we: a
question is followed by a session without the wake word.
"""

from collections.abc import Callable

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.tts import Synthesize

from voice_daemon.sound.output import Feed, Loudspeaker
from voice_daemon.sound.sounds import spoken
from voice_daemon.wyoming.pcm import PcmConverter, PcmFormat

QUESTION_MARKS = ("?", ";", "\u037e", "\uff1f", "\u061f")
"""Latin, Greek (as it is typed, and its own), Chinese and Arabic."""


class Answers:
    """Takes the events of one satellite; `listen` opens a session.

    `speaker` None: nothing is played, and whoever waits for the end is told at once.
    """

    def __init__(self, speaker: Loudspeaker | None, *, listen: Callable[[], None]) -> None:
        self._speaker = speaker
        self._listen = listen
        self._text = ""
        """Of an answer whose sound has not come yet."""
        self._playing: tuple[PcmConverter, Feed] | None = None

    @property
    def can_speak(self) -> bool:
        """True where a pipeline is worth running to its speech."""
        return self._speaker is not None

    def take(self, event: Event, *, played: Callable[[], None]) -> None:
        """Act on an event of Home Assistant's; those that are none of ours do nothing.

        `played` is called, on any thread, when a sound is over.
        """
        if AudioStart.is_type(event.type):
            self._begin(PcmFormat.of(event.data), played)
        elif AudioChunk.is_type(event.type):
            self._feed(event.payload or b"")
        elif AudioStop.is_type(event.type):
            self._end(played)
        elif Synthesize.is_type(event.type):
            text = event.data.get("text")
            self._text = text if isinstance(text, str) else ""
        elif Error.is_type(event.type):
            self._say(played)

    def forget(self) -> None:
        """End a sound that will not be sent to its end: whoever sent it is gone."""
        self._finish(whole=False)

    def _finish(self, *, whole: bool) -> None:
        self._text = ""
        if self._playing is not None:
            self._playing[1].finish(whole=whole)
        self._playing = None

    def _begin(self, pcm: PcmFormat, played: Callable[[], None]) -> None:
        question = self._text.rstrip().endswith(QUESTION_MARKS)
        self.forget()
        if self._speaker is None:
            return
        feed = Feed(pcm.rate_hz)
        self._playing = PcmConverter(pcm, to_hz=pcm.rate_hz), feed
        at_the_end = self._at_the_end(played, question=question)
        self._speaker.play(feed, done=lambda completed: at_the_end(completed and feed.is_whole))

    def _feed(self, payload: bytes) -> None:
        if self._playing is not None:
            converter, feed = self._playing
            feed.feed(converter.feed(payload))

    def _end(self, played: Callable[[], None]) -> None:
        if self._speaker is None:
            played()
        self._finish(whole=True)

    def _say(self, played: Callable[[], None]) -> None:
        """Speak an answer by the system's own voice: Home Assistant's has failed."""
        text, self._text = self._text, ""
        if text and self._speaker is not None:
            question = text.rstrip().endswith(QUESTION_MARKS)
            self._speaker.play(spoken(text), done=self._at_the_end(played, question=question))

    def _at_the_end(self, played: Callable[[], None], *, question: bool) -> Callable[[bool], None]:
        def done(completed: bool) -> None:  # noqa: FBT001 - the speaker's signature
            played()
            if completed and question:
                self._listen()

        return done
