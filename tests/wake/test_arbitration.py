"""Who answers a wake word, whatever becomes of the devices' messages to each other."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_daemon.events import Claim, Stage, StoodDown, WakeDetection, ms_to_samples
from voice_daemon.wake.arbitration import (
    MAX_HEARD,
    SAME_WAKE_SAMPLES,
    ElectionResult,
    Participation,
    WakeArbiter,
)

WINDOW = ms_to_samples(150)
WORD = "hey_jarvis"
_MESSAGE, _DETECTION, _DEADLINE = range(3)


def detection(score: float = 0.9, *, at: int = 0) -> WakeDetection:
    return WakeDetection(WORD, score, at)


def claim(node: str, score: float, *, stage: Stage = Stage.CLAIM, word: str = WORD) -> Claim:
    return Claim(stage, node, f"session-{node}", word, score)


def enter(arbiter: WakeArbiter, score: float = 0.9, *, now: int = 0) -> None:
    """Take part, and have the claim back from the broker at once."""
    found = detection(score, at=now)
    said = arbiter.enter(found, session_id="s", participation=Participation.FULL, now=now)
    assert said is not None
    arbiter.receive(said, now=now)


def entered(
    score: float = 0.9,
    *,
    participation: Participation = Participation.FULL,
    heard: tuple[Claim, ...] = (),
) -> WakeArbiter:
    """A device `m` that hears others at sample -1 and its wake word at sample 0."""
    arbiter = WakeArbiter("m", window_samples=WINDOW)
    for other in heard:
        arbiter.receive(other, now=-1)
    if participation is Participation.FULL:
        enter(arbiter, score)
    else:
        arbiter.enter(detection(score), session_id="s", participation=participation, now=0)
    return arbiter


def test_a_device_that_hears_no_other_answers_when_the_window_ends() -> None:
    arbiter = entered()
    assert arbiter.result(WINDOW - 1) is ElectionResult.OPEN
    assert arbiter.result(WINDOW) is ElectionResult.WON


def test_a_device_whose_claim_does_not_come_back_waits_a_second_window() -> None:
    arbiter = WakeArbiter("m", window_samples=WINDOW)
    arbiter.enter(detection(), session_id="s", participation=Participation.FULL, now=0)
    assert arbiter.result(2 * WINDOW - 1) is ElectionResult.OPEN
    assert arbiter.result(2 * WINDOW) is ElectionResult.WON


def test_a_claim_that_comes_back_late_is_waited_for_no_longer() -> None:
    arbiter = WakeArbiter("m", window_samples=WINDOW)
    said = arbiter.enter(detection(), session_id="s", participation=Participation.FULL, now=0)
    assert said is not None
    arbiter.receive(said, now=WINDOW + 5)
    assert arbiter.result(WINDOW + 5) is ElectionResult.WON


def test_a_better_claim_is_left_to_its_device() -> None:
    arbiter = entered(0.9)
    arbiter.receive(claim("a", 0.95), now=10)
    assert arbiter.result(11) is ElectionResult.LOST
    down = arbiter.stand_down()
    assert down is not None
    assert (down.claim.score, down.winner.node_id) == (0.9, "a")


def test_a_lower_claim_changes_nothing() -> None:
    arbiter = entered(0.9)
    arbiter.receive(claim("z", 0.89), now=10)
    assert arbiter.result(WINDOW) is ElectionResult.WON


@pytest.mark.parametrize(
    ("other", "verdict"), [("a", ElectionResult.WON), ("z", ElectionResult.LOST)]
)
def test_of_equal_scores_the_later_name_answers(other: str, verdict: ElectionResult) -> None:
    arbiter = entered(0.9)
    arbiter.receive(claim(other, 0.9), now=10)
    assert arbiter.result(WINDOW) is verdict


def test_what_is_taken_stays_taken_whatever_the_score() -> None:
    arbiter = entered(0.99, heard=(claim("a", 0.1, stage=Stage.TAKEN),))
    assert arbiter.result(0) is ElectionResult.LOST


def test_the_claim_of_another_wake_word_is_no_rival() -> None:
    arbiter = entered(0.5, heard=(claim("a", 1.0, word="alexa"),))
    arbiter.receive(claim("b", 1.0, stage=Stage.TAKEN, word="alexa"), now=5)
    assert arbiter.result(WINDOW) is ElectionResult.WON


def test_our_own_echo_is_no_rival() -> None:
    arbiter = entered(0.5)
    arbiter.receive(replace(claim("m", 1.0), session_id="s"), now=5)
    assert arbiter.result(WINDOW) is ElectionResult.WON


def test_a_twin_under_our_node_id_is_a_rival_like_any() -> None:
    twin = claim("m", 1.0)
    arbiter = entered(0.5)
    arbiter.receive(twin, now=5)
    assert arbiter.result(WINDOW) is ElectionResult.LOST
    stood_down = arbiter.stand_down()
    assert stood_down is not None
    assert stood_down.winner == twin


def test_of_twins_with_equal_scores_one_answers() -> None:
    sessions = ("s1", "s2")
    arbiters = [WakeArbiter("m", window_samples=WINDOW) for _ in sessions]
    claims = [
        arbiter.enter(
            detection(0.9, at=0), session_id=session, participation=Participation.FULL, now=0
        )
        for arbiter, session in zip(arbiters, sessions, strict=True)
    ]
    for arbiter in arbiters:
        for one in claims:
            assert one is not None
            arbiter.receive(one, now=1)
    results = [arbiter.result(WINDOW) for arbiter in arbiters]
    assert results == [ElectionResult.LOST, ElectionResult.WON]


def test_a_claim_that_led_to_nothing_is_forgotten() -> None:
    arbiter = WakeArbiter("m", window_samples=WINDOW)
    arbiter.receive(claim("a", 1.0), now=0)
    enter(arbiter, now=2 * WINDOW + 1)
    assert arbiter.result(3 * WINDOW + 1) is ElectionResult.WON


def test_the_session_of_an_earlier_utterance_is_no_rival() -> None:
    arbiter = WakeArbiter("m", window_samples=WINDOW)
    arbiter.receive(claim("a", 1.0, stage=Stage.TAKEN), now=0)
    after = SAME_WAKE_SAMPLES + 1
    enter(arbiter, now=after)
    assert arbiter.result(after + WINDOW) is ElectionResult.WON


def test_a_device_that_cannot_reach_the_others_answers_at_once() -> None:
    assert entered(0.5, participation=Participation.ALONE).result(0) is ElectionResult.WON


def test_a_device_with_a_problem_claims_nothing_and_leaves_it_to_any_other() -> None:
    arbiter = WakeArbiter("m", window_samples=WINDOW)
    said = arbiter.enter(detection(1.0), session_id="s", participation=Participation.SILENT, now=0)
    assert said is None
    arbiter.receive(claim("a", 0.1), now=10)
    assert arbiter.result(10) is ElectionResult.LOST


def test_a_device_with_a_problem_answers_what_nobody_claims() -> None:
    arbiter = entered(participation=Participation.SILENT)
    assert arbiter.result(WINDOW) is ElectionResult.WON
    assert arbiter.win(WINDOW) is None


@pytest.mark.parametrize(("score", "gives_way"), [(0.8, False), (0.95, True)])
def test_of_two_devices_that_answer_the_lower_gives_way(score: float, *, gives_way: bool) -> None:
    arbiter = entered(0.9)
    arbiter.win(WINDOW)
    arbiter.receive(claim("z", score, stage=Stage.TAKEN), now=WINDOW + 100)
    assert (arbiter.stand_down() is not None) is gives_way


def test_a_late_claim_does_not_end_a_session() -> None:
    arbiter = entered(0.9)
    arbiter.win(WINDOW)
    arbiter.receive(claim("z", 1.0), now=WINDOW + 1)
    assert arbiter.stand_down() is None


def test_a_session_that_has_lasted_is_not_given_up_for_another_utterance() -> None:
    arbiter = entered(0.9)
    arbiter.win(WINDOW)
    late = WINDOW + SAME_WAKE_SAMPLES + 1
    arbiter.receive(claim("z", 1.0, stage=Stage.TAKEN), now=late)
    assert arbiter.stand_down() is None


def test_a_session_opened_without_the_others_is_kept() -> None:
    arbiter = entered(0.9, participation=Participation.ALONE)
    arbiter.win(0)
    arbiter.receive(claim("z", 1.0, stage=Stage.TAKEN), now=100)
    assert arbiter.stand_down() is None


def test_no_flood_of_claims_is_remembered() -> None:
    arbiter = entered(0.9)
    for number in range(10 * MAX_HEARD):
        arbiter.receive(claim(f"n{number}", 0.1), now=10)
    assert len(arbiter._heard) == MAX_HEARD
    assert arbiter.result(WINDOW) is ElectionResult.WON


def test_an_election_that_was_left_is_not_won() -> None:
    arbiter = entered()
    arbiter.leave()
    assert arbiter.result(WINDOW) is ElectionResult.LOST
    assert arbiter.win(WINDOW) is None


@dataclass(frozen=True, slots=True)
class Device:
    """One that hears the utterance: when, how well, and how long its messages take."""

    hears_at: int
    score: float
    delays: tuple[int, ...]
    lost: tuple[bool, ...] = (False,)
    lag: int = 0
    """How far it is behind its microphone when it hears, at most."""


class Peers:
    """Devices on a broker, and time."""

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices
        self.answered: list[int] = []
        self.stood_down: dict[int, StoodDown] = {}
        self._arbiters = [WakeArbiter(f"n{n}", window_samples=WINDOW) for n in range(len(devices))]
        self._waiting: set[int] = set()
        self._sent = [0] * len(devices)
        self._order = count()
        self._agenda: list[tuple[int, int, int, int, Claim | None]] = []
        """When, kind, order, to whom, and what is said. What arrives at the very end of a window
        still counts: of one moment, messages come before detections and deadlines."""

    def play(self) -> None:
        for number, device in enumerate(self.devices):
            self._plan(device.hears_at, _DETECTION, number)
        while self._agenda:
            now, kind, _, number, said = heapq.heappop(self._agenda)
            if said is not None:
                self._arbiters[number].receive(said, now=now)
            elif kind == _DETECTION:
                self._detect(number, now)
            self._decide(number, now)

    @property
    def lasting(self) -> list[int]:
        """Devices whose session went on."""
        return [number for number in self.answered if number not in self.stood_down]

    def _detect(self, number: int, now: int) -> None:
        device = self.devices[number]
        found = detection(device.score, at=max(0, now - device.lag))
        said = self._arbiters[number].enter(
            found, session_id=f"s{number}", participation=Participation.FULL, now=now
        )
        self._waiting.add(number)
        self._tell(number, said, now)
        self._plan(now + WINDOW, _DEADLINE, number)
        self._plan(now + 2 * WINDOW, _DEADLINE, number)

    def _decide(self, number: int, now: int) -> None:
        arbiter = self._arbiters[number]
        if number in self._waiting:
            verdict = arbiter.result(now)
            if verdict is ElectionResult.OPEN:
                return
            self._waiting.discard(number)
            if verdict is ElectionResult.WON:
                self.answered.append(number)
                self._tell(number, arbiter.win(now), now)
        down = arbiter.stand_down()
        if down is not None:
            self.stood_down[number] = down

    def _tell(self, sender: int, said: Claim | None, now: int) -> None:
        """Send to everybody, the sender too; each message has a fate of its own."""
        device = self.devices[sender]
        for to in range(len(self.devices)):
            n = self._sent[sender]
            self._sent[sender] += 1
            if not device.lost[n % len(device.lost)]:
                self._plan(now + device.delays[n % len(device.delays)], _MESSAGE, to, said)

    def _plan(self, at: int, kind: int, number: int, said: Claim | None = None) -> None:
        heapq.heappush(self._agenda, (at, kind, next(self._order), number, said))


def devices(
    *, skew_ms: int, delay_ms: float, lag_ms: float = 0, lossy: bool = False
) -> st.SearchStrategy[Peers]:
    delays = st.lists(st.integers(0, ms_to_samples(delay_ms)), min_size=1, max_size=9)
    lost = (
        st.lists(st.booleans(), min_size=1, max_size=9).map(tuple) if lossy else st.just((False,))
    )
    device = st.builds(
        Device,
        hears_at=st.integers(0, ms_to_samples(skew_ms + lag_ms)),
        lag=st.just(ms_to_samples(lag_ms)),
        score=st.integers(50, 100).map(lambda percent: percent / 100),
        delays=delays.map(tuple),
        lost=lost,
    )
    return st.lists(device, min_size=1, max_size=6).map(Peers)


@settings(max_examples=300)
@given(devices(skew_ms=1000, delay_ms=75))
def test_exactly_one_answers_when_messages_take_at_most_half_a_window(peers: Peers) -> None:
    peers.play()
    assert len(peers.answered) == 1
    assert len(peers.stood_down) == len(peers.devices) - 1


@settings(max_examples=300)
@given(devices(skew_ms=0, delay_ms=75, lag_ms=4000))
def test_exactly_one_answers_however_far_devices_lag(peers: Peers) -> None:
    peers.play()
    assert len(peers.answered) == 1


@settings(max_examples=300)
@given(devices(skew_ms=70, delay_ms=75))
def test_the_best_answers_when_all_hear_it_within_half_a_window(peers: Peers) -> None:
    peers.play()
    (winner,) = peers.answered
    best = max(range(len(peers.devices)), key=lambda n: (peers.devices[n].score, f"n{n}"))
    assert winner == best


@settings(max_examples=300)
@given(devices(skew_ms=300, delay_ms=500))
def test_one_session_lasts_when_messages_take_longer(peers: Peers) -> None:
    peers.play()
    assert len(peers.lasting) == 1


@settings(max_examples=300)
@given(devices(skew_ms=1000, delay_ms=2000, lossy=True))
def test_somebody_answers_to_the_end_whatever_is_lost_or_late(peers: Peers) -> None:
    peers.play()
    assert peers.lasting
