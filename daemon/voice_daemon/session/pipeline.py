"""The pipeline turns audio blocks and commands into events: wake word, session, partials, final.

`Pipeline` owns the place in the audio and the open session. Pure but for its parts: time is a
sample index, and one thread at a time may call it.

Audio is processed in equal frames, whatever the size of the blocks, so the same audio gives the
same events. The wake detector is fed during a session too, so that it is warm afterwards.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from voice_daemon.audio.framer import FRAME_SAMPLES, Framer
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
from voice_daemon.session.interfaces import (
    Transcriber,
    TranscriberError,
    WakeWordDetector,
    transcribing,
)
from voice_daemon.session.options import PipelineOptions
from voice_daemon.session.pending_session import HeldSession, PendingSession
from voice_daemon.session.session import Session, SessionContext, SessionStart
from voice_daemon.session.state import Cause, Trigger, next_state
from voice_daemon.wake.arbitration import PeerTransport
from voice_daemon.wake.speech_embedding import WAKE_FRAME_SAMPLES

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
"""Endings that lose a command against the speaker's will: message and remedy."""

__all__ = ["Pipeline", "PipelineOptions"]


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
        self.last_fault: TranscriberError | None = None
        """The newest failure of the recogniser, with its cause, for the log."""
        self._wake = wake
        self._new_session_id = new_session_id
        self._context = SessionContext(
            ring=RingBuffer(ms_to_samples(options.history_ms())),
            vad=vad,
            transcriber=transcriber,
            options=options,
            now_sample=now_sample,
        )
        self._framer = Framer(max_gap_samples=ms_to_samples(options.max_gap_ms))
        self._events: list[Event] = []
        self._state = State.IDLE
        self._session: Session | None = None
        self._pending: PendingSession | None = None
        self._heard_to = 0
        self._wake_from = 0
        """The first sample of the wake detector's first frame."""
        self._next_options: PipelineOptions | None = None

    @property
    def state(self) -> State:
        """Idle, listening, transcribing or muted."""
        return self._state

    @property
    def session_id(self) -> str | None:
        """The open session, if there is one."""
        return None if self._session is None else self._session.start.session_id

    @property
    def lost_samples(self) -> int:
        """Samples that the input never delivered."""
        return self._framer.lost_samples

    @property
    def at_rest(self) -> bool:
        """True while no session is open, or may be about to be; any thread may ask."""
        pending = self._pending
        return self._session is None and not (pending is not None and pending.is_waiting)

    @property
    def wanted_sample(self) -> int:
        """The input's sample before which there is nothing to do; 0: each block counts."""
        position = self._framer.position
        return 0 if position is None or not self.at_rest else position + self._grain()

    def arbitrate(self, node_id: str, peers: PeerTransport) -> None:
        """Agree with other devices on who answers a wake word, from now on."""
        self._pending = PendingSession(
            node_id,
            peers,
            window_samples=ms_to_samples(self._context.options.arbitration_ms),
            now_sample=self._context.now_sample,
        )

    def feed(self, block: AudioBlock) -> list[Event]:
        """Take the next block of audio.

        A failure of the recogniser ends the session and is told by events; a failure of any
        other part ends the session and is raised, and the events come with the next call.
        """
        if self._state is State.MUTED:
            self._framer.skip(block)
            return self._drain()
        self._wake.beside_own_sound = block.beside_own_sound
        with self._closing_on_fault():
            if self._framer.take(block):
                self._start_afresh(block.first_sample)
        while (frame := self._framer.next_frame(self._grain())) is not None:
            with self._closing_on_fault():
                self._feed_frame(frame)
        return self._drain()

    def listen(self) -> list[Event]:
        """Open a session without a wake word; nothing happens unless idle."""
        if self._state is not State.IDLE:
            return self._drain()
        if self._framer.position is None:
            self._emit(
                ErrorRaised(
                    "session.no_input",
                    "there is no audio input to listen to",
                    "check the microphone: `daemonctl status`",
                )
            )
            return self._drain()
        with self._closing_on_fault():
            self._withdraw()
            start = SessionStart(session_id=self._new_session_id(), at_sample=self._heard_to)
            self._open(start, heard_to=self._heard_to)
        return self._drain()

    def cancel(self) -> list[Event]:
        """Drop the open session, without a final."""
        with self._closing_on_fault():
            self._close(EndReason.CANCELLED)
        return self._drain()

    def mute(self) -> list[Event]:
        """Stop hearing, and forget all audio; drops the open session."""
        if self._state is State.MUTED:
            return self._drain()
        with self._closing_on_fault():
            if self._session is None:
                # With one open, its end does this: `muted` is a reason to end, too.
                self._move(Trigger.MUTE)
            self._close(EndReason.MUTED)
        self._context.ring.clear()
        self._context.vad.reset()
        self._framer.forget()
        self._wake.reset(self._heard_to)
        return self._drain()

    def unmute(self) -> list[Event]:
        """Hear again, from the next block on."""
        if self._state is State.MUTED:
            self._move(Trigger.UNMUTE)
            self._heard_to = self._framer.position or 0
            self._reset_wake(self._heard_to)
        return self._drain()

    def lose_input(self) -> list[Event]:
        """Take note that the input is gone: the next block begins somewhere else."""
        with self._closing_on_fault():
            self._close(EndReason.MIC_LOST)
        self._framer.lose()
        return self._drain()

    def shutdown(self) -> list[Event]:
        """End the open session: a command that was complete but for the hangover is kept."""
        self._withdraw()
        with self._closing_on_fault():
            if self._session is not None:
                self._emit_from(self._session, self._session.stop())
        return self._drain()

    def set_thresholds(self, thresholds: Mapping[str, float]) -> list[Event]:
        """Set the wake words' thresholds, 0..1, from now on."""
        self._wake.thresholds = thresholds
        return self._drain()

    def set_silence(self, silence_ms: float) -> list[Event]:
        """Set the silence that ends a command, from the next session on."""
        self._context = self._context.with_silence(silence_ms)
        return self._drain()

    def set_options(self, options: PipelineOptions) -> list[Event]:
        """Apply new options from the next session on; `silence_ms` is set separately."""
        self._next_options = options
        return self._drain()

    def choose_wake_words(self, models: Sequence[str]) -> list[Event]:
        """Listen for other wake words from now on; raises, and changes nothing, if it cannot."""
        self._wake.choose(models)
        return self._drain()

    def _grain(self) -> int:
        """Return the samples to process next: at rest, up to where a wake word may be detected."""
        position = self._framer.position
        if position is None or self._pending is not None or not self.at_rest:
            return FRAME_SAMPLES
        return WAKE_FRAME_SAMPLES - (position - self._wake_from) % WAKE_FRAME_SAMPLES

    def _feed_frame(self, frame: AudioBlock) -> None:
        # First of all: a session that this frame opens reads back to before its wake word.
        self._context.ring.push(frame)
        self._heard_to = self._context.ring.end_sample
        heard = self._wake.feed(frame.samples)
        detections = [detection for detection in heard if detection.is_sure]
        pending = self._pending
        if pending is not None:
            self._give_way(pending.receive())
        session = self._session
        if session is not None:
            if detections and pending is not None:
                pending.hold(detections[0], session_id=session.start.session_id)
            self._emit_from(session, session.feed(frame.samples))
            if detections and session.over is None:
                phrase = self._wake.phrase(detections[0].wake_word)
                session.restart(detections[0].at_sample, wake_phrase=phrase)
        elif pending is not None and pending.is_waiting:
            pending.feed(frame.samples)
            self._decide(pending)
        elif detections and not detections[0].is_repeat:
            self._wake_up(detections[0])
        elif heard and not detections and self._is_read(heard[0]):
            self._wake_up(heard[0])

    def _wake_up(self, detection: WakeDetection) -> None:
        start = SessionStart(
            session_id=self._new_session_id(),
            at_sample=detection.at_sample,
            wake_word=detection.wake_word,
            wake_phrase=self._wake.phrase(detection.wake_word),
        )
        held = HeldSession(start, detection, heard_to=self._heard_to)
        if self._pending is None:
            self._admit(held)
        else:
            self._pending.enter(held)
            self._decide(self._pending)

    def _is_read(self, detection: WakeDetection) -> bool:
        """Have the recogniser look for a wake word that its score alone does not prove."""
        context = self._context
        start = self._heard_to - ms_to_samples(context.options.verify_ms)
        with transcribing():
            context.transcriber.start(wake_phrase=None)
            try:
                context.transcriber.feed(context.ring.read(start, self._heard_to))
                logprob = context.transcriber.phrase_logprob(self._wake.phrase(detection.wake_word))
            finally:
                # The session that may follow starts with the same recogniser.
                context.transcriber.reset()
        return logprob >= detection.least_logprob

    def _decide(self, pending: PendingSession) -> None:
        """Open the session that waits, or drop it, once it is certain who answers."""
        outcome = pending.decide()
        if isinstance(outcome, HeldSession):
            self._admit(outcome)
        else:
            self._give_way(outcome)

    def _give_way(self, stood_down: StoodDown | None) -> None:
        """Leave a wake word to another device, ending the session if it was opened."""
        if stood_down is not None:
            self._emit(stood_down)
            self._close(EndReason.CANCELLED)

    def _admit(self, held: HeldSession) -> None:
        """Open a session as of its wake word, and feed it the audio since."""
        start, detection = held.start, held.detection
        self._emit(
            WakeDetected(
                start.session_id,
                detection.wake_word,
                detection.score,
                detection.at_sample,
                verified=not detection.is_sure,
            )
        )
        self._open(start, heard_to=held.heard_to)
        for samples in held.audio:
            if self._session is not None:
                self._emit_from(self._session, self._session.feed(samples))

    def _withdraw(self) -> None:
        """Drop the session that may have been about to be opened."""
        if self._pending is not None:
            self._pending.leave()

    def _adopt_options(self) -> None:
        """Take over the options set since the last session; that one kept its ring to its end."""
        options, self._next_options = self._next_options, None
        if options is not None:
            self._context = self._context.with_options(options)

    def _open(self, start: SessionStart, *, heard_to: int) -> None:
        self._adopt_options()
        session = self._session = Session(start, self._context, heard_to=heard_to)
        self._emit(SessionStarted(start.session_id, start.wake_word, start.at_sample))
        self._move(Trigger.LISTEN if start.wake_word is None else Trigger.WAKE)
        self._emit_from(session, session.feed_history())

    def _emit_from(self, session: Session, events: Iterable[Event]) -> None:
        """Emit a session's events, and close it when it is over."""
        for event in events:
            self._emit(event)
            # Not again for a command that is begun anew in the same session.
            if isinstance(event, SpeechStarted) and self._state is State.LISTENING:
                self._move(Trigger.SPEECH)
        if session.over is not None:
            self._close(session.over)

    def _close(self, reason: EndReason) -> None:
        """End the open session, if there is one, and any that may have been about to be."""
        self._withdraw()
        # Taken out first: a recogniser that fails below must not find it open again.
        session, self._session = self._session, None
        if session is None:
            return
        session_id = session.start.session_id
        if session.command_open and reason in _LOSSES:
            message, remedy = _LOSSES[reason]
            self._emit(ErrorRaised("session.command_lost", message, remedy, session_id))
        self._emit(SessionEnded(session_id, reason, session.finals, self._heard_to))
        try:
            with transcribing():
                self._context.transcriber.reset()
        except TranscriberError as fault:
            self._report(fault)
        self._move(reason)

    def _start_afresh(self, first_sample: int) -> None:
        """Begin at a place in the input that does not continue the last one."""
        self._close(EndReason.MIC_LOST)
        self._context.ring.clear()
        self._heard_to = first_sample
        self._reset_wake(first_sample)

    def _reset_wake(self, first_sample: int) -> None:
        self._wake.reset(first_sample)
        self._wake_from = first_sample

    @contextmanager
    def _closing_on_fault(self) -> Iterator[None]:
        """End the open session when a part fails; only the recogniser's failures stop here."""
        try:
            yield
        except TranscriberError as fault:
            self._report(fault)
            self._close(EndReason.ERROR)
        except Exception:
            self._close(EndReason.ERROR)
            raise

    def _report(self, fault: TranscriberError) -> None:
        self.last_fault = fault
        self._emit(ErrorRaised(fault.code, fault.message, fault.remedy, self.session_id))

    def _move(self, cause: Cause) -> None:
        """Go to the state that follows; raises `TransitionError` when none does."""
        self._state = next_state(self._state, cause)
        self._emit(StateChanged(self._state))

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _drain(self) -> list[Event]:
        """Give the events that wait, once."""
        events, self._events = self._events, []
        return events
