"""The time that a final may take: what is left of the shortest pause that ends a command."""

from __future__ import annotations

import pytest

from support.fakes import Rig, Scene
from support.scenes import COMMAND
from voice_daemon.session.pipeline import PipelineOptions

OPTIONS = PipelineOptions()


@pytest.mark.parametrize("silence_ms", [700, 1400])
def test_a_final_may_take_what_is_left_of_the_shortest_pause(silence_ms: float) -> None:
    scene = Scene().silence(500).wake().say(COMMAND).silence(3000)
    rig = Rig(scene, options=PipelineOptions(silence_ms=silence_ms))
    rig.play()
    (within_s,) = rig.transcriber.within_s
    heard_s = OPTIONS.suspect_ms / 1000
    shortest_s = silence_ms * OPTIONS.closed_share / 1000
    assert shortest_s - heard_s - 0.05 < within_s <= shortest_s - heard_s


def test_a_command_that_is_cut_off_at_its_longest_has_no_time_left() -> None:
    scene = Scene().silence(500).wake().say(" ".join([COMMAND] * 4)).silence(500)
    rig = Rig(scene, options=PipelineOptions(max_s=1.5))
    rig.play()
    assert rig.transcriber.within_s[-1] == 0.0
