"""Several daemons, each a process with the real models, hear one speaker: who answers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Mosquitto, Seen, eventually
from tools.arbitration.__main__ import play
from tools.arbitration.record import Listener
from tools.arbitration.recordings import Scenario
from tools.arbitration.rig import ArbitrationRig

RECONNECTING = {
    "VOICE_DAEMON_MQTT__RECONNECT_MIN_S": "0.1",
    "VOICE_DAEMON_MQTT__RECONNECT_MAX_S": "1",
}


def loud_and_clear(tries: int, *, every_s: float = 5.5, skew_ms: float = 60) -> Scenario:
    """A speaker whom no device can miss."""
    return Scenario(
        tries, every_s=every_s, skew_ms=skew_ms, gains_db=(-4, 0), noises_dbfs=(-70, -60)
    )


def sessions(rig: ArbitrationRig, number: int) -> list[dict[str, Any]]:
    """The sessions of a device that were not given up for another's, from its log."""
    return [s for s in rig.logged(number, "session.done") if s["reason"] != "cancelled"]


@pytest.mark.slow  # the rules are in tests/wake/test_arbitration.py, the messages in tests/mqtt
def test_a_wake_word_gets_one_session_and_the_command_is_whole(tmp_path: Path) -> None:
    (only,) = play(tmp_path, loud_and_clear(1), n_devices=2, window_ms=400)
    assert len(only.lasting) == 1
    (final,) = only.finals
    assert "kitchen" in final.body["text"]
    assert {m.node for m in only.taken} >= {final.node}


@pytest.mark.slow
def test_without_a_broker_each_answers_alone(tmp_path: Path, broker: Mosquitto) -> None:
    broker.kill()
    with ArbitrationRig(tmp_path, broker.port, 2, loud_and_clear(1)) as rig:
        rig.begin()
        assert rig.end() == [1, 1], "messages that nobody got are no success"
        assert [len(sessions(rig, number)) for number in range(2)] == [1, 1]


@pytest.mark.slow  # message by message it is in tests/wake/test_arbitration.py
def test_a_broker_that_dies_in_the_window_leaves_nobody_without_an_answer(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """One try in whose window the broker dies, one without it, one after it is back."""
    scenario = loud_and_clear(3, every_s=10, skew_ms=0)

    class Assassin(Listener):
        """Kills the broker as soon as it hears a claim."""

        has_struck = threading.Event()

        def _on_message(self, client: Any, userdata: object, message: Any) -> None:
            if message.topic.startswith("voice/arbitration/") and not self.has_struck.is_set():
                broker.kill()
                self.has_struck.set()
            super()._on_message(client, userdata, message)

    witness = Assassin(broker.port)
    with ArbitrationRig(tmp_path, broker.port, 2, scenario, RECONNECTING) as rig:
        rig.begin()
        assert witness.has_struck.wait(60)
        witness.close()
        eventually(
            lambda: min(len(rig.logged(number, "wake.detected")) for number in range(2)) >= 1,
            "both answer by themselves",
        )
        eventually(
            lambda: sum(len(sessions(rig, number)) for number in range(2)) >= 3,
            "all sessions without a broker are over",
        )
        broker.start()
        listener = Listener(broker.port)
        rig.end()
        listener.wait("voice/n0/availability", b"offline")
        listener.wait("voice/n1/availability", b"offline")
        live: list[Seen] = [m for m in listener.seen if m.topic.startswith("voice/arbitration/")]
        listener.close()
    assert live, "they speak to each other again"
    ended = [session for number in range(2) for session in sessions(rig, number)]
    assert 4 <= len(ended) <= 5
