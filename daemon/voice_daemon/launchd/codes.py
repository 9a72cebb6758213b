"""What `launchctl` means by its numbers, and what to do about each.

The numbers are those of `launchctl error`; below 107 they are errno's. launchd uses some for
several things at once, 5 above all, so the texts name every one that was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_SUCH_PROCESS: Final = 3
IO_ERROR: Final = 5
IN_PROGRESS: Final = 36
ALREADY_IN_PROGRESS: Final = 37
NO_SUCH_DOMAIN: Final = 112
NO_SUCH_SERVICE: Final = 113
DISABLED: Final = 119
NO_SESSION: Final = 125


@dataclass(frozen=True, slots=True)
class Meaning:
    """One number in words."""

    what: str
    remedy: str


_LATER: Final = "wait a few seconds and try again"
_LOG_IN: Final = (
    "log in on the Mac's own screen (or by Screen Sharing) as this user and try again; for a "
    "Mac that starts by itself turn on automatic login"
)

MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        1: Meaning("the operation is not permitted", "run it as the user who logs in, not by sudo"),
        2: Meaning("the agent's file is missing", "run `daemonctl install`"),
        NO_SUCH_PROCESS: Meaning("the agent is not loaded", "run `daemonctl start`"),
        IO_ERROR: Meaning(
            "launchd refuses the agent: it is still loaded, it is disabled, or its file is wrong",
            "run `daemonctl uninstall` and `daemonctl install`; if it stays, "
            "`plutil -lint ~/Library/LaunchAgents/io.github.voice-daemon.plist`",
        ),
        17: Meaning("the agent is loaded already", "run `daemonctl restart`"),
        IN_PROGRESS: Meaning("launchd is still stopping the agent", _LATER),
        ALREADY_IN_PROGRESS: Meaning("launchd is still starting or stopping the agent", _LATER),
        78: Meaning(
            "launchd could not start the program: a file or a folder of the agent is missing or "
            "may not be written",
            "run `daemonctl install` again",
        ),
        NO_SUCH_DOMAIN: Meaning("there is no such login session", _LOG_IN),
        NO_SUCH_SERVICE: Meaning("the agent is not loaded", "run `daemonctl start`"),
        DISABLED: Meaning(
            "the agent is disabled",
            "turn it on in System Settings, General, Login Items, or run `daemonctl install`",
        ),
        122: Meaning(
            "the agent's file belongs to somebody else, or others may write to it",
            "run `daemonctl install` again",
        ),
        NO_SESSION: Meaning("this user has no login session with a screen", _LOG_IN),
        133: Meaning("the agent is loaded already", "run `daemonctl restart`"),
        134: Meaning("the agent may not be loaded in this kind of session", _LOG_IN),
    }
)

UNKNOWN: Final = Meaning(
    "launchd refused", "`launchctl error NUMBER` says what it means; then see docs/install.md"
)


def meaning(code: int) -> Meaning:
    """Say what a number means."""
    return MEANINGS.get(code, UNKNOWN)
