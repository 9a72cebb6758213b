"""The model thread: builds the models, reads the input, feeds the pipeline.

Models live and die on this thread (MLX streams belong to the thread that made them). Events
leave through the publisher, and requests come in through `submit`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

import structlog

from voice_daemon.audio.file import FileReplay
from voice_daemon.audio.input import AudioInput, InputBack, InputLost
from voice_daemon.audio.level import FAINT_DBFS
from voice_daemon.config import Settings
from voice_daemon.errors import Problem, VoiceDaemonError, crash
from voice_daemon.events import AudioBlock, ErrorRaised, Event, TranscriptFinal
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.runtime.microphone_watch import MICROPHONE_PROBLEMS, MicrophoneWatch
from voice_daemon.runtime.vocabulary_keeper import Learned, LearningJob, VocabularyAtWork
from voice_daemon.session.interfaces import TranscriberError
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline
from voice_daemon.session.recorder import SessionRecorder
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.session.transcription import TranscriptionService
from voice_daemon.vocabulary.document import Document


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """Something to do between two blocks; `done` is called afterwards."""

    act: Callable[[Pipeline], list[Event]]
    done: Callable[[], None]


class RequestQueue:
    """Requests in order; callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[str | int, WorkRequest] = {}
        self._numbers = count()

    def put(self, request: WorkRequest, *, instead_of: str | None = None) -> None:
        """Take a request in at the end, in the place of any that waits under the same name."""
        with self._lock:
            key = next(self._numbers) if instead_of is None else instead_of
            self._requests.pop(key, None)
            self._requests[key] = request

    def take_all(self) -> tuple[WorkRequest, ...]:
        """Give what is there now, in order; what comes meanwhile waits for the next turn."""
        with self._lock:
            requests = tuple(self._requests.values())
            self._requests.clear()
            return requests


log = structlog.get_logger()

FAINT_ALARMS: Final = 10
"""Multiplies `silence_alarm_s`: sound too faint to hear anything in is told much later."""
FAINT_REMEDY: Final = (
    "look for a mute switch on the microphone, or raise the input's volume: `daemonctl test-mic`"
)
READ_TIMEOUT_S: Final = 0.1
"""Longest wait of a request while there is no audio."""
BETWEEN_TURNS_S: Final = 0.001
"""The same while somebody else has something to compute."""
FAULTS_BEFORE_RESTART: Final = 2
"""Sessions in a row that the recogniser fails before the process is given up."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The models at work; to be used on the thread that built it."""

    pipeline: Pipeline
    transcriber: TimedTranscriber
    wake_problem: Problem | None
    """The reason why the wake words cannot be trusted; None when they passed their self-test."""
    asr_self_test: str = "pass"
    """See `AsrStatus.self_test`."""
    wake_scores: Callable[[], Mapping[str, float]] = dict
    """The wake words' newest scores, 0..1."""
    transcriptions: TranscriptionService | None = None
    """The recogniser for clients other than the microphone, by turns of the `scheduler`."""
    tune: Callable[[Settings], None] = lambda _: None
    """Take over the numbers that govern sessions and the wake word's gate."""
    recorder: SessionRecorder | None = None
    """Keeps the sound of sessions; None when nothing is to be kept."""
    vocabulary: VocabularyAtWork | None = None
    """Makes the home's names ready; None for a recogniser that cannot use them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The worker's end: with `error`, or because it was done or told to."""

    error: VoiceDaemonError | None = None


class Worker:
    """Runs until told to stop, until a replayed file is over, or until something fails.

    `silence_alarm_s`: digital silence that raises `mic.silent`; None for a file, which may be
    silent. `before_opening` is called when the models are warm, `on_scores` with the wake words'
    scores after each block, and `on_end` last.
    `without_echo` takes the sound of the own speaker out of a block, or holds it back: None.
    `scheduler`: others who compute with these models, a step whenever no audio waits to be heard.
    `microphone` knows what keeps sound away from one. Where `build` gives None, in safe mode
    without a recogniser, the input stays closed and the worker waits to be told to stop.
    """

    def __init__(
        self,
        *,
        build: Callable[[], Engine | None],
        audio_input: AudioInput,
        publisher: Publisher,
        silence_alarm_s: float | None,
        replay: FileReplay | None,
        before_opening: Callable[[], None],
        on_end: Callable[[Outcome], None],
        scheduler: RoundRobin | None = None,
        without_echo: Callable[[AudioBlock], AudioBlock | None] = lambda block: block,
        microphone: MicrophoneWatch | None = None,
        on_scores: Callable[[Mapping[str, float]], None] = lambda _: None,
    ) -> None:
        self.lost_samples = 0
        """Samples that the input never delivered, as of the last block."""
        self.engine_ready = False
        self.asr_self_test = "pending"
        self.beat_s = time.monotonic()
        """When the worker was last seen alive, on the monotonic clock."""
        self._build = build
        self._audio_input = audio_input
        self._publisher = publisher
        self.silence_alarm_s = silence_alarm_s
        """May be set at any time."""
        self.microphone = microphone or MicrophoneWatch()
        """The microphone's permission and its silence."""
        self._replay = replay
        self._before_opening = before_opening
        self._on_end = on_end
        self._scheduler = scheduler or RoundRobin()
        self._without_echo = without_echo
        self._on_scores = on_scores
        self._requests = RequestQueue()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._engine: Engine | None = None
        self._learning: LearningJob | None = None
        self._faults_in_a_row = 0
        self._faint_told = False
        self._last_fault: TranscriberError | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(
        self,
        act: Callable[[Pipeline], list[Event]],
        *,
        done: Callable[[], None] = lambda: None,
        instead_of: str | None = None,
    ) -> None:
        """Have something done between two blocks; returns at once.

        `instead_of`: a name under which only the newest of those that wait is done.
        """
        self._requests.put(WorkRequest(act, done), instead_of=instead_of)

    def tune(self, settings: Settings) -> None:
        """Have the engine take over other numbers; returns at once."""

        def act(_pipeline: Pipeline) -> list[Event]:
            if self._engine is not None:
                self._engine.tune(settings)
            return []

        self.submit(act, instead_of="tune")

    def learn(self, document: Document | None, learned: Learned) -> None:
        """Have the home's names made ready in idle moments; returns at once.

        Those that are still being made ready are dropped, and their `learned` never called.
        """

        def act(pipeline: Pipeline) -> list[Event]:
            if self._learning is not None:
                self._scheduler.remove(self._learning)
                self._learning.drop()
                self._learning = None
            if self._engine is not None and self._engine.vocabulary is not None:
                steps = self._engine.vocabulary.learning(document)
                self._learning = LearningJob(
                    steps, at_rest=lambda: pipeline.at_rest, learned=learned
                )
                self._scheduler.add(self._learning)
            return []

        self.submit(act, instead_of="learn")

    def stop(self, timeout_s: float) -> bool:
        """Ask it to finish, and wait; False when it is still busy then."""
        self._stopping.set()
        return self._ended.wait(timeout_s)

    def _run(self) -> None:
        """Run the thread; the one place where every failure ends."""
        outcome = Outcome()
        try:
            self._work()
        except VoiceDaemonError as error:
            log.error("worker.failed", code=error.code, problem=error.message)  # noqa: TRY400 - an error with a remedy needs no traceback
            outcome = Outcome(error)
        except Exception as error:
            log.exception("worker.crashed")
            outcome = Outcome(crash(error))
        finally:
            self._on_end(outcome)
            self._ended.set()
            # Never let the thread go. MLX's thread-local destructors want the interpreter, and
            # abort the process when they run while that is shutting down.
            threading.Event().wait()

    def _work(self) -> None:
        self._engine = engine = self._build()
        if engine is None:
            self._idle()
            return
        self.beat_s = time.monotonic()  # however long that took, it does not hang
        self.asr_self_test = engine.asr_self_test
        self.engine_ready = True
        if engine.wake_problem is not None:
            self._publisher.raise_problem("wake.self_test", engine.wake_problem)
        self._before_opening()
        self._handle_requests(engine)
        while self._learning is not None and self._learning.due:
            # Nothing is heard yet: names that are known need not wait for idle moments.
            self._learning.step()
        try:
            self._open(engine)
            while not self._is_over(engine.pipeline):
                self.beat_s = time.monotonic()
                self._handle_requests(engine)
                self._feed(engine)
        finally:
            self._publish(engine, engine.pipeline.shutdown())

    def _idle(self) -> None:
        """Keep a daemon without a recogniser up: it says so, and does nothing."""
        self._publisher.ready()
        while not self._stopping.wait(READ_TIMEOUT_S):
            self.beat_s = time.monotonic()
            for request in self._requests.take_all():
                request.done()

    def _open(self, engine: Engine) -> None:
        """Open the input; without one the daemon is up, says so, and waits for it."""
        if self._replay is None:
            self.microphone.opening()
        lost = self._audio_input.open()
        if lost is None:
            self._publisher.input_changed(self._audio_input.device)
        else:
            self._lose(engine, lost)
            self._publisher.ready()

    def _is_over(self, pipeline: Pipeline) -> bool:
        if self._stopping.is_set():
            return True
        return self._replay is not None and self._replay.is_over(
            session_open=pipeline.session_id is not None
        )

    def _handle_requests(self, engine: Engine) -> None:
        for request in self._requests.take_all():
            self._publish(engine, request.act(engine.pipeline))
            request.done()

    def _feed(self, engine: Engine) -> None:
        """Wait for what the input delivers next, and pass it on."""
        timeout_s = BETWEEN_TURNS_S if self._scheduler.due else READ_TIMEOUT_S
        match self._audio_input.read(timeout_s, wanted_sample=engine.pipeline.wanted_sample):
            case None:
                self._scheduler.step()
            case AudioBlock() as block:
                self._hear(engine, block)
                self._on_scores(engine.wake_scores())
                self._publisher.clear_problem("mic.lost")  # not before it delivers
                self._publisher.ready()
                self._watch_microphone(engine)
            case InputLost() as lost:
                self._lose(engine, lost)
            case InputBack(device):
                log.info("input.back", device=device)
                self._publisher.input_changed(device)

    def _hear(self, engine: Engine, block: AudioBlock) -> None:
        """Pass on what was heard, less what is being played."""
        heard = self._without_echo(block)
        if heard is not None:
            if engine.recorder is not None:
                engine.recorder.feed(heard)
            self._publish(engine, engine.pipeline.feed(heard))

    def _lose(self, engine: Engine, lost: InputLost) -> None:
        log.warning("input.lost", reason=lost.message)
        self._publish(engine, engine.pipeline.lose_input())
        for code in MICROPHONE_PROBLEMS:
            self._publisher.clear_problem(code)
        self._publisher.raise_problem("mic.lost", Problem("mic", lost.message, lost.remedy))

    def _watch_microphone(self, engine: Engine) -> None:
        """Tell what keeps sound away, and open the input anew where that may bring it."""
        alarm_s = self.silence_alarm_s
        if alarm_s is None:
            return
        found = self.microphone.look(self._audio_input.silence.silent_s, alarm_s=alarm_s)
        for code in MICROPHONE_PROBLEMS:
            self._publisher.set_problem(code, found.problems.get(code))
        if found.reopen and engine.pipeline.at_rest:
            lost = self._audio_input.reopen()
            if lost is not None:
                self._lose(engine, lost)
        if not found.problems:
            self._warn_of_faint_input(alarm_s)

    def _warn_of_faint_input(self, alarm_s: float) -> None:
        """Warn once that nothing can be heard: a quiet night is no fault, so it is no problem."""
        faint_s = self._audio_input.silence.faint_s
        if faint_s < FAINT_ALARMS * alarm_s:
            self._faint_told = self._faint_told and faint_s > 0
        elif not self._faint_told:
            self._faint_told = True
            message = f"nothing louder than {FAINT_DBFS:g} dBFS for {faint_s:.0f} s; is it muted?"
            log.warning("mic.faint", reason=message, remedy=FAINT_REMEDY)
            self._publisher.error(ErrorRaised("mic.faint", message, FAINT_REMEDY))

    def _publish(self, engine: Engine, events: list[Event]) -> None:
        """Publish events; raises when the recogniser fails again and again."""
        pipeline = engine.pipeline
        self._publisher.events(events, engine.transcriber.take)
        if engine.recorder is not None:
            engine.recorder.follow(events)
        self.lost_samples = pipeline.lost_samples
        # A text was read, so the recogniser works: only faults in a row end the process.
        if any(isinstance(event, TranscriptFinal) for event in events):
            self._faults_in_a_row = 0
        fault = pipeline.last_fault
        # The pipeline keeps its last fault: the same object was counted already.
        if fault is None or fault is self._last_fault:
            return
        self._last_fault = fault
        self._faults_in_a_row += 1
        log.error("asr.failed", exc_info=fault)
        if self._faults_in_a_row >= FAULTS_BEFORE_RESTART:
            self._faults_in_a_row = 0
            raise fault
