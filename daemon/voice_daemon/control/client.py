"""The caller's end of the control socket: one request, one reply, and plain words when it fails."""

import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

from voice_daemon import __version__
from voice_daemon.control import protocol
from voice_daemon.control.socket import holder_pid, lock_path
from voice_daemon.errors import ControlError, NotRunningError

REQUEST_TIMEOUT_S: Final = 5.0
_RETRY_PAUSE_S: Final = 0.01
_RECEIVE_BYTES: Final = 64 * 1024


class ControlClient:
    """Asks the daemon behind `socket_path`; every request is a connection of its own."""

    def __init__(self, socket_path: Path, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._path = socket_path
        self._timeout_s = timeout_s

    def request(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Ask for `verb` and return its result.

        Raises `NotRunningError` when nobody answers there, and `ControlError` when the daemon
        refuses, hangs or leaves half-way.
        """
        return dict(self.exchange(verb, **arguments).result)

    def exchange(self, verb: str, **arguments: object) -> protocol.Reply:
        """Do as `request` does, and say which version of the daemon answered."""
        line = protocol.encode_request(protocol.Request(verb, arguments))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                deadline_s = time.monotonic() + self._timeout_s
                self._connect(connection, deadline_s)
                return protocol.decode_reply(self._ask(connection, line, deadline_s))
            except TimeoutError as error:
                raise self._no_answer(f"within {self._timeout_s:g} s") from error
            except OSError as error:
                raise self._unreachable(error) from error

    def _connect(self, connection: socket.socket, deadline_s: float) -> None:
        """Connect; while too many others wait to be accepted, Linux says EAGAIN at once."""
        connection.settimeout(self._timeout_s)
        while True:
            try:
                connection.connect(str(self._path))
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise TimeoutError from None
                time.sleep(_RETRY_PAUSE_S)
            else:
                return

    def _ask(self, connection: socket.socket, line: bytes, deadline_s: float) -> bytes:
        """Send the line and read one back before the deadline, however slowly it trickles."""
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(line)  # turned away already: the reply that says why can be read
        received = protocol.LineBuffer()
        while (reply := received.next_line()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            try:
                part = connection.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                part = b""
            if not part:
                raise self._no_answer("it closed the connection")
            received.feed(part)
        return reply

    def _no_answer(self, detail: str) -> ControlError:
        pid = holder_pid(lock_path(self._path))
        who = f" (pid {pid})" if pid else ""
        return ControlError(
            "control.no_answer",
            f"the daemon{who} did not answer: {detail}",
            remedy="look at its log; if it hangs, stop that process and start it again",
        )

    def _unreachable(self, error: OSError) -> ControlError:
        """Tell apart: never started, gone without its socket's removal, or not ours to ask."""
        if not isinstance(error, (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)):
            return ControlError(
                "control.unreachable",
                f"the control socket {self._path} cannot be used: {error.strerror or error}",
                remedy="run daemonctl as the user who runs the daemon",
            )
        pid = holder_pid(lock_path(self._path))
        if pid is not None:
            return ControlError(
                "control.starting",
                f"the daemon (pid {pid}) is starting or stopping: nothing listens on {self._path}",
                remedy="try again in a moment",
            )
        stale = isinstance(error, ConnectionRefusedError)
        what = "a stale socket was left at" if stale else "no control socket at"
        return NotRunningError(
            "control.not_running",
            f"the daemon is not running: {what} {self._path}",
            remedy="start it with `daemonctl run`",
        )


def ask(socket_path: Path, verb: str, *, err: TextIO | None) -> dict[str, Any]:
    """Return the daemon's result for `verb`; raises as `ControlClient.request` does.

    A daemon of another version is asked all the same, and a warning goes to `err`;
    None: nobody wants to read it again.
    """
    reply = ControlClient(socket_path).exchange(verb)
    if err is not None and reply.version != __version__:
        err.write(
            f"daemonctl: warning: the daemon is version {reply.version or 'unknown'}, "
            f"this command {__version__}\n  -> restart the daemon\n"
        )
    return dict(reply.result)
