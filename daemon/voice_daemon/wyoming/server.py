"""The server's thread: an event loop with a socket that listens, and its clients.

Knows nothing of what clients say. Clients cost a bounded amount of memory each, and there is a
bounded number of them.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import threading
from concurrent.futures import Future
from typing import Final

import structlog
from wyoming.error import Error

from voice_daemon._lib.rate import TokenBucket
from voice_daemon.errors import WyomingError
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.session.transcription import TranscriptionService
from voice_daemon.wyoming import framing
from voice_daemon.wyoming.connection import ClientConnection
from voice_daemon.wyoming.stream import Habits, Limits

log = structlog.get_logger()

_REFUSALS_BURST: Final = 5
_REFUSALS_PER_S: Final = 0.2
_NETWORK_BITS: Final = 64
"""Network part of an IPv6 address: the rest is the client's to choose."""


def _share_of(writer: asyncio.StreamWriter) -> str:
    """Give the address whose share a client takes."""
    host = str((writer.get_extra_info("peername") or ("",))[0]).partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))


class WyomingServer:
    """Serves a recogniser on `host` and `port` (0: any), from `start` to `stop`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        scheduler: RoundRobin,
        limits: Limits | None = None,
        ends_utterances: bool = False,
    ) -> None:
        """`ends_utterances`: at a pause, for clients that take the text before they stop."""
        self._habits = Habits(ends_utterances=ends_utterances)
        self._host = host
        self._port = port
        self._scheduler = scheduler
        self._limits = limits or Limits()
        self._clients: dict[asyncio.Task[None], str] = {}
        """Their tasks, and whose share each takes."""
        self._n_refused = 0
        self._refusals = TokenBucket(burst=_REFUSALS_BURST, per_s=_REFUSALS_PER_S)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def start(self, recogniser: TranscriptionService) -> int:
        """Serve from now on; returns the port. Raises `WyomingError` when it is taken."""
        bound: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(recogniser, bound), name="wyoming", daemon=True
        )
        self._thread.start()
        port = bound.result()
        log.info("wyoming.started", host=self._host, port=port)
        return port

    def stop(self, timeout_s: float) -> None:
        """Hang up on all clients and end the thread; harmless when it was never started."""
        if self._thread is None or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:
            log.debug("wyoming.ended_before")
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("wyoming.stop_timed_out", timeout_s=timeout_s)

    def _run(self, recogniser: TranscriptionService, bound: Future[int]) -> None:
        """Run the thread; a bug in it is logged and leaves the daemon without this server."""
        try:
            asyncio.run(self._serve(recogniser, bound))
        except Exception:
            log.exception("wyoming.server_failed")

    async def _serve(self, recogniser: TranscriptionService, bound: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()

        async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve_client(reader, writer, recogniser)

        try:
            server = await asyncio.start_server(
                serve_client, self._host, self._port, limit=framing.MAX_HEADER_BYTES
            )
        except (OSError, ValueError) as error:
            bound.set_exception(self._cannot_listen(error))
            return
        bound.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve_client(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        recogniser: TranscriptionService,
    ) -> None:
        """Serve one client; a bug that it finds is logged, and stays its own."""
        task = asyncio.current_task()
        share = _share_of(writer)
        if task is None or self._is_full(share):
            self._refuse(writer)
            return
        self._clients[task] = share
        try:
            await ClientConnection(
                reader,
                writer,
                recogniser=recogniser,
                scheduler=self._scheduler,
                limits=self._limits,
                habits=self._habits,
            ).run()
        except asyncio.CancelledError:
            # By `stop` alone. Python 3.11 complains about a client's task that was cancelled.
            log.debug("wyoming.client_dismissed")
        except Exception:
            log.exception("wyoming.client_failed")
        finally:
            self._clients.pop(task, None)

    def _is_full(self, share: str) -> bool:
        n_of_address = sum(taken == share for taken in self._clients.values())
        return (
            len(self._clients) >= self._limits.max_clients
            or n_of_address >= self._limits.max_clients_an_address
        )

    def _refuse(self, writer: asyncio.StreamWriter) -> None:
        """Turn a client away; a storm of them writes a line now and then, with their number."""
        self._n_refused += 1
        if self._refusals.allows():
            log.warning(
                "wyoming.too_many_clients",
                most=self._limits.max_clients,
                most_an_address=self._limits.max_clients_an_address,
                refused_so_far=self._n_refused,
            )
        full = Error("too many clients are connected", "wyoming.full")
        writer.write(framing.encode(full.event()))
        writer.close()

    def _cannot_listen(self, error: Exception) -> WyomingError:
        remedy = "choose another wyoming.port, or stop what uses it"
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EACCES:
            remedy = "choose a wyoming.port from 1024: those below are for root"
        elif number != errno.EADDRINUSE:
            remedy = "set wyoming.host to an address of this machine: 127.0.0.1, or 0.0.0.0 for all"
        said = (error.strerror if isinstance(error, OSError) else None) or error
        return WyomingError(
            "wyoming.cannot_listen",
            f"the Wyoming server cannot listen on {self._host}:{self._port}: {said}",
            remedy=remedy,
        )
