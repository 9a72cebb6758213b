"""The daemon as a service of macOS: its launchd agent, its app bundle, and `launchctl`."""

from voice_daemon.launchd.agent import LABEL, AgentPaths
from voice_daemon.launchd.installation import Installation
from voice_daemon.launchd.launchctl import AgentState, Launchctl
from voice_daemon.launchd.machine import Machine
from voice_daemon.launchd.steps import Step

__all__ = ["LABEL", "AgentPaths", "AgentState", "Installation", "Launchctl", "Machine", "Step"]
