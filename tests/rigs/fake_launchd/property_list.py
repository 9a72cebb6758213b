"""Which property lists launchd accepts: launchd.plist(5) as a table of keys and types."""

from __future__ import annotations

import os
import plistlib
import stat
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

_TEXTS = (
    "Label UserName GroupName Program BundleProgram RootDirectory WorkingDirectory StandardInPath "
    "StandardOutPath StandardErrorPath ProcessType"
)
_SWITCHES = (
    "Disabled EnableGlobbing EnableTransactions EnablePressuredExit OnDemand ServiceIPC RunAtLoad "
    "InitGroups StartOnMount Debug WaitForDebugger AbandonProcessGroup LowPriorityIO "
    "LowPriorityBackgroundIO LaunchOnlyOnce SessionCreate LegacyTimers MaterializeDatalessFiles"
)
_NUMBERS = "TimeOut ExitTimeOut ThrottleInterval StartInterval Nice"
_TABLES = (
    "inetdCompatibility LimitLoadToHardware LimitLoadFromHardware EnvironmentVariables "
    "SoftResourceLimits HardResourceLimits MachServices Sockets LaunchEvents"
)
_LISTS = "LimitLoadToHosts LimitLoadFromHosts ProgramArguments WatchPaths QueueDirectories"

KEYS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS.split(), (str,)),
    **dict.fromkeys(_SWITCHES.split(), (bool,)),
    **dict.fromkeys(_NUMBERS.split(), (int,)),
    **dict.fromkeys(_TABLES.split(), (dict,)),
    **dict.fromkeys(_LISTS.split(), (list,)),
    "KeepAlive": (bool, dict),
    "Umask": (int, str),
    "StartCalendarInterval": (dict, list),
    "LimitLoadToSessionType": (str, list),
    "AssociatedBundleIdentifiers": (str, list),
}
KEEP_ALIVE: dict[str, tuple[type, ...]] = {
    "SuccessfulExit": (bool,),
    "Crashed": (bool,),
    "NetworkState": (bool,),
    "AfterInitialDemand": (bool,),
    "PathState": (dict,),
    "OtherJobEnabled": (dict,),
}
PROCESS_TYPES = {"Background", "Standard", "Adaptive", "Interactive"}


def read(path: Path, *, owner: int, session: str) -> dict[str, Any] | int:
    """Give an acceptable property list, or the number with which launchd refuses it."""
    if not path.is_file():
        return 5
    about = path.stat()
    if about.st_uid != owner or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return 122
    found = _parsed(path.read_bytes())
    if found is None or findings(found):
        return 5
    sessions = found.get("LimitLoadToSessionType", "Aqua")
    return found if session in ([sessions] if isinstance(sessions, str) else sessions) else 134


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        found = plistlib.loads(content)
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def findings(agent: dict[str, Any]) -> list[str]:
    """Say what is wrong with an agent's keys and values."""
    found = [f"unknown key {key}" for key in agent if key not in KEYS]
    found += [
        f"{key} is {type(value).__name__}"
        for key, value in agent.items()
        if key in KEYS and type(value) not in KEYS[key]
    ]
    if not agent.get("Label"):
        found.append("no Label")
    program = agent.get("Program") or next(iter(agent.get("ProgramArguments") or [""]))
    if not isinstance(program, str) or not os.path.isabs(program):  # noqa: PTH117 - any text
        found.append("the program is not an absolute path")
    keep_alive = agent.get("KeepAlive")
    if isinstance(keep_alive, dict):
        found += [
            f"KeepAlive.{key}"
            for key, value in keep_alive.items()
            if type(value) not in KEEP_ALIVE.get(key, ())
        ]
    texts = [*agent.get("ProgramArguments", []), *agent.get("EnvironmentVariables", {}).values()]
    found += [f"{value!r} is not text" for value in texts if not isinstance(value, str)]
    if agent.get("ProcessType", "Standard") not in PROCESS_TYPES:
        found.append("ProcessType")
    return found
