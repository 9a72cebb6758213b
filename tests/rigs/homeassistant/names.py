"""Names that no earlier run has used.

Home Assistant remembers what it knew of a device that was taken away, and gives a device of the
same name its settings back.
"""

from __future__ import annotations

import secrets

OURS = "livetest-"
"""Every device of these tests has a name that begins so."""
OUR_DEVICES = "Voice Livetest"
"""Home Assistant's name of a device begins so."""
_RUN = secrets.token_hex(3)


def named(name: str) -> str:
    """Give a node's id."""
    return f"{OURS}{_RUN}-{name}"
