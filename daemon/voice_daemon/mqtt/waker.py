"""Ends a wait of another thread.

Knows nothing of what the wait is for.
"""

from __future__ import annotations

import contextlib
import select
import socket


class Waker:
    """A pipe to oneself: `wake` from any thread, all else from the thread that waits."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def fileno(self) -> int:
        """Give the descriptor that turns readable when woken."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the wait. With the pipe full it is about to end; with it closed nobody waits."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Sleep at most `timeout_s`, less when woken."""
        if select.select([self], [], [], timeout_s)[0]:
            self.drain()

    def drain(self) -> None:
        """Take back what `wake` wrote."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Give the descriptors back."""
        self._reader.close()
        self._writer.close()
