"""The errors that reach a person: each says what is wrong and what to do next."""

from dataclasses import dataclass
from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_RUNNING: Final = 3
EXIT_NOT_INSTALLED: Final = 4
EXIT_FAULT: Final = 75
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    EXIT_OK: "good",
    EXIT_FAILED: "degraded or failed",
    EXIT_USAGE: "a mistake on the command line or in the configuration",
    EXIT_NOT_RUNNING: "the daemon is not running",
    EXIT_NOT_INSTALLED: "the agent is not installed",
    # 75 and 78 are sysexits.h's EX_TEMPFAIL and EX_CONFIG, which launchd shows by name.
    EXIT_FAULT: "`run`: a fault that a restart may cure",
    EXIT_CONFIG: "`run`: the configuration cannot be used",
    # 128 and the signal's number, as shells have it.
    EXIT_INTERRUPTED: "ended by Ctrl-C",
}
"""Every exit code of `daemonctl` and of the daemon, with its meaning for the manual."""


class VoiceDaemonError(Exception):
    """A fault with a remedy.

    `code` is a stable dotted name for scripts (`config.unknown_key`), `message` names the
    value at fault, `remedy` is what the reader should do next.
    """

    exit_code = EXIT_FAILED

    def __init__(self, code: str, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def to_dict(self) -> dict[str, str]:
        """Give JSON values."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy}


def crash(error: Exception) -> VoiceDaemonError:
    """Explain a mistake of ours, or of a library, that nothing else has explained."""
    return VoiceDaemonError(
        "daemon.crashed",
        f"the daemon failed: {type(error).__name__}: {error}",
        remedy="the log has the details; please report them",
    )


class UsageError(VoiceDaemonError):
    """The command line names something that cannot be used."""

    exit_code = EXIT_USAGE


class ConfigError(VoiceDaemonError):
    """The configuration cannot be used; the daemon maps it to 78, other commands to 2."""

    exit_code = EXIT_USAGE


class AudioFileError(VoiceDaemonError):
    """A file could not be read as audio."""


class AudioFormatError(VoiceDaemonError, ValueError):
    """An array is not what a recogniser takes: its shape, type, rate or range is another."""


class AudioDeviceError(VoiceDaemonError):
    """The audio input could not be found, opened or kept open."""


class SpeechError(VoiceDaemonError):
    """A text could not be spoken by the system's voice."""


class ModelError(VoiceDaemonError):
    """A model is missing, damaged or of a kind that is not supported."""


class BrokerError(VoiceDaemonError):
    """The MQTT broker could not be used."""


class ControlError(VoiceDaemonError):
    """The control socket could not be used."""


class NotRunningError(ControlError):
    """No daemon answers on the control socket."""

    exit_code = EXIT_NOT_RUNNING


class AlreadyRunningError(ControlError):
    """Another daemon holds the lock. Not a failure: what was asked for is already so."""

    exit_code = EXIT_OK

    def __init__(self, pid: int, *, lock_file: str) -> None:
        """`pid` of the holder; 0 while it is not known yet."""
        who = f"pid {pid}" if pid else "pid not known yet"
        super().__init__(
            "control.already_running",
            f"voice-daemon is already running ({who}; it holds {lock_file})",
            remedy="`daemonctl status` shows it; for a second one set VOICE_DAEMON_HOME",
        )
        self.pid = pid


class WyomingError(VoiceDaemonError):
    """The Wyoming server could not be started, or a client of it broke the rules."""


class ServiceError(VoiceDaemonError):
    """The launchd agent could not be installed, removed, started or stopped."""


class NotInstalledError(ServiceError):
    """There is no agent to act on."""

    exit_code = EXIT_NOT_INSTALLED


_SIGINT: Final = 2
"""POSIX numbers it so; the module `signal` would make every module that knows errors impure."""


def exit_code(error: VoiceDaemonError | None, stop_signal: int | None) -> int:
    """Give the exit code for what ended the daemon; no error is a wanted end."""
    match error:
        case None:
            return EXIT_INTERRUPTED if stop_signal == _SIGINT else EXIT_OK
        case ConfigError() | ModelError():
            return EXIT_CONFIG
        case AudioFileError():
            return EXIT_USAGE
        case BrokerError():
            return EXIT_FAILED
        case _:
            return EXIT_FAULT


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now; any but the log's makes the daemon degraded."""

    part: str
    """`mic`, `wake`, `asr`, `mqtt`, `session`, `config`, `vocabulary`, `output` or `log`.

    The log's are those of its disk, settings that cannot be saved included.
    """
    message: str
    remedy: str

    @property
    def hinders_hearing(self) -> bool:
        """False for what is wrong between it and a broker, a disk, a loudspeaker or the home."""
        return self.part not in {"mqtt", "log", "output", "vocabulary"}
