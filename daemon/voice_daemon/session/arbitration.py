"""This device's part in the contests for wake words: from a detection to who answers it.

Holds back the session that may follow, so that it can begin as if nobody had waited, and
carries claims between `arbitration.WakeArbiter` and the other devices. Knows nothing of what a
session does, nor how claims travel.
"""

from __future__ import annotations

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

    opening: SessionStart
    detection: WakeDetection
    heard_to: int
    """End of the audio when the wake word was detected."""
    heard: list[NDArray[np.int16]] = field(default_factory=list)
    """The audio since, (n,) each."""


class PendingSession:
    """Takes part in one contest at a time; `now_sample` is the live input's clock."""

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
        self._candidate: HeldSession | None = None

    @property
    def is_waiting(self) -> bool:
        """True while it is open who answers."""
        return self._candidate is not None

    def listen(self) -> StoodDown | None:
        """Hear what others say; not None when the open session must be given up for another's."""
        for claim, age_s in self._peers.take():
            self._arbiter.hear(claim, now=self._now_sample() - ms_to_samples(age_s * 1000))
        return None if self.is_waiting else self._arbiter.stand_down()

    def enter(self, candidate: HeldSession) -> None:
        """Take part with a wake word just heard."""
        self._candidate = candidate
        claim = self._arbiter.enter(
            candidate.detection,
            session_id=candidate.opening.session_id,
            standing=self._peers.standing(),
            now=self._now_sample(),
        )
        self._tell(claim)

    def keep(self, samples: NDArray[np.int16]) -> None:
        """Hold back (n,) samples for the session that may be opened."""
        if self._candidate is not None:
            self._candidate.heard.append(samples)

    def decide(self) -> HeldSession | StoodDown | None:
        """Give the session to be opened, or to whom it was left; None while that is open.

        The others are told that it is taken before anything else is done: opening a session
        means computing, and each of them has a window that is running out.
        """
        candidate, now = self._candidate, self._now_sample()
        verdict = self._arbiter.verdict(now)
        if candidate is None or verdict is ElectionResult.OPEN:
            return None
        self._candidate = None
        if verdict is ElectionResult.WON:
            self._tell(self._arbiter.win(now))
            return candidate
        return self._arbiter.stand_down()

    def hold(self, detection: WakeDetection, *, session_id: str) -> None:
        """Tell the others that a wake word heard in a session of ours belongs to it."""
        if self._peers.standing() is Participation.FULL:
            self._tell(self._arbiter.hold(detection, session_id=session_id))

    def leave(self) -> None:
        """Take part no longer: the session is over, or will not be opened."""
        self._candidate = None
        self._arbiter.leave()

    def _tell(self, claim: Claim | None) -> None:
        if claim is not None:
            self._peers.tell(claim)
