"""Arbitration elects one of several devices to answer a wake word that they all heard.

Each device claims what it heard, waits a window for the others' claims, and answers when it
knows of none that ranks higher; then it says that the wake word is taken, which beats every
claim that is still open. What it knows can only make it stand down, so whatever is lost or
late, the highest of all claims is answered by somebody. A device whose own claim has not come
back to it by then waits for that, up to a second window: until then it may be its own messages
that are late. docs/adr/0008-arbitration.md has the reasons.

Pure: time is the live clock's sample index, given by the caller, and counts on one device
only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from voice_daemon.events import Claim, Stage, StoodDown, WakeDetection, ms_to_samples

SAME_WAKE_SAMPLES: Final = ms_to_samples(1000)
"""Detections of one utterance lie closer together than this: sound travels for at most some
30 ms, wake frames are 80 ms apart, and a distant device may take a few of them longer."""
KEPT_SAMPLES: Final = ms_to_samples(10_000)
"""Claims of others are kept for longer than any device may lag behind its microphone."""
MAX_HEARD: Final = 64
"""Claims of others that are remembered; a broker may carry anything."""
SCORE_DIGITS: Final = 4
"""A score is rounded once, before anyone compares it."""


class Participation(StrEnum):
    """A device's part in elections: whether it may claim a wake word, and is reached by others."""

    FULL = "full"
    SILENT = "silent"
    """It hears the others but does not trust itself: it claims nothing, and answers only what
    nobody else claims."""
    ALONE = "alone"
    """It cannot reach the others."""


class ElectionResult(StrEnum):
    """State of an election."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class PeerTransport(Protocol):
    """The way to the other devices."""

    def participation(self) -> Participation:
        """Return the say that this device has right now."""

    def send(self, claim: Claim) -> None:
        """Say something to the other devices, at once and without waiting."""

    def receive(self) -> Sequence[tuple[Claim, float]]:
        """Return what other devices said since the last call, and how many seconds ago."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Another device's claim, and its arrival here."""

    claim: Claim
    at_sample: int


@dataclass(frozen=True, slots=True)
class Election:
    """This device's own part in the election for one wake word."""

    claim: Claim
    participation: Participation
    detected_at: int
    """The end of the wake word in the audio: earlier than `entered_at` on a device that lags."""
    entered_at: int
    is_out: bool = False
    """True once our claim has come back from the broker: the others have it too."""
    won_at: int | None = None

    def outranks(self, claim: Claim) -> bool:
        """Tell whether our own claim goes before another."""
        return self.participation is not Participation.SILENT and self.claim.rank > claim.rank


def beaten_by(election: Election, heard: Iterable[Heard], *, window_samples: int) -> Claim | None:
    """Return the claim that beats an undecided election, or None.

    A claim counts from two windows before ours on: an older one has become a `taken` that is
    on its way here, or nothing. What is taken counts from when the wake word was spoken, so
    that a device which hears it late knows that it was answered.
    """
    for other in heard:
        if other.claim.stage is Stage.TAKEN:
            beats = election.detected_at - other.at_sample <= SAME_WAKE_SAMPLES
        else:
            is_fresh = election.entered_at - other.at_sample <= 2 * window_samples
            beats = is_fresh and not election.outranks(other.claim)
        if beats and other.claim.wake_word == election.claim.wake_word:
            return other.claim
    return None


def conceded_to(election: Election, heard: Iterable[Heard]) -> Claim | None:
    """Return the claim to which an election that was won must be given up after all, or None.

    Two devices answer when messages take too long or were lost. Each hears the other's
    `taken`, and the lower one gives way.
    """
    if election.won_at is None or election.participation is Participation.ALONE:
        return None
    for other in heard:
        if (
            other.claim.stage is Stage.TAKEN
            and abs(other.at_sample - election.won_at) <= SAME_WAKE_SAMPLES
            and other.claim.wake_word == election.claim.wake_word
            and not election.outranks(other.claim)
        ):
            return other.claim
    return None


class WakeArbiter:
    """One device's part in every election, one after the other."""

    def __init__(self, node_id: str, *, window_samples: int) -> None:
        self._node_id = node_id
        self._window_samples = window_samples
        self._heard: list[Heard] = []
        self._own_sessions: tuple[str, ...] = ()
        """Sessions that we claimed for. Another under our node id is a twin's: a rival like any."""
        self._election: Election | None = None

    def enter(
        self, detection: WakeDetection, *, session_id: str, participation: Participation, now: int
    ) -> Claim | None:
        """Take part for a wake word just heard; return what to say to the others, if anything."""
        claim = self._claim(Stage.CLAIM, detection, session_id)
        self._election = Election(claim, participation, detection.at_sample, entered_at=now)
        return claim if participation is Participation.FULL else None

    def hold(self, detection: WakeDetection, *, session_id: str) -> Claim:
        """Return what to say about a wake word heard while a session of ours is open."""
        return self._claim(Stage.TAKEN, detection, session_id)

    def receive(self, claim: Claim, *, now: int) -> None:
        """Take note of what a device said now, also of our own words that came back."""
        self._heard = [h for h in self._heard if h.at_sample >= now - KEPT_SAMPLES]
        is_ours = claim.node_id == self._node_id and claim.session_id in self._own_sessions
        if not is_ours:
            # Whatever comes over the broker, memory does not grow with it.
            self._heard = [*self._heard[1 - MAX_HEARD :], Heard(claim, now)]
        elif self._election is not None and claim == self._election.claim:
            # Our own word has made its way: the others have it by now.
            self._election = replace(self._election, is_out=True)

    def result(self, now: int) -> ElectionResult:
        """Tell how the election stands; one that is not entered is lost."""
        election = self._election
        if election is None:
            return ElectionResult.LOST
        if election.won_at is not None or election.participation is Participation.ALONE:
            return ElectionResult.WON
        if self._beaten_by(election) is not None:
            return ElectionResult.LOST
        is_overdue = election.participation is Participation.FULL and not election.is_out
        wait_samples = self._window_samples * (2 if is_overdue else 1)
        return (
            ElectionResult.WON if now >= election.entered_at + wait_samples else ElectionResult.OPEN
        )

    def win(self, now: int) -> Claim | None:
        """Answer the wake word; return what to say to the others, if anything."""
        if self._election is None:
            return None
        self._election = replace(self._election, won_at=now)
        if self._election.participation is not Participation.FULL:
            return None
        return replace(self._election.claim, stage=Stage.TAKEN)

    def stand_down(self) -> StoodDown | None:
        """Leave the wake word to whom it belongs, before or after winning; None if that is us."""
        election = self._election
        if election is None or election.participation is Participation.ALONE:
            return None
        winner = (
            self._beaten_by(election)
            if election.won_at is None
            else conceded_to(election, self._heard)
        )
        if winner is None:
            return None
        self._election = None
        return StoodDown(election.claim, winner)

    def leave(self) -> None:
        """Take part no longer: the session is over, or will not be opened."""
        self._election = None

    def _beaten_by(self, election: Election) -> Claim | None:
        return beaten_by(election, self._heard, window_samples=self._window_samples)

    def _claim(self, stage: Stage, detection: WakeDetection, session_id: str) -> Claim:
        if session_id not in self._own_sessions:
            self._own_sessions = (*self._own_sessions[1 - MAX_HEARD :], session_id)
        score = round(float(detection.score), SCORE_DIGITS)
        return Claim(stage, self._node_id, session_id, detection.wake_word, score)
