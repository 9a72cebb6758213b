"""A speaker in the microphone's own room, through real PortAudio, and one that is not there."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from faults.rig import FaultRig
from rigs.virtual_microphone import OUTPUT

needs_voice = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
SENTENCE = "The weather for tomorrow is cloudy with some rain in the evening. "
LOUD_DBFS = -50


def is_audible(rig: FaultRig) -> bool:
    now = rig.status()
    return now is not None and (now["mic"]["level_dbfs"] or -120) > LOUD_DBFS


@needs_voice
def test_it_does_not_hear_itself_and_the_wake_word_over_its_voice_stops_it(
    rig: FaultRig, clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]
) -> None:
    with rig.daemon(VOICE_DAEMON_AUDIO__OUTPUT=OUTPUT):
        rig.wait_for_ready()
        rig.tell("cmd/speak", 15 * SENTENCE)
        rig.wait_for(lambda: is_audible(rig), "it speaks")
        time.sleep(8)  # of its own voice
        assert rig.on("session") == []
        assert is_audible(rig)
        # Its voice ends under the first words: which they are is not for this test to say.
        rig.microphone.play(write(clip))
        rig.wait_for(lambda: rig.on("transcript/final"), "the command is heard")
        rig.wait_for(lambda: len(rig.on("session")) == 2, "the session has ended")
        rig.wait_for(lambda: not is_audible(rig), "it is quiet")
    assert [m["event_type"] for m in rig.on("session")] == ["started", "ended"]
    assert rig.logged("output.unavailable") == []
    rig.assert_nothing_is_lost_or_doubled()


def test_without_its_output_it_works_and_says_so_once(
    rig: FaultRig, clip: NDArray[np.int16], write: Callable[[NDArray[Any]], Path]
) -> None:
    with rig.daemon(VOICE_DAEMON_AUDIO__OUTPUT="a speaker that is not there"):
        rig.wait_for_ready()
        for _ in range(2):
            rig.hears(write(clip))
        now = rig.wait_for_state("idle")
        assert now["problems"] == []
        assert [note["part"] for note in now["notes"]] == ["output"]
    assert len(rig.logged("output.unavailable")) == 1
    rig.assert_nothing_is_lost_or_doubled()
