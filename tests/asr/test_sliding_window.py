"""Finalising the older part of a long utterance in turns, while the window goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.asr import StreamingConfig, WhisperModel
from voice_daemon.asr.blocks import LAYER_GROUPS
from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.incremental_encoder import FRAME_SAMPLES, SilenceCache
from voice_daemon.asr.types import text_of
from voice_daemon.asr.window import FinalisedPrefix, Streamed, Window, slide_steps

NOTHING_STREAMED = Streamed(spoken=(), committed=(), draft=())


@pytest.fixture
def window(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> Window:
    """A window that holds the command three times."""
    window = Window(tiny, StreamingConfig(), silence=silence, greedy=GreedyDecoder(tiny))
    window.feed(np.tile(command_speech, 3))
    window.encode()
    return window


def turns(
    steps: Steps[FinalisedPrefix], between: Callable[[], object]
) -> tuple[FinalisedPrefix, int]:
    """Do all steps and something between them; also their number."""
    n_turns = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, n_turns
        n_turns += 1
        between()


@pytest.mark.slow  # dozens of decodes
def test_what_is_fed_meanwhile_changes_nothing_of_the_finalised_prefix(
    window: Window, command_speech: NDArray[np.float32]
) -> None:
    alone = at_once(slide_steps(window, NOTHING_STREAMED))

    turns_between = itertools.count()

    def go_on() -> None:
        window.feed(command_speech[:2000])
        window.encode()
        if next(turns_between) % 4 == 0:  # a decode costs more than all the rest
            assert window.decode().words

    with_context, n_turns = turns(slide_steps(window, NOTHING_STREAMED), go_on)
    assert n_turns >= 2 * LAYER_GROUPS
    assert (with_context.words, with_context.frame) == (alone.words, alone.frame)
    assert 1 <= text_of(alone.words).lower().count("kitchen") <= 2


def test_the_new_window_holds_all_that_was_not_finalised(
    window: Window, command_speech: NDArray[np.float32]
) -> None:
    prefix = at_once(slide_steps(window, NOTHING_STREAMED))
    n_kitchens = text_of(prefix.words).lower().count("kitchen")
    window.slide(prefix.frame, prefix.encoder)
    assert window.first_frame == prefix.frame
    assert window.n_samples == 3 * len(command_speech) - prefix.frame * FRAME_SAMPLES
    window.feed(command_speech)
    end_frame = window.encode()
    decoded = window.decode()
    assert end_frame == 4 * len(command_speech) // FRAME_SAMPLES - 1
    assert text_of(decoded.words).lower().count("kitchen") == 4 - n_kitchens
    assert all(prefix.frame <= word.frame < end_frame for word in decoded.words)
