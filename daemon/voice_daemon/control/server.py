"""The daemon's end of the control socket: an event loop on one thread, and many clients.

Handlers run on this thread, so they must return at once: read a snapshot, or put a command into a
queue.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from voice_daemon.control import protocol
from voice_daemon.control import socket as socket_file
from voice_daemon.control.socket import InstanceLock, lock_path, peer_uid
from voice_daemon.errors import ControlError, VoiceDaemonError

log = structlog.get_logger()

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Takes a request's arguments and returns the reply's result; may raise a VoiceDaemonError."""

MAX_CLIENTS: Final = 16
CLIENT_TIMEOUT_S: Final = 10.0
"""A client that neither asks nor reads for this long is dropped."""

LOOK_S: Final = 10.0
"""Seconds between two looks whether the socket is still where clients look for it."""

_RECEIVE_BYTES: Final = 64 * 1024


class ControlServer:
    """Answers requests on `socket_path` until `stop`.

    `start` takes the instance lock and raises `AlreadyRunningError` when another daemon has
    it, and `ControlError` when the socket cannot be made.
    """

    def __init__(
        self,
        socket_path: Path,
        handlers: Mapping[str, Handler],
        *,
        client_timeout_s: float = CLIENT_TIMEOUT_S,
        look_s: float = LOOK_S,
    ) -> None:
        """`look_s`: how often it is looked whether the socket is still there."""
        self._path = socket_path
        self._handlers = dict(handlers)
        self._client_timeout_s = client_timeout_s
        self._look_s = look_s
        self._lock = InstanceLock(lock_path(socket_path))
        self._clients: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Take the lock, replace a stale socket, and serve on a thread of our own."""
        socket_file.make_private_folder(self._path.parent)
        self._lock.acquire()
        try:
            listener = socket_file.listen(self._path)
        except BaseException:
            self._lock.release()
            raise
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, args=(listener, self._loop), name="control", daemon=True
        )
        self._thread.start()

    def stop(self, *, timeout_s: float = 2.0) -> None:
        """Close every connection, remove the socket and give the lock back."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("control.stop_timed_out", timeout_s=timeout_s)
        self._thread = None
        # Before the lock goes: whoever takes it next may put a socket there at once.
        with suppress(OSError):  # gone, or a folder that somebody put in its place
            self._path.unlink()
        self._lock.release()

    def _run(self, listener: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Run the thread; a bug in it is logged and leaves the daemon without its socket."""
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._serve(listener))
        except Exception:
            log.exception("control.server_failed")

    async def _serve(self, listener: socket.socket) -> None:
        """Serve until `stop`, then end what is left of the clients."""
        # Told here is also an accept that fails for want of descriptors; the loop pauses after it.
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, about: log.warning("control.loop", error=about["message"])
        )
        server = await asyncio.start_unix_server(self._welcome, sock=listener)
        while not await self._stops_within(self._look_s):
            if os.path.lexists(self._path):  # noqa: ASYNC240 - a local file's entry
                continue
            # Whoever tidied up took the way to us: a daemon that nobody can ask seems to hang.
            with suppress(ControlError):  # its folder may be gone too
                renewed = socket_file.listen(self._path)
                server.close()
                server = await asyncio.start_unix_server(self._welcome, sock=renewed)
                listener = renewed
                log.warning("control.socket_renewed", path=str(self._path))
        # A server that closes loses whom it is accepting: that one becomes a client first.
        asyncio.get_running_loop().remove_reader(listener)
        while rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._clients:
                task.cancel()
            await asyncio.wait(rest)
        server.close()

    async def _stops_within(self, timeout_s: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), timeout_s)
        return self._stopping.is_set()

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a client's task. Closing is not its own: it may be cancelled before it begins."""
        task = asyncio.get_running_loop().create_task(self._attend(reader, writer))
        self._clients.add(task)  # the loop itself keeps no task alive

        def end(task: asyncio.Task[None]) -> None:
            self._clients.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

        task.add_done_callback(end)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client to its end, which is nobody else's business."""
        # A reply counts as read only once the system has taken all of it.
        writer.transport.set_write_buffer_limits(0)
        try:
            refusal = self._refusal(writer.get_extra_info("socket"))
            if refusal is not None:
                log.warning(refusal.code, message=refusal.message)
                await self._send(writer, protocol.encode_error(refusal))
                return
            await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass  # the server stops; asyncio would report a client's task that ends as cancelled
        except TimeoutError:
            log.info("control.client_timed_out", timeout_s=self._client_timeout_s)
        except OSError as error:
            log.info("control.client_lost", error=str(error))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer lines in their order; the last one may come without a newline."""
        lines, is_leaving = protocol.LineBuffer(), False
        while True:
            async with asyncio.timeout(self._client_timeout_s):
                try:
                    while (line := lines.next_line()) is None and not is_leaving:
                        received = await reader.read(_RECEIVE_BYTES)
                        lines.feed(received)
                        is_leaving = not received
                except ControlError as error:
                    # Where the next line would begin is unknown: say so and hang up.
                    await self._send(writer, protocol.encode_error(error))
                    return
            line = line if line is not None else lines.rest()
            if not line and is_leaving:
                return
            await self._send(writer, self._reply(line))

    async def _send(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        async with asyncio.timeout(self._client_timeout_s):
            writer.write(reply)
            await writer.drain()

    def _refusal(self, connection: socket.socket) -> ControlError | None:
        """Return why a connection is turned away; None when it is welcome."""
        try:
            uid = peer_uid(connection)
        except OSError as error:
            return ControlError(
                "control.unknown_peer",
                f"the user of the connecting process is unknown: {error}",
                remedy="run daemonctl as the user who runs the daemon",
            )
        if uid not in {os.geteuid(), 0}:
            return ControlError(
                "control.wrong_user",
                f"user {uid} may not control the daemon of user {os.geteuid()}",
                remedy="run daemonctl as the user who runs the daemon",
            )
        # Greater, not equal: this one is among them already.
        if len(self._clients) > MAX_CLIENTS:
            return ControlError(
                "control.busy",
                f"{MAX_CLIENTS} clients are connected already",
                remedy="end some of them (`daemonctl status --watch`?) and try again",
            )
        return None

    def _reply(self, line: bytes) -> bytes:
        """Answer one request line; whatever goes wrong becomes an error reply."""
        try:
            request = protocol.decode_request(line)
            handler = self._handlers.get(request.verb)
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise ControlError(
                    "control.unknown_verb",
                    f"the daemon does not know the verb {request.verb[:40]!r}",
                    remedy=f"use one of: {known}",
                )
            return protocol.encode_result(handler(request.arguments))
        except VoiceDaemonError as error:
            return protocol.encode_error(error)
        except Exception:
            log.exception("control.handler_failed")
            return protocol.encode_error(
                ControlError(
                    "control.internal",
                    "the daemon failed to answer; its log says why",
                    remedy="look at the log that `daemonctl status` names, and please report it",
                )
            )
