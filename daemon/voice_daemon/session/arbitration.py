"""This device's part in the contests for wake words: from a detection to who answers it.

Holds back the session that may follow, so that it can begin as if nobody had waited, and
carries claims between `arbitration.Arbiter` and the other devices. Knows nothing of what a
session does, nor how claims travel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voice_daemon.events import ms_to_samples
from voice_daemon.wake.arbitration import Arbiter, Standing, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from voice_daemon.events import Claim, StoodDown, WakeDetection
    from voice_daemon.session.session import Opening
    from voice_daemon.wake.arbitration import Rivals


@dataclass(slots=True)
class Candidate:
    """A session that may be opened."""

    opening: Opening
    detection: WakeDetection
    heard_to: int
    """End of the audio when the wake word was detected."""
    heard: list[NDArray[np.int16]] = field(default_factory=list)
    """The audio since, (n,) each."""


class Contender:
    """Takes part in one contest at a time; `now_sample` is the live input's clock."""

    def __init__(
        self,
        node_id: str,
        rivals: Rivals,
        *,
        window_samples: int,
        now_sample: Callable[[], int],
    ) -> None:
        self._rivals = rivals
        self._now_sample = now_sample
        self._arbiter = Arbiter(node_id, window_samples=window_samples)
        self._candidate: Candidate | None = None

    @property
    def is_waiting(self) -> bool:
        """True while it is open who answers."""
        return self._candidate is not None

    def listen(self) -> StoodDown | None:
        """Hear what others say; not None when the open session must be given up for another's."""
        for claim, age_s in self._rivals.take():
            self._arbiter.hear(claim, now=self._now_sample() - ms_to_samples(age_s * 1000))
        return None if self.is_waiting else self._arbiter.stand_down()

    def enter(self, candidate: Candidate) -> None:
        """Take part with a wake word just heard."""
        self._candidate = candidate
        claim = self._arbiter.enter(
            candidate.detection,
            session_id=candidate.opening.session_id,
            standing=self._rivals.standing(),
            now=self._now_sample(),
        )
        self._tell(claim)

    def keep(self, samples: NDArray[np.int16]) -> None:
        """Hold back (n,) samples for the session that may be opened."""
        if self._candidate is not None:
            self._candidate.heard.append(samples)

    def decide(self) -> Candidate | StoodDown | None:
        """Give the session to be opened, or to whom it was left; None while that is open.

        The others are told that it is taken before anything else is done: opening a session
        means computing, and each of them has a window that is running out.
        """
        candidate, now = self._candidate, self._now_sample()
        verdict = self._arbiter.verdict(now)
        if candidate is None or verdict is Verdict.OPEN:
            return None
        self._candidate = None
        if verdict is Verdict.WON:
            self._tell(self._arbiter.win(now))
            return candidate
        return self._arbiter.stand_down()

    def hold(self, detection: WakeDetection, *, session_id: str) -> None:
        """Tell the others that a wake word heard in a session of ours belongs to it."""
        if self._rivals.standing() is Standing.FULL:
            self._tell(self._arbiter.hold(detection, session_id=session_id))

    def leave(self) -> None:
        """Take part no longer: the session is over, or will not be opened."""
        self._candidate = None
        self._arbiter.leave()

    def _tell(self, claim: Claim | None) -> None:
        if claim is not None:
            self._rivals.tell(claim)
