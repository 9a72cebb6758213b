"""An Assist satellite for Home Assistant, by its Wyoming integration.

Home Assistant connects to two services of ours: a `satellite`, which asks for a pipeline run, and
speech, from which the pipeline's speech-to-text stage takes the text that is known already.
So each final runs Home Assistant's own pipeline, in the area of the device, with its agent and to
the speech of its answer. (Two services: it makes no recogniser of one that is a satellite too.)

A command is handed out once, to the Home Assistant that runs the satellite, and never after its
life. Runs on a thread of its own; any thread may call it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Final

import structlog
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.snd import Played
from wyoming.tts import Synthesize
from wyoming.wake import Detection

from voice_daemon.config import Settings
from voice_daemon.errors import VoiceDaemonError, WyomingError
from voice_daemon.events import LANGUAGES, SAMPLE_RATE, ErrorRaised, TranscriptFinal
from voice_daemon.homeassistant.advertising import advertised
from voice_daemon.homeassistant.answers import Answers
from voice_daemon.homeassistant.commands import (
    DUPLICATE,
    SENT,
    SETTLED,
    WAITING,
    PipelineCommand,
    not_run,
    unconfirmed,
)
from voice_daemon.homeassistant.discovery import device_name
from voice_daemon.homeassistant.services import (
    SatelliteOptions,
    satellite_info,
    speech_info,
    synthesised,
)
from voice_daemon.homeassistant.timers import Timers
from voice_daemon.wyoming import framing

log = structlog.get_logger()

HANDLED_BY: Final = "satellite"
"""What a final says of itself when its pipeline runs here."""
MAX_CLIENTS: Final = 8
MAX_WAITING: Final = 8
"""Commands in a row that Home Assistant has not asked for yet."""
ANSWER_S: Final = 10.0
"""From the text to the end of the pipeline; then the next command is not held up any longer."""
IDLE_S: Final = 15.0
"""Home Assistant pings every two seconds; who is silent for so long is gone."""
WAKE_COOLDOWN_S: Final = 2.0
"""Within less Home Assistant takes a wake word for one that a second satellite heard, too."""
OVERDUE_S: Final = 1.0
"""How often timers are looked at."""
_SILENCE: Final = bytes(SAMPLE_RATE // 10 * 2)
"""0.1 s: the pipeline wants some sound to begin with."""


def satellite_of(
    settings: Settings,
    *,
    note: Callable[[str, str], None],
    report: Callable[[ErrorRaised], None],
    answers: Answers,
    timers: Timers,
) -> Satellite | None:
    """Build the satellite that the settings ask for; None where they ask for none."""
    wanted = settings.homeassistant
    if not wanted.satellite:
        return None
    language = settings.asr.language
    options = SatelliteOptions(
        name=device_name(settings.node_id),
        area=wanted.area or "",
        host=wanted.satellite_host,
        port=wanted.satellite_port,
        model=settings.asr.model,
        languages=LANGUAGES if language == "auto" else (language,),
        ttl_s=settings.mqtt.final_ttl_s,
    )
    return Satellite(options, note=note, report=report, answers=answers, timers=timers)


class _Client:
    """One connection: reading in bounds, writing that does not wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        address = writer.get_extra_info("peername")
        self.host = str(address[0]) if address else ""

    async def next_event(self) -> Event | None:
        """Read the next event; None once the client has gone or was silent for too long."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(IDLE_S):
                return await framing.read_event(self._reader)
        return None

    def send(self, *events: Eventable) -> None:
        """Send without waiting."""
        if not self._writer.is_closing():
            self._writer.writelines(framing.encode(event.event()) for event in events)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Satellite:
    """Serves one Home Assistant, from `start` to `stop`.

    `note` is told how far the command of a session has got, `report` of what became of one that
    was not carried out; `answers` plays what Home Assistant says, `timers` keeps its timers.
    """

    def __init__(
        self,
        options: SatelliteOptions,
        *,
        note: Callable[[str, str], None],
        report: Callable[[ErrorRaised], None],
        answers: Answers,
        timers: Timers,
    ) -> None:
        self._options = options
        self._note = note
        self._report = report
        self._answers = answers
        self._timers = timers
        self._last_stage = PipelineStage.HANDLE
        self._info_of_satellite = partial(satellite_info, options)
        self._info_of_speech = partial(speech_info, options)
        self._attached = threading.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._queue: asyncio.Queue[PipelineCommand] = asyncio.Queue()
        self._current: PipelineCommand | None = None
        self._woken_s = -WAKE_COOLDOWN_S
        """When Home Assistant last took a wake word from here, on the monotonic clock."""
        self._active: _Client | None = None
        self._driver: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_attached(self) -> bool:
        """True while a Home Assistant runs this satellite; any thread may ask."""
        return self._attached.is_set()

    def start(self) -> tuple[int, int]:
        """Serve from now on; return both ports. Raises `WyomingError` when one is taken."""
        bound: Future[tuple[int, int]] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(bound,), name="satellite", daemon=True
        )
        self._thread.start()
        ports = bound.result()
        log.info("satellite.started", host=self._options.host, ports=ports)
        return ports

    def stop(self, timeout_s: float) -> None:
        """Hang up and end the thread; harmless when it was never started."""
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout_s)

    def accept(self, final: TranscriptFinal) -> bool:
        """Take a command over; False where no Home Assistant is attached, or it does not keep up.

        What was taken over is carried out once, or reported.
        """
        if not self.is_attached or self._loop is None or self._queue.qsize() >= MAX_WAITING:
            return False
        command = PipelineCommand(
            session_id=final.session_id,
            text=final.text,
            language=final.language,
            wake_word=final.wake_word,
            due_s=time.monotonic() + self._options.ttl_s,
        )
        self._note(command.session_id, WAITING)
        try:
            self._loop.call_soon_threadsafe(self._enqueue, command)
        except RuntimeError:
            self._note(command.session_id, SETTLED)
            return False
        return True

    def _run(self, bound: Future[tuple[int, int]]) -> None:
        """Run the thread; a bug in it is logged and leaves the daemon without a satellite."""
        try:
            asyncio.run(self._serve(bound))
        except Exception:
            log.exception("satellite.failed")
        finally:
            self._attached.clear()

    async def _serve(self, bound: Future[tuple[int, int]]) -> None:
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as servers:
            port, ports = self._options.port, []
            for serve in (self._serve_satellite, self._serve_recogniser):
                try:
                    server = await self._listen(serve, port)
                except (OSError, ValueError) as error:
                    bound.set_exception(_cannot_listen(self._options.host, port, error))
                    return
                servers.callback(server.close)
                ports.append(server.sockets[0].getsockname()[1])
                # Port 0 takes any that is free, so there is no next one.
                port = port + 1 if port else 0
            bound.set_result((ports[0], ports[1]))
            name = self._options.name
            services = {name: ports[0], f"{name} speech": ports[1]}
            beside = [
                asyncio.ensure_future(self._advertise(services)),
                asyncio.ensure_future(self._watch_timers()),
            ]
            await self._stopping.wait()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _advertise(self, services: Mapping[str, int]) -> None:
        """Be found until cancelled; that takes seconds, for which nobody should wait."""
        async with advertised(self._options.host, services):
            await asyncio.Event().wait()

    async def _watch_timers(self) -> None:
        """Ring for what Home Assistant does not tell of, until cancelled."""
        while True:
            self._timers.ring_overdue()
            await asyncio.sleep(OVERDUE_S)

    async def _listen(
        self, serve: Callable[[_Client], Coroutine[None, None, None]], port: int
    ) -> asyncio.Server:
        async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve_client(serve, _Client(reader, writer))

        return await asyncio.start_server(
            serve_client, self._options.host, port, limit=framing.MAX_HEADER_BYTES
        )

    async def _serve_client(
        self, serve: Callable[[_Client], Coroutine[None, None, None]], client: _Client
    ) -> None:
        """Serve one client; what it does wrong ends its connection and nothing else."""
        task = asyncio.current_task()
        if task is None or len(self._clients) >= MAX_CLIENTS:
            client.close()
            return
        self._clients.add(task)
        try:
            await serve(client)
        except asyncio.CancelledError:
            log.debug("satellite.client_dismissed")
        except VoiceDaemonError as error:
            log.warning("satellite.client_refused", code=error.code)
        except Exception:
            log.exception("satellite.client_failed")
        finally:
            self._clients.discard(task)
            client.close()

    async def _serve_satellite(self, client: _Client) -> None:
        try:
            while (event := await client.next_event()) is not None:
                if RunSatellite.is_type(event.type):
                    self._attach(client)
                elif PauseSatellite.is_type(event.type):
                    self._detach(client)
                elif not _answer(client, event, self._info_of_satellite) and client is self._active:
                    if self._current is not None:
                        self._current.read(event)
                    self._timers.take(event)
                    self._answers.take(event, played=lambda: self._tell_played(client))
        finally:
            self._detach(client)

    async def _serve_recogniser(self, client: _Client) -> None:
        while (event := await client.next_event()) is not None:
            if AudioStart.is_type(event.type):
                client.send(Transcript(text=self._hand_out(client.host)))
            elif Synthesize.is_type(event.type) and self._is_theirs(client.host):
                # On a thread: the system's voice takes seconds, and this loop serves the other
                # clients.
                client.send(*await asyncio.to_thread(synthesised, event))
            else:
                _answer(client, event, self._info_of_speech)

    def _attach(self, client: _Client) -> None:
        """Work for this Home Assistant from now on: an older connection may be a dead one's."""
        older = self._active
        if older is client:
            return
        if older is not None:
            self._detach(older)
            older.close()
        self._active = client
        self._last_stage = PipelineStage.TTS if self._answers.can_speak else PipelineStage.HANDLE
        self._driver = asyncio.ensure_future(self._drive(client))
        self._attached.set()
        # What it spoke when the connection ended, Home Assistant takes as being spoken still.
        client.send(Played())
        log.info("satellite.attached")

    async def _drive(self, client: _Client) -> None:
        """Run the pipeline for one command after the other."""
        while True:
            self._current = await self._queue.get()
            await self._run_pipeline(client, self._current)
            self._current = None

    async def _run_pipeline(self, client: _Client, command: PipelineCommand) -> None:
        runs = await self._ask(client, command, self._last_stage)
        if command.decided.is_set() and not runs and command.error != DUPLICATE:
            # A pipeline without speech does not run to it. Home Assistant 2026.2 runs none to less.
            speaks = self._last_stage is PipelineStage.TTS
            other = PipelineStage.HANDLE if speaks else PipelineStage.TTS
            runs = await self._ask(client, command, other)
            if runs:
                self._last_stage = other
                if speaks:
                    log.warning("satellite.no_speech", remedy="give the pipeline a text-to-speech")
        if runs:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await command.over.wait()
        self._settle(command)

    async def _ask(
        self, client: _Client, command: PipelineCommand, last_stage: PipelineStage
    ) -> bool:
        """Ask for a run, and wait until its text was asked for: True; or will not be."""
        now_s = time.monotonic()
        if now_s >= command.due_s:
            return False
        command.asked(last_stage)
        is_new = now_s - self._woken_s >= WAKE_COOLDOWN_S
        client.send(
            # Without a name soon after another: Home Assistant would refuse the second as a
            # duplicate.
            Detection(name=command.wake_word if is_new else None),
            RunPipeline(PipelineStage.ASR, last_stage),
            AudioStart(rate=SAMPLE_RATE, width=2, channels=1),
            AudioChunk(rate=SAMPLE_RATE, width=2, channels=1, audio=_SILENCE),
            AudioStop(),
            # Its answer says that all before it was read: see `PipelineCommand.read`.
            Ping(command.session_id),
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(command.due_s - now_s):
                await command.decided.wait()
        if command.has_begun or command.is_handed_out:
            self._woken_s = now_s
        return command.is_handed_out

    def _tell_played(self, client: _Client) -> None:
        """Tell Home Assistant that a sound has ended; callable from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(client.send, Played())

    def _detach(self, client: _Client) -> None:
        """Work for nobody; what Home Assistant had not asked for yet is lost, and said so.

        At once: a newer connection may attach as this one ends.
        """
        if self._active is not client:
            return
        self._active = None
        self._attached.clear()
        self._answers.forget()
        if self._driver is not None:
            self._driver.cancel()
        log.info("satellite.detached")
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        if self._current is not None:
            waiting.insert(0, self._current)
        self._current = self._driver = None
        for command in waiting:
            if not command.over.is_set():
                command.error = "the connection was lost"
            self._settle(command)

    def _enqueue(self, command: PipelineCommand) -> None:
        if self._active is None:
            self._settle(command)
        else:
            self._queue.put_nowait(command)

    def _is_theirs(self, host: str) -> bool:
        """Tell whether a host is the one that runs the satellite."""
        return self._active is not None and host == self._active.host

    def _hand_out(self, host: str) -> str:
        """Give the text that a pipeline runs for, once, to the host that runs the satellite."""
        command = self._current
        if command is None or not self._is_theirs(host) or command.is_handed_out:
            return ""
        if time.monotonic() >= command.due_s:
            return ""
        self._note(command.session_id, SENT)
        log.info("satellite.handed_out", session=command.session_id)
        return command.hand_out()

    def _settle(self, command: PipelineCommand) -> None:
        """Note the end of a command, or report what became of it."""
        session_id, reason = command.session_id, command.error
        if command.error == DUPLICATE:
            log.info("satellite.elsewhere", session=session_id)
        elif not command.is_handed_out:
            log.warning("satellite.not_run", session=session_id, reason=reason)
            self._report(not_run(session_id, reason or "Home Assistant did not ask for it in time"))
            return
        elif reason:
            log.warning("satellite.unconfirmed", session=session_id, reason=reason)
            self._report(unconfirmed(session_id, reason))
            return
        self._note(session_id, SETTLED)


def _answer(client: _Client, event: Event, info: Callable[[], Info]) -> bool:
    """Answer what every service answers; False for an event of another kind."""
    if Describe.is_type(event.type):
        client.send(info())
    elif Ping.is_type(event.type):
        text = Ping.from_event(event).text
        client.send(Pong(text if isinstance(text, str) and text.isprintable() else None))
    else:
        return False
    return True


def _cannot_listen(host: str, port: int, error: Exception) -> WyomingError:
    return WyomingError(
        "satellite.cannot_listen",
        f"the satellite cannot listen on {host}:{port}: {error}",
        remedy="choose another homeassistant.satellite_port, or stop what uses it",
    )
