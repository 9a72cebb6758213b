"""From audio blocks to events: wake word, session, partials, final.

`Pipeline` owns the place in the audio, and decides what opens and ends a session. Pure but for its
parts: it knows nothing of threads, devices, networks or wall time, and one thread at a time may
call it.

Audio is processed in equal quanta, whatever the size of the blocks, so the same audio gives
the same events. The wake detector hears everything, also during a session, so that it is warm
afterwards; what it detects meanwhile is counted and ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from voice_daemon.audio.framer import Framer
from voice_daemon.audio.ring import RingBuffer
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import (
    AudioBlock,
    EndReason,
    ErrorRaised,
    Event,
    SessionEnded,
    SessionStarted,
    SpeechStarted,
    State,
    StateChanged,
    StoodDown,
    WakeDetected,
    WakeDetection,
    ms_to_samples,
)
from voice_daemon.session.arbitration import HeldSession, PendingSession
from voice_daemon.session.options import (
    Counters,
    PipelineOptions,
    Tally,
    Transcriber,
    TranscriberError,
    WakeWordDetector,
    transcribing,
)
from voice_daemon.session.session import Session, SessionContext, SessionStart
from voice_daemon.session.state import Cause, Trigger, next_state
from voice_daemon.wake.arbitration import PeerTransport

_LOSSES = {
    EndReason.MIC_LOST: (
        "the microphone was lost in the middle of a command",
        "check the microphone, then say it again",
    ),
    EndReason.OVERLOAD: (
        "recognition fell too far behind in the middle of a command",
        "choose a smaller asr.model or a longer asr.step_s, then say it again",
    ),
    EndReason.SHUTDOWN: (
        "the daemon stopped in the middle of a command",
        "say it again once the daemon runs",
    ),
}
"""Endings that lose a command against the speaker's will: what to say, and what to do."""


class SessionSlot:
    """Holds a session or none. What happens waits as events until it is `taken`."""

    def __init__(self, transcriber: Transcriber, tally: Tally) -> None:
        self._transcriber = transcriber
        self._tally = tally
        self._events: list[Event] = []
        self.state = State.IDLE
        self.session: Session | None = None
        self.last_fault: TranscriberError | None = None
        """The newest failure of the recogniser, with its cause."""

    @property
    def session_id(self) -> str | None:
        """The open session, if there is one."""
        return None if self.session is None else self.session.opening.session_id

    def open(self, session: Session) -> None:
        """Put a session in; there must be none."""
        opening = session.opening
        self._tally.add(sessions=1)
        self.session = session
        self.emit(SessionStarted(opening.session_id, opening.wake_word, opening.at_sample))
        self.move(Trigger.LISTEN if opening.wake_word is None else Trigger.WAKE)

    def pass_on(self, events: Iterable[Event]) -> None:
        """Emit what the session has to say."""
        for event in events:
            self.emit(event)
            if isinstance(event, SpeechStarted):
                self.move(Trigger.SPEECH)

    def close(self, reason: EndReason, *, heard_to: int) -> None:
        """End the session, if there is one, and let the recogniser forget it."""
        session, self.session = self.session, None
        if session is None:
            return
        session_id = session.opening.session_id
        if session.command_open and reason in _LOSSES:
            message, remedy = _LOSSES[reason]
            self.emit(ErrorRaised("session.command_lost", message, remedy, session_id))
        self._tally.add(finals=session.finals)
        self._tally.end(reason)
        self.emit(SessionEnded(session_id, reason, session.finals, heard_to))
        try:
            with transcribing():
                self._transcriber.reset()
        except TranscriberError as fault:
            self.report(fault)
        self.move(reason)

    def report(self, fault: TranscriberError) -> None:
        """Tell of a failure of the recogniser."""
        self.last_fault = fault
        self._tally.add(transcriber_faults=1)
        self.emit(ErrorRaised(fault.code, fault.message, fault.remedy, self.session_id))

    def move(self, cause: Cause) -> None:
        """Go to the state that follows; raises `TransitionError` when none does."""
        self.state = next_state(self.state, cause)
        self.emit(StateChanged(self.state))

    def emit(self, event: Event) -> None:
        """Add an event to those that wait."""
        self._events.append(event)

    def taken(self) -> list[Event]:
        """Give the events that wait, once."""
        events, self._events = self._events, []
        return events


__all__ = ["Counters", "Pipeline", "PipelineOptions"]


class Pipeline:
    """Turns audio and commands into events; every method returns those that it caused."""

    def __init__(
        self,
        *,
        wake: WakeWordDetector,
        vad: VoiceActivityDetector,
        transcriber: Transcriber,
        options: PipelineOptions,
        now_sample: Callable[[], int],
        new_session_id: Callable[[], str],
    ) -> None:
        """`now_sample`: the sample that a microphone would be delivering right now."""
        self._wake = wake
        self._new_session_id = new_session_id
        self._tally = Tally()
        self._around = SessionContext(
            ring=RingBuffer(ms_to_samples(options.history_ms())),
            vad=vad,
            transcriber=transcriber,
            options=options,
            now_sample=now_sample,
            tally=self._tally,
        )
        self._framer = Framer(max_gap_samples=ms_to_samples(options.max_gap_ms))
        self._slot = SessionSlot(transcriber, self._tally)
        self._contender: PendingSession | None = None
        self._heard_to = 0
        self._next_options: PipelineOptions | None = None

    @property
    def state(self) -> State:
        """Idle, listening, transcribing or muted."""
        return self._slot.state

    @property
    def session_id(self) -> str | None:
        """The open session, if there is one."""
        return self._slot.session_id

    @property
    def last_fault(self) -> TranscriberError | None:
        """The newest failure of the recogniser, with its cause, for the log."""
        return self._slot.last_fault

    @property
    def at_rest(self) -> bool:
        """True while no session is open, or may be about to be; any thread may ask."""
        contender = self._contender
        return self._slot.session is None and not (contender is not None and contender.is_waiting)

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        return replace(
            self._tally.counters,
            gaps=self._framer.gaps,
            lost_samples=self._framer.lost_samples,
        )

    def arbitrate(self, node_id: str, peers: PeerTransport) -> None:
        """Agree with other devices on who answers a wake word, from now on."""
        self._contender = PendingSession(
            node_id,
            peers,
            window_samples=ms_to_samples(self._around.options.arbitration_ms),
            now_sample=self._around.now_sample,
        )

    def feed(self, block: AudioBlock) -> list[Event]:
        """Take the next block of audio.

        A failure of the recogniser ends the session and is told by events; a failure of any
        other part ends the session and is raised, and the events come with the next call.
        """
        if self._slot.state is State.MUTED:
            self._framer.skip(block)
            return self._slot.taken()
        with self._closing_on_fault():
            if self._framer.take(block):
                self._start_afresh(block.first_sample)
        for frame in self._framer.frames():
            with self._closing_on_fault():
                self._hear(frame)
        return self._slot.taken()

    def listen(self) -> list[Event]:
        """Open a session without a wake word; nothing happens unless idle."""
        if self._slot.state is not State.IDLE:
            return self._slot.taken()
        if self._framer.position is None:
            self._slot.emit(
                ErrorRaised(
                    "session.no_input",
                    "there is no audio input to listen to",
                    "check the microphone: daemonctl status",
                )
            )
            return self._slot.taken()
        with self._closing_on_fault():
            self._withdraw()
            opening = SessionStart(session_id=self._new_session_id(), at_sample=self._heard_to)
            self._open(opening, heard_to=self._heard_to)
        return self._slot.taken()

    def cancel(self) -> list[Event]:
        """Drop the open session, without a final."""
        with self._closing_on_fault():
            self._close(EndReason.CANCELLED)
        return self._slot.taken()

    def mute(self) -> list[Event]:
        """Stop hearing, and forget all audio; drops the open session."""
        if self._slot.state is State.MUTED:
            return self._slot.taken()
        with self._closing_on_fault():
            if self._slot.session is None:
                self._slot.move(Trigger.MUTE)
            self._close(EndReason.MUTED)
        self._around.ring.clear()
        self._around.vad.reset()
        self._framer.forget()
        self._wake.reset(self._heard_to)
        return self._slot.taken()

    def unmute(self) -> list[Event]:
        """Hear again, from the next block on."""
        if self._slot.state is State.MUTED:
            self._slot.move(Trigger.UNMUTE)
            self._heard_to = self._framer.position or 0
            self._wake.reset(self._heard_to)
        return self._slot.taken()

    def lose_input(self) -> list[Event]:
        """Take note that the input is gone: the next block begins somewhere else."""
        with self._closing_on_fault():
            self._close(EndReason.MIC_LOST)
        self._framer.lose()
        return self._slot.taken()

    def shutdown(self) -> list[Event]:
        """End the open session: a command that was complete but for the hangover is kept."""
        self._withdraw()
        with self._closing_on_fault():
            if self._slot.session is not None:
                self._pass_on(self._slot.session, self._slot.session.stop())
        return self._slot.taken()

    def set_threshold(self, threshold: float) -> list[Event]:
        """Set the wake threshold, 0..1, from now on."""
        self._wake.threshold = threshold
        return self._slot.taken()

    def set_silence(self, silence_ms: float) -> list[Event]:
        """Set the silence that ends a command, from the next session on."""
        self._around = self._around.with_silence(silence_ms)
        return self._slot.taken()

    def set_options(self, options: PipelineOptions) -> list[Event]:
        """Govern by other numbers, from the next session on; the silence is set by itself."""
        self._next_options = options
        return self._slot.taken()

    def choose_wake_words(self, models: Sequence[str]) -> list[Event]:
        """Listen for other wake words from now on; raises, and changes nothing, if it cannot."""
        self._wake.choose(models)
        return self._slot.taken()

    def _hear(self, frame: AudioBlock) -> None:
        self._around.ring.push(frame)
        self._heard_to = self._around.ring.end_sample
        detections = self._wake.feed(frame.samples)
        contender = self._contender
        if contender is not None:
            self._give_way(contender.listen())
        session = self._slot.session
        if session is not None:
            self._tally.add(wakes_ignored=len(detections))
            if detections and contender is not None:
                contender.hold(detections[0], session_id=session.opening.session_id)
            self._pass_on(session, session.hear(frame.samples))
        elif contender is not None and contender.is_waiting:
            self._tally.add(wakes_ignored=len(detections))
            contender.keep(frame.samples)
            self._decide(contender)
        elif detections:
            self._tally.add(wakes=1, wakes_ignored=len(detections) - 1)
            self._wake_up(detections[0])

    def _wake_up(self, detection: WakeDetection) -> None:
        opening = SessionStart(
            session_id=self._new_session_id(),
            at_sample=detection.at_sample,
            wake_word=detection.wake_word,
            wake_phrase=self._wake.phrase(detection.wake_word),
        )
        candidate = HeldSession(opening, detection, heard_to=self._heard_to)
        if self._contender is None:
            self._admit(candidate)
        else:
            self._contender.enter(candidate)
            self._decide(self._contender)

    def _decide(self, contender: PendingSession) -> None:
        """Open the session that waits, or drop it, once it is certain who answers."""
        outcome = contender.decide()
        if isinstance(outcome, HeldSession):
            self._admit(outcome)
        else:
            self._give_way(outcome)

    def _give_way(self, stood_down: StoodDown | None) -> None:
        """Leave a wake word to another device, ending the session if it was opened."""
        if stood_down is not None:
            self._tally.add(stood_down=1)
            self._slot.emit(stood_down)
            self._close(EndReason.CANCELLED)

    def _admit(self, candidate: HeldSession) -> None:
        """Open a session as of its wake word, whatever was heard since."""
        opening, detection = candidate.opening, candidate.detection
        self._slot.emit(
            WakeDetected(
                opening.session_id, detection.wake_word, detection.score, detection.at_sample
            )
        )
        self._open(opening, heard_to=candidate.heard_to)
        for samples in candidate.heard:
            if self._slot.session is not None:
                self._pass_on(self._slot.session, self._slot.session.hear(samples))

    def _withdraw(self) -> None:
        """Drop the session that may have been about to be opened."""
        if self._contender is not None:
            self._contender.leave()

    def _adopt_options(self) -> None:
        """Take over what was set since the last session: an open one keeps its ring."""
        options, self._next_options = self._next_options, None
        if options is not None:
            self._around = self._around.governed_by(options)

    def _open(self, opening: SessionStart, *, heard_to: int) -> None:
        self._adopt_options()
        session = Session(opening, self._around, heard_to=heard_to)
        self._slot.open(session)
        self._pass_on(session, session.hear_history())

    def _pass_on(self, session: Session, events: Iterable[Event]) -> None:
        """Emit what a session has to say, and close it when it is over."""
        self._slot.pass_on(events)
        if session.over is not None:
            self._close(session.over)

    def _close(self, reason: EndReason) -> None:
        """End the open session, if there is one, and any that may have been about to be."""
        self._withdraw()
        self._slot.close(reason, heard_to=self._heard_to)

    def _start_afresh(self, first_sample: int) -> None:
        """Begin at a place in the input that does not continue the last one."""
        self._close(EndReason.MIC_LOST)
        self._around.ring.clear()
        self._heard_to = first_sample
        self._wake.reset(first_sample)

    @contextmanager
    def _closing_on_fault(self) -> Iterator[None]:
        """End the open session when a part fails; only the recogniser's failures stop here."""
        try:
            yield
        except TranscriberError as fault:
            self._slot.report(fault)
            self._close(EndReason.ERROR)
        except Exception:
            self._close(EndReason.ERROR)
            raise
