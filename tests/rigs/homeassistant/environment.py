"""The variables that name a Home Assistant for tests, and how its tests start a daemon."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from support.daemon_process import DaemonProcess

URL = "VOICE_DAEMON_HA_URL"
TOKEN_FILE = "VOICE_DAEMON_HA_TOKEN_FILE"
RESTART = "VOICE_DAEMON_HA_RESTART"
LOG = "VOICE_DAEMON_HA_LOG"

StartDaemon = Callable[..., AbstractContextManager[DaemonProcess]]
