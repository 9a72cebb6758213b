"""The sounds that go with events, and what stops them."""

import queue
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from rigs.fake_portaudio import PortAudio
from voice_daemon.assets import DONE_SOUND, HEARD_SOUND, NOTHING_SOUND, TIMER_SOUND
from voice_daemon.audio.portaudio import AudioDriver
from voice_daemon.config import SoundsSettings
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import EndReason, SessionEnded, SessionStarted
from voice_daemon.session.options import PipelineOptions
from voice_daemon.sound.output import Loudspeaker, Sound
from voice_daemon.sound.sounds import Sounds, bundled_sound

MAKE = Path(__file__).parents[2] / "scripts" / "make-sounds"


class Ear(Loudspeaker):
    """A speaker that notes what it is to play."""

    def __init__(self) -> None:
        super().__init__("default")
        self.played: list[Sound] = []
        self.silenced = 0
        self.endings: list[Callable[[bool], None]] = []
        self.failures: list[Callable[[VoiceDaemonError], None]] = []

    def play(
        self,
        sounds: Iterable[Sound],
        *,
        done: Callable[[bool], None] = lambda _: None,
        failed: Callable[[VoiceDaemonError], None] = lambda _: None,
    ) -> None:
        self.played += [next(iter(sounds))]
        self.endings.append(done)
        self.failures.append(failed)

    def silence(self) -> None:
        self.silenced += 1


class Room:
    def __init__(self) -> None:
        self.ear = Ear()
        self.cancelled = 0
        self.reports: list[VoiceDaemonError] = []
        self.sounds = Sounds(
            self.ear, SoundsSettings(), cancel=self.cancel, report=self.reports.append
        )

    def cancel(self) -> None:
        self.cancelled += 1

    def heard(self) -> list[Path]:
        known = {id(bundled_sound(file)): file for file in ALL}
        return [known[id(sound)] for sound in self.ear.played]


ALL = (HEARD_SOUND, DONE_SOUND, NOTHING_SOUND, TIMER_SOUND)


def started(wake_word: str | None = "hey_jarvis") -> SessionStarted:
    return SessionStarted("s1", wake_word, 0)


def ended(reason: EndReason, finals: int = 0) -> SessionEnded:
    return SessionEnded("s1", reason, finals, 0)


@pytest.mark.parametrize(
    ("end", "sound"),
    [
        (ended(EndReason.SILENCE, 1), [DONE_SOUND]),
        (ended(EndReason.MAX_LENGTH, 1), [DONE_SOUND]),
        (ended(EndReason.NO_SPEECH), [NOTHING_SOUND]),
        (ended(EndReason.ERROR), [NOTHING_SOUND]),
        (ended(EndReason.CANCELLED), []),
        (ended(EndReason.MUTED), []),
        (ended(EndReason.SHUTDOWN), []),
    ],
)
def test_the_wake_word_and_the_end_of_a_command_have_a_sound(
    end: SessionEnded, sound: list[Path]
) -> None:
    room = Room()
    room.sounds.on_event(started())
    room.sounds.on_event(end)
    assert room.heard() == [HEARD_SOUND, *sound]


def test_they_can_be_switched_off_and_barging_in_stays() -> None:
    room = Room()
    room.sounds.tune(SoundsSettings(enabled=False, volume=0.2))
    room.sounds.on_event(started())
    room.sounds.on_event(ended(EndReason.SILENCE, 1))
    assert room.heard() == []
    assert (room.ear.silenced, room.ear.volume) == (1, 0.2)


def test_a_session_that_nobody_called_for_begins_without_a_sound() -> None:
    room = Room()
    room.sounds.on_event(started(wake_word=None))
    assert room.heard() == []


def test_the_wake_word_stops_a_timer_and_expects_no_command() -> None:
    room = Room()
    room.sounds.ring()
    assert room.heard() == [TIMER_SOUND]
    room.sounds.on_event(started())
    assert (room.ear.silenced, room.cancelled) == (1, 1)
    completed = False
    room.ear.endings[0](completed)
    room.sounds.on_event(started())
    assert room.heard() == [TIMER_SOUND, HEARD_SOUND]
    assert room.cancelled == 1


def test_without_a_speaker_nothing_happens() -> None:
    silent = Sounds(None, SoundsSettings(), cancel=lambda: None, report=lambda _: None)
    silent.on_event(started())
    silent.ring()
    silent.silence()
    assert not silent.speak("hello")


def test_each_text_that_is_not_heard_is_reported_with_its_remedy() -> None:
    reports: queue.Queue[VoiceDaemonError] = queue.Queue()
    speaker = Loudspeaker("default", driver=AudioDriver(load=PortAudio))
    speaker.start()
    sounds = Sounds(speaker, SoundsSettings(), cancel=lambda: None, report=reports.put)
    sounds.on_event(started())  # a sound that nobody sent is not reported
    for _ in range(2):
        assert sounds.speak("dinner is ready")
        report = reports.get(timeout=30)
        assert (report.code, "connect a speaker" in report.remedy) == ("audio.no_output", True)
    speaker.stop(30)
    assert reports.empty()


@pytest.mark.parametrize("loudness", [1, 0.03])
def test_no_sound_is_taken_for_a_voice(loudness: float) -> None:
    for file in ALL:
        sound = (loudness * bundled_sound(file).samples).astype(np.int16)
        probabilities = SileroVad().feed(np.concatenate((np.zeros(8000, np.int16), sound)))
        assert max(probabilities) < PipelineOptions().voice_off


def test_the_bundled_sounds_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([MAKE, tmp_path], check=True)
    for file in ALL:
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
