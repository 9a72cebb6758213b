"""One question from a `daemonctl` command to the daemon, with a word about unlike versions.

Shared by the commands that talk to a running daemon; knows none of their verbs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_daemon import __version__
from voice_daemon.control.client import ControlClient

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO


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
