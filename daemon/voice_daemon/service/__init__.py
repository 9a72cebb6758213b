"""The daemon as a service of macOS: its launchd agent, its app bundle, and `launchctl`.

Owns what is written where for launchd, and the words spoken with it. Knows nothing of what the
daemon does, of its configuration or of its control socket: `voice_daemon.commands.service`
brings these together.
"""

from voice_daemon.service.agent import LABEL
from voice_daemon.service.installation import Installation
from voice_daemon.service.launchctl import AgentState, Launchctl
from voice_daemon.service.machine import Machine
from voice_daemon.service.places import Places
from voice_daemon.service.steps import Step

__all__ = ["LABEL", "AgentState", "Installation", "Launchctl", "Machine", "Places", "Step"]
