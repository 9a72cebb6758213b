"""A pending session waits for the election of the device that answers its wake word.

Holds the session and its audio back, so that it can begin as if nobody had waited, and carries
claims between `wake.arbitration.WakeArbiter` and the other devices.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import Claim, StoodDown, WakeDetection, ms_to_samples
from voice_daemon.session.session import SessionStart
from voice_daemon.wake.arbitration import ElectionResult, Participation, PeerTransport, WakeArbiter


@dataclass(slots=True)
class HeldSession:
    """A session that may be opened."""

    start: SessionStart
    detection: WakeDetection
    heard_to: int
    """End of the audio when the wake word was detected."""
    audio: list[NDArray[np.int16]] = field(default_factory=list)
    """The audio since, (n,) each."""


class PendingSession:
    """Takes part in one election at a time; `now_sample` is the live input's clock."""

    def __init__(
        self,
        node_id: str,
        peers: PeerTransport,
        *,
        window_samples: int,
        now_sample: Callable[[], int],
    ) -> None:
        self._peers = peers
        self._now_sample = now_sample
        self._arbiter = WakeArbiter(node_id, window_samples=window_samples)
        self._held: HeldSession | None = None

    @property
    def is_waiting(self) -> bool:
        """True while it is open who answers."""
        return self._held is not None

    def receive(self) -> StoodDown | None:
        """Receive claims; not None when the open session must be given up for another's."""
        for claim, age_s in self._peers.receive():
            self._arbiter.receive(claim, now=self._now_sample() - ms_to_samples(age_s * 1000))
        return None if self.is_waiting else self._arbiter.stand_down()

    def enter(self, held: HeldSession) -> None:
        """Take part with a wake word just heard."""
        self._held = held
        claim = self._arbiter.enter(
            held.detection,
            session_id=held.start.session_id,
            participation=self._peers.participation(),
            now=self._now_sample(),
        )
        self._send(claim)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Hold back (n,) samples for the session that may be opened."""
        if self._held is not None:
            self._held.audio.append(samples)

    def decide(self) -> HeldSession | StoodDown | None:
        """Give the session to be opened, or to whom it was left; None while that is open.

        The others are told that it is taken before anything else is done: opening a session
        means computing, and each of them has a window that is running out.
        """
        held, now = self._held, self._now_sample()
        result = self._arbiter.result(now)
        if held is None or result is ElectionResult.OPEN:
            return None
        self._held = None
        if result is ElectionResult.WON:
            self._send(self._arbiter.win(now))
            return held
        return self._arbiter.stand_down()

    def hold(self, detection: WakeDetection, *, session_id: str) -> None:
        """Tell the others that a wake word heard in a session of ours belongs to it."""
        if self._peers.participation() is Participation.FULL:
            self._send(self._arbiter.hold(detection, session_id=session_id))

    def leave(self) -> None:
        """Take part no longer: the session is over, or will not be opened."""
        self._held = None
        self._arbiter.leave()

    def _send(self, claim: Claim | None) -> None:
        if claim is not None:
            self._peers.send(claim)
