"""The daemon's end of the control socket: one thread, many clients, none of which it waits for.

Owns the socket file, the lock beside it and the connections. Knows verbs only as names in a
dict; what they do, and the models and audio behind them, are its caller's. Handlers run on
this thread, so they must return at once: read a snapshot, or put a command into a queue.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

_RECEIVE_BYTES: Final = 64 * 1024
_ACCEPT_PAUSE_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Client:
    """One connection. While a reply is unsent nothing more is read from it."""

    connection: socket.socket
    deadline_s: float
    lines: protocol.LineBuffer = field(default_factory=protocol.LineBuffer)
    unsent: bytes = b""
    leaving: bool = False
    """True when nothing more comes from it, or nothing more will be read."""


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
    ) -> None:
        self._path = socket_path
        self._handlers = dict(handlers)
        self._client_timeout_s = client_timeout_s
        self._lock = InstanceLock(lock_path(socket_path))
        self._clients: set[_Client] = set()
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._waker: socket.socket | None = None

    def start(self) -> None:
        """Take the lock, replace a stale socket, and serve on a thread of our own."""
        socket_file.make_private_folder(self._path.parent)
        self._lock.acquire()
        try:
            self._listener = socket_file.listen(self._path)
        except BaseException:
            self._lock.release()
            raise
        self._waker, woken = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, args=(self._listener, woken), name="control", daemon=True
        )
        self._thread.start()

    def stop(self, *, timeout_s: float = 2.0) -> None:
        """Close every connection, remove the socket and give the lock back."""
        if self._thread is None or self._waker is None:
            return
        self._waker.close()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("control.stop_timed_out", timeout_s=timeout_s)
        self._thread = None
        self._path.unlink(missing_ok=True)
        self._lock.release()

    def _run(self, listener: socket.socket, woken: socket.socket) -> None:
        """Run the thread; a bug in it is logged and leaves the daemon without its socket."""
        try:
            self._serve(listener, woken)
        except Exception:
            log.exception("control.server_failed")

    def _serve(self, listener: socket.socket, woken: socket.socket) -> None:
        """Wait for any socket or the nearest deadline, until `stop` wakes us."""
        with selectors.DefaultSelector() as selector, listener, woken:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                ready = selector.select(self._seconds_to_deadline())
                sources = {key.fileobj for key, _ in ready}
                if woken in sources:
                    break
                for key, _ in ready:
                    if isinstance(key.data, _Client):
                        self._attend(selector, key.data)
                if listener in sources:
                    self._accept(selector, listener)
                for client in [c for c in self._clients if c.deadline_s <= time.monotonic()]:
                    log.info("control.client_timed_out", timeout_s=self._client_timeout_s)
                    self._drop(selector, client)
            for client in tuple(self._clients):
                self._drop(selector, client)

    def _seconds_to_deadline(self) -> float | None:
        nearest_s = min((client.deadline_s for client in self._clients), default=None)
        return None if nearest_s is None else max(0.0, nearest_s - time.monotonic())

    def _accept(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            log.warning("control.accept_failed", error=str(error))
            time.sleep(_ACCEPT_PAUSE_S)  # out of descriptors: do not spin until one is free
            return
        connection.settimeout(0)
        refusal = self._refusal(connection)
        client = _Client(connection, deadline_s=time.monotonic() + self._client_timeout_s)
        self._clients.add(client)
        selector.register(connection, selectors.EVENT_READ, client)
        if refusal is not None:
            log.warning(refusal.code, message=refusal.message)
            client.unsent, client.leaving = protocol.encode_error(refusal), True
            self._attend(selector, client)

    def _refusal(self, connection: socket.socket) -> ControlError | None:
        """Why this connection is turned away; None when it is welcome."""
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
        if len(self._clients) >= MAX_CLIENTS:
            return ControlError(
                "control.busy",
                f"{MAX_CLIENTS} clients are connected already",
                remedy="end some of them (`daemonctl status --watch`?) and try again",
            )
        return None

    def _attend(self, selector: selectors.BaseSelector, client: _Client) -> None:
        """Move one client on as far as it goes without waiting."""
        try:
            if not client.unsent and not client.leaving:
                self._receive(client)
            self._answer(client)
        except BlockingIOError:
            pass
        except OSError as error:
            log.info("control.client_lost", error=str(error))
            self._drop(selector, client)
            return
        if client.leaving and not client.unsent:
            self._drop(selector, client)
            return
        wanted = selectors.EVENT_WRITE if client.unsent else selectors.EVENT_READ
        selector.modify(client.connection, wanted, client)

    def _receive(self, client: _Client) -> None:
        received = client.connection.recv(_RECEIVE_BYTES)
        client.lines.feed(received)
        client.leaving = not received

    def _answer(self, client: _Client) -> None:
        """Send what is unsent, then answer the lines that are held, one at a time."""
        while True:
            if not client.unsent:
                reply = self._next_reply(client)
                if reply is None:
                    return
                client.unsent = reply
                client.deadline_s = time.monotonic() + self._client_timeout_s
            sent = client.connection.send(client.unsent)
            client.unsent = client.unsent[sent:]

    def _next_reply(self, client: _Client) -> bytes | None:
        """Answer the next request; None when there is none. After EOF the rest counts as one."""
        try:
            line = client.lines.next_line()
        except ControlError as error:
            # Where the next line would begin is unknown: say so and hang up.
            client.lines.rest()
            client.leaving = True
            return protocol.encode_error(error)
        if line is None and client.leaving:
            line = client.lines.rest() or None
        return None if line is None else self._reply(line)

    def _reply(self, line: bytes) -> bytes:
        """Answer one request line; whatever goes wrong becomes an error reply."""
        try:
            request = protocol.decode_request(line)
            handler = self._handlers.get(request.verb)
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise ControlError(  # noqa: TRY301 - every refusal leaves by the same door
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
                    remedy="look at the log that `daemonctl status` names, and report it",
                )
            )

    def _drop(self, selector: selectors.BaseSelector, client: _Client) -> None:
        selector.unregister(client.connection)
        client.connection.close()
        self._clients.discard(client)
