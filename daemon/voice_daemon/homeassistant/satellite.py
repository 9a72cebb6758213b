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
import ipaddress
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
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
from voice_daemon.events import LANGUAGES, SAMPLE_RATE, TranscriptFinal
from voice_daemon.homeassistant.answers import Answers
from voice_daemon.homeassistant.discovery import device_name
from voice_daemon.homeassistant.services import (
    SatelliteOptions,
    satellite_info,
    speech_info,
    synthesised,
)
from voice_daemon.wyoming import framing

log = structlog.get_logger()

SERVICE_TYPE: Final = "_wyoming._tcp.local."


@contextlib.asynccontextmanager
async def advertised(host: str, ports: Mapping[str, int]) -> AsyncIterator[bool]:
    """Advertise services, by name, while the block runs; False where that cannot be done.

    Whoever cannot be found can still be added by address: nothing here keeps a service from
    running.
    """
    try:
        # An extra: without it the address is typed in once.
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf  # noqa: PLC0415 - see above
    except ImportError:
        log.warning(
            "satellite.no_zeroconf",
            remedy="pip install 'voice-daemon[home]', or add the address in Home Assistant",
        )
        yield False
        return
    infos = [
        AsyncServiceInfo(
            SERVICE_TYPE,
            f"{name}.{SERVICE_TYPE}",
            port=port,
            parsed_addresses=_addresses(host),
            server=f"{socket.gethostname().split('.')[0]}.local.",
        )
        for name, port in ports.items()
    ]
    async with contextlib.AsyncExitStack() as stack:
        try:
            zeroconf = AsyncZeroconf(interfaces=_addresses(host))
            stack.push_async_callback(zeroconf.async_close)
            for info in infos:
                await (await zeroconf.async_register_service(info, allow_name_change=True))
        except Exception as error:  # noqa: BLE001 - whatever a network does to it
            log.warning("satellite.not_advertised", reason=f"{type(error).__name__}: {error}")
            yield False
            return
        log.info("satellite.advertised", names=list(ports))
        yield True


def _addresses(host: str) -> list[str]:
    """List the IPv4 addresses at which a service on `host` can be reached."""
    if not ipaddress.ip_address(host).is_unspecified:
        return [host]
    from ifaddr import get_adapters  # noqa: PLC0415 - comes with zeroconf

    known = [ip.ip for adapter in get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    addresses = [a for a in known if not ipaddress.ip_address(a).is_loopback]
    return addresses or ["127.0.0.1"]


HANDLED_BY: Final = "satellite"
"""What a final says of itself when its pipeline runs here."""
MAX_CLIENTS: Final = 8
MAX_WAITING: Final = 8
"""Commands in a row that Home Assistant has not asked for yet."""
ASKED_WITHIN_S: Final = 3.0
"""A pipeline without text-to-speech fails before it asks for the text: then it is run without."""
ANSWER_S: Final = 10.0
"""From the text to the end of the pipeline; then the next command is not held up any longer."""
IDLE_S: Final = 120.0
"""Home Assistant pings every few seconds; who is silent for so long is gone."""
_SILENCE: Final = bytes(SAMPLE_RATE // 10 * 2)
"""0.1 s: the pipeline wants some sound to begin with."""


@dataclass(slots=True)
class _Command:
    """A text on its way through Home Assistant's pipeline."""

    session_id: str
    text: str
    language: str
    wake_word: str | None
    due_s: float
    """On the monotonic clock: not handed out after this."""
    handed_out: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


def satellite_of(
    settings: Settings, *, on_lost: Callable[[str], None], answers: Answers
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
    return Satellite(options, on_lost=on_lost, answers=answers)


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

    `on_lost` is told the session of a command that was accepted and not carried out; `answers`
    plays what Home Assistant says.
    """

    def __init__(
        self, options: SatelliteOptions, *, on_lost: Callable[[str], None], answers: Answers
    ) -> None:
        self._options = options
        self._on_lost = on_lost
        self._answers = answers
        self._last_stage = PipelineStage.HANDLE
        self._info_of_satellite = partial(satellite_info, options)
        self._info_of_speech = partial(speech_info, options)
        self._attached = threading.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._queue: asyncio.Queue[_Command] = asyncio.Queue()
        self._current: _Command | None = None
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

        What was taken over is carried out once, or `on_lost` is told.
        """
        if not self.is_attached or self._loop is None or self._queue.qsize() >= MAX_WAITING:
            return False
        command = _Command(
            session_id=final.session_id,
            text=final.text,
            language=final.language,
            wake_word=final.wake_word,
            due_s=time.monotonic() + self._options.ttl_s,
        )
        try:
            self._loop.call_soon_threadsafe(self._enqueue, command)
        except RuntimeError:
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
                port = port + 1 if port else 0
            bound.set_result((ports[0], ports[1]))
            name = self._options.name
            services = {name: ports[0], f"{name} speech": ports[1]}
            advertising = asyncio.ensure_future(self._advertise(services))
            await self._stopping.wait()
            advertising.cancel()
            await asyncio.gather(advertising, return_exceptions=True)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _advertise(self, services: Mapping[str, int]) -> None:
        """Be found until cancelled; that takes seconds, for which nobody should wait."""
        async with advertised(self._options.host, services):
            await asyncio.Event().wait()

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
                    await self._attach(client)
                elif PauseSatellite.is_type(event.type):
                    await self._detach(client)
                elif not _answer(client, event, self._info_of_satellite) and client is self._active:
                    if event.type in _ENDS_PIPELINE and self._current is not None:
                        self._current.over.set()
                    self._answers.take(event, played=lambda: self._tell_played(client))
        finally:
            await self._detach(client)

    async def _serve_recogniser(self, client: _Client) -> None:
        while (event := await client.next_event()) is not None:
            if AudioStart.is_type(event.type):
                client.send(Transcript(text=self._hand_out(client.host)))
            elif Synthesize.is_type(event.type) and self._is_theirs(client.host):
                client.send(*await asyncio.to_thread(synthesised, event))
            else:
                _answer(client, event, self._info_of_speech)

    async def _attach(self, client: _Client) -> None:
        """Work for this Home Assistant from now on: an older connection may be a dead one's."""
        older = self._active
        if older is client:
            return
        if older is not None:
            await self._detach(older)
            older.close()
        self._active = client
        self._last_stage = PipelineStage.TTS if self._answers.can_speak else PipelineStage.HANDLE
        self._driver = asyncio.ensure_future(self._drive(client))
        self._attached.set()
        log.info("satellite.attached")

    async def _drive(self, client: _Client) -> None:
        """Run the pipeline for one command after the other."""
        while True:
            self._current = await self._queue.get()
            await self._run_pipeline(client, self._current)
            self._current = None

    async def _run_pipeline(self, client: _Client, command: _Command) -> None:
        speaks = self._last_stage is PipelineStage.TTS
        if not await self._ask(client, command, within_s=ASKED_WITHIN_S if speaks else None):
            if speaks:
                log.warning("satellite.no_speech", remedy="give the pipeline a text-to-speech")
                self._last_stage = PipelineStage.HANDLE
            if not (speaks and await self._ask(client, command)):
                self._lose(command)
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await command.over.wait()

    async def _ask(
        self, client: _Client, command: _Command, *, within_s: float | None = None
    ) -> bool:
        """Ask for a run; False when the text was not asked for in time."""
        left_s = command.due_s - time.monotonic()
        if left_s > 0:
            client.send(
                Detection(name=command.wake_word),
                RunPipeline(PipelineStage.ASR, self._last_stage),
                AudioStart(rate=SAMPLE_RATE, width=2, channels=1),
                AudioChunk(rate=SAMPLE_RATE, width=2, channels=1, audio=_SILENCE),
                AudioStop(),
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, left_s if within_s is None else within_s)):
                await command.handed_out.wait()
        return command.handed_out.is_set()

    def _tell_played(self, client: _Client) -> None:
        """Tell Home Assistant that a sound has ended; callable from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(client.send, Played())

    async def _detach(self, client: _Client) -> None:
        """Work for nobody; what Home Assistant had not asked for yet is lost, and said so."""
        if self._active is not client:
            return
        self._active = None
        self._attached.clear()
        self._answers.forget()
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)
        log.info("satellite.detached")
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        if self._current is not None and not self._current.handed_out.is_set():
            waiting.insert(0, self._current)
        self._current = self._driver = None
        for command in waiting:
            self._lose(command)

    def _enqueue(self, command: _Command) -> None:
        if self._active is None:
            self._lose(command)
        else:
            self._queue.put_nowait(command)

    def _is_theirs(self, host: str) -> bool:
        """Tell whether a host is the one that runs the satellite."""
        return self._active is not None and host == self._active.host

    def _hand_out(self, host: str) -> str:
        """Give the text that a pipeline runs for, once, to the host that runs the satellite."""
        command = self._current
        if command is None or not self._is_theirs(host) or command.handed_out.is_set():
            return ""
        if time.monotonic() >= command.due_s:
            return ""
        command.handed_out.set()
        log.info("satellite.handed_out", session=command.session_id)
        return command.text

    def _lose(self, command: _Command) -> None:
        log.warning("satellite.not_run", session=command.session_id)
        self._on_lost(command.session_id)


_ENDS_PIPELINE: Final = frozenset({"transcript", "error"})
"""What Home Assistant tells a satellite when the text was taken, or the run failed."""


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
