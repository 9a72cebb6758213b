"""One Wyoming client: what it asks, what it gets, and the bounds that it is kept in.

Lives on the event loop; one utterance at a time. A fault of the client ends its connection, with
an `error` event that says why. Knows nothing of models, threads or other clients.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog
from wyoming.asr import (
    Transcribe,
    Transcript,
    TranscriptChunk,
    TranscriptStart,
    TranscriptStop,
)
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.ping import Ping, Pong

from voice_daemon import __version__
from voice_daemon._lib.rate import TokenBucket
from voice_daemon.errors import VoiceDaemonError, WyomingError
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.session.transcription import TranscriptionService
from voice_daemon.wyoming import framing
from voice_daemon.wyoming.pcm import PcmFormat
from voice_daemon.wyoming.stream import (
    ClientStream,
    Committed,
    Failed,
    Finished,
    Habits,
    Limits,
    Report,
    Utterance,
)

PROGRAM: Final = "voice-daemon"


def info_of(recogniser: TranscriptionService, *, ends_utterances: bool) -> Info:
    """Describe the recogniser; `ends_utterances`: without waiting for `audio-stop`."""
    model = AsrModel(
        name=recogniser.model,
        attribution=Attribution("OpenAI", "https://github.com/openai/whisper"),
        installed=True,
        description=f"Whisper {recogniser.model}",
        version=None,
        languages=list(recogniser.languages),
    )
    program = AsrProgram(
        name=PROGRAM,
        attribution=Attribution(PROGRAM, ""),
        installed=True,
        description="Streaming Whisper on MLX",
        version=__version__,
        models=[model],
        supports_transcript_streaming=recogniser.streams,
        requires_external_vad=not ends_utterances,
    )
    return Info(asr=[program])


log = structlog.get_logger()

AUDIO_START: Final = "audio-start"
AUDIO_CHUNK: Final = "audio-chunk"
AUDIO_STOP: Final = "audio-stop"
LINGER_S: Final = 1.0
_AUDIO: Final = frozenset({AUDIO_START, AUDIO_CHUNK, AUDIO_STOP})


class ClientConnection:
    """Serves one client until it leaves, breaks a rule or stalls."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        recogniser: TranscriptionService,
        scheduler: RoundRobin,
        limits: Limits,
        habits: Habits,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._recogniser = recogniser
        self._scheduler = scheduler
        self._limits = limits
        self._habits = habits
        self._host = str((writer.get_extra_info("peername") or ("",))[0])
        self._loop = asyncio.get_running_loop()
        # A client that hangs up is noticed while its audio is still being computed.
        self._closed = asyncio.ensure_future(writer.wait_closed())
        self._language: str | None = None
        self._utterance: Utterance | None = None
        self._events = TokenBucket(burst=limits.max_events_burst, per_s=limits.max_events_per_s)

    async def run(self) -> None:
        """Serve the client."""
        try:
            while (event := await self._next_event()) is not None:
                await self._act(event)
                await self._pace()
        except VoiceDaemonError as error:
            self._refuse(error)
            await self._linger()
        except ConnectionError:
            log.debug("wyoming.client_lost")
        finally:
            self._forget()
            self._writer.close()
            self._closed.cancel()
            await asyncio.gather(self._closed, return_exceptions=True)

    async def _pace(self) -> None:
        """Let the others have the loop, longer when this client sends too fast.

        A client whose data is in the buffer already would never be waited for otherwise.
        """
        await asyncio.sleep(0)
        while not self._events.allows():  # noqa: ASYNC110 - time alone helps
            await asyncio.sleep(self._events.wait_s)
        if self._closed.done():
            raise ConnectionResetError("the client is gone")

    async def _linger(self) -> None:
        """Hear the client out for a moment.

        Closing a socket with unread input resets it, and the error would be lost on the way.
        """
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(LINGER_S):
                self._writer.write_eof()
                while await self._reader.read(framing.MAX_HEADER_BYTES):
                    pass

    async def _next_event(self) -> Event | None:
        """Wait for the next event, for as long as a client may be silent."""
        timeout_s = self._limits.idle_s if self._utterance is None else self._limits.stall_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
                return await framing.read_event(self._reader)
        except TimeoutError:
            raise WyomingError(
                "wyoming.stalled",
                f"nothing came for {timeout_s:g} s",
                remedy="send audio-stop where the audio ends",
            ) from None

    async def _act(self, event: Event) -> None:
        if event.type in _AUDIO:
            await self._hear(event)
        elif Transcribe.is_type(event.type):
            self._forget()
            self._language = self._checked(Transcribe.from_event(event))
        elif Describe.is_type(event.type):
            self._send(info_of(self._recogniser, ends_utterances=self._habits.ends_utterances))
        elif Ping.is_type(event.type):
            text = Ping.from_event(event).text
            self._send(Pong(text if isinstance(text, str) and text.isprintable() else None))

    async def _hear(self, event: Event) -> None:
        """Take audio into the utterance, which begins with the first audio event of any kind."""
        utterance = self._utterance
        if event.type == AUDIO_START or utterance is None:
            self._forget()
            utterance = self._utterance = self._begin()
        if event.type == AUDIO_CHUNK and not utterance.over.is_set():
            utterance.take(PcmFormat.of(event.data), event.payload or b"")
            await self._until(utterance.room)
        elif event.type == AUDIO_STOP:
            if utterance.over.is_set():
                self._habits.note(self._host, took_it=False)
            utterance.end()
            await self._until(utterance.over)
            self._forget()

    def _begin(self) -> Utterance:
        stream = ClientStream(
            self._recogniser,
            self._scheduler,
            language=self._language,
            report=self._on_report,
            endpointing=self._habits.of(self._host),
        )
        return Utterance(stream, self._limits)

    def _checked(self, request: Transcribe) -> str | None:
        """Return the language of a request; raises `WyomingError` for what we do not have."""
        if request.name is not None and request.name != self._recogniser.model:
            raise WyomingError(
                "wyoming.unknown_model",
                f"there is no model {framing.shown(request.name)} here",
                remedy=f"ask for {self._recogniser.model!r}, or leave the name out",
            )
        if request.language is None:
            return None
        language = str(request.language).lower().replace("_", "-").split("-", maxsplit=1)[0]
        if language not in self._recogniser.languages:
            raise WyomingError(
                "wyoming.unknown_language",
                f"{self._recogniser.model} does not know the language {framing.shown(language)}",
                remedy="choose one that `describe` lists, or another asr.model",
            )
        return language

    async def _until(self, event: asyncio.Event) -> None:
        """Wait for the model thread, or for the client to be gone."""
        if event.is_set():
            return
        wait = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({wait, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wait.cancel()
        if not event.is_set():
            raise ConnectionResetError("the client is gone")

    def _on_report(self, stream: ClientStream, report: Report) -> None:
        """Take a report to the event loop; called on the model thread."""
        try:
            self._loop.call_soon_threadsafe(self._tell, stream, report)
        except RuntimeError:
            log.debug("wyoming.report_after_stop")

    def _tell(self, stream: ClientStream, report: Report) -> None:
        """Pass a report on to the client."""
        utterance = self._utterance
        if utterance is None or utterance.stream is not stream:
            return
        match report:
            case Committed(text):
                self._send_chunk(utterance, text)
            case Finished():
                self._send_final(utterance, report)
            case Failed(error):
                self._refuse(error)
                self._writer.close()
        utterance.follow()
        if not isinstance(report, Committed):
            utterance.over.set()

    def _send_chunk(self, utterance: Utterance, text: str) -> None:
        """Send what `text` adds to what was sent."""
        new = text[len(utterance.sent) :]
        if new:
            if not utterance.sent:
                self._send(TranscriptStart(language=self._language))
            self._send(TranscriptChunk(new))
            utterance.sent = text

    def _send_final(self, utterance: Utterance, report: Finished) -> None:
        """Send the rest, and the whole, which is right where it differs from the parts."""
        transcript = report.transcript
        revised = not transcript.text.startswith(utterance.sent)
        if not revised:
            self._send_chunk(utterance, transcript.text)
        if not utterance.sent:
            self._send(TranscriptStart(language=self._language))
        language = transcript.language or self._language
        self._send(Transcript(transcript.text, language=language))
        self._send(TranscriptStop())
        log.info(
            "wyoming.transcribed",
            audio_s=round(report.audio_s, 2),
            compute_s=round(report.compute_s, 3),
            steps=report.steps,
            empty=not transcript.text,
            revised=revised,
        )

    def _send(self, event: Eventable) -> None:
        """Send without waiting; a client that does not read is dropped."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > self._limits.max_unsent_bytes:
            log.warning("wyoming.client_deaf")
            transport.abort()
        elif not transport.is_closing():
            self._writer.write(framing.encode(event.event()))

    def _refuse(self, error: VoiceDaemonError) -> None:
        log.warning("wyoming.client_refused", code=error.code)
        self._send(Error(f"{error.message} ({error.remedy})", error.code))

    def _forget(self) -> None:
        """Give up the utterance, if one is open."""
        if self._utterance is not None:
            if self._utterance.over.is_set() and not self._utterance.ended:
                self._habits.note(self._host, took_it=True)
            self._utterance.stream.cancel()
            self._utterance = None
