"""Names the daemon's files on this machine; nothing is created or opened here."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from voice_daemon.errors import ConfigError

APP_NAME = "voice-daemon"
MACOS = "darwin"
HOME_VARIABLE = "VOICE_DAEMON_HOME"
TIMERS_FILE = "timers.json"
"""Among the state: timers that Home Assistant runs. See `voice_daemon.homeassistant.timers`."""
MAX_SOCKET_PATH_BYTES = 100
"""macOS allows 103 bytes and Linux 107; one limit for both, with room for a lock's suffix."""


@dataclass(frozen=True, slots=True)
class Paths:
    """One instance's files. Two instances with different paths do not meet."""

    config_file: Path
    state_dir: Path
    """Holds the control socket, its lock and the settings that were changed at run time."""
    log_file: Path
    models_dir: Path

    @property
    def changes_file(self) -> Path:
        """State kept from run to run: see `voice_daemon.config.persisted`."""
        return self.state_dir / "state.json"

    @property
    def vocabulary_file(self) -> Path:
        """The home's names as they last came over MQTT: see `voice_daemon.vocabulary.store`."""
        return self.state_dir / "vocabulary.json"

    @property
    def audio_dir(self) -> Path:
        """The sound of sessions, where the owner wants it: see `voice_daemon.session.recorder`."""
        return self.state_dir / "audio"

    @property
    def wake_words_dir(self) -> Path:
        """The owner's own wake words, and the recordings that they were made of."""
        return self.models_dir.with_name("wake-words")

    @property
    def wyoming_log_file(self) -> Path:
        """The log of `daemonctl serve-wyoming`, which may run beside the daemon."""
        return self.log_file.with_name("serve-wyoming.jsonl")

    @property
    def socket_path(self) -> Path:
        """The control socket; raises `ConfigError` where the system could not bind it."""
        path = self.state_dir / f"{APP_NAME}.sock"
        n_bytes = len(os.fsencode(path))
        if n_bytes > MAX_SOCKET_PATH_BYTES:
            raise ConfigError(
                "paths.socket_too_long",
                f"the control socket's path has {n_bytes} bytes, and a Unix socket may have "
                f"{MAX_SOCKET_PATH_BYTES}: {path}",
                remedy=f"set {HOME_VARIABLE} to a folder with a shorter path",
            )
        return path


def expand(path: str) -> Path:
    """Replace a leading `~`; one that names no user stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises for such a user


def default_paths(environ: Mapping[str, str], *, platform: str = sys.platform) -> Paths:
    """Return this user's places by the platform's convention, or below `VOICE_DAEMON_HOME`.

    Raises `ConfigError` when `VOICE_DAEMON_HOME` is not an absolute path: a daemon and a
    `daemonctl` started in different folders would not find each other.
    """
    home = environ.get(HOME_VARIABLE, "")
    if not home:
        return _mac_paths(Path.home()) if platform == MACOS else _platform_paths()
    folder = expand(home)
    if not folder.is_absolute():
        raise ConfigError(
            "paths.home_relative",
            f"{HOME_VARIABLE} = {home}: is not an absolute path",
            remedy=f"set it to {folder.absolute()} or unset it",
        )
    return Paths(
        config_file=folder / "config.toml",
        state_dir=folder,
        log_file=folder / "logs" / f"{APP_NAME}.jsonl",
        models_dir=folder / "models",
    )


def _mac_paths(home: Path) -> Paths:
    """Give macOS' own places, whatever XDG variables a terminal has: launchd has none."""
    library = home / "Library"
    support = library / "Application Support" / APP_NAME
    return Paths(
        config_file=support / "config.toml",
        state_dir=support,
        log_file=library / "Logs" / APP_NAME / f"{APP_NAME}.jsonl",
        models_dir=support / "models",
    )


def _platform_paths() -> Paths:
    places = platformdirs.PlatformDirs(APP_NAME, appauthor=False)
    return Paths(
        config_file=places.user_config_path / "config.toml",
        state_dir=places.user_state_path,
        log_file=places.user_log_path / f"{APP_NAME}.jsonl",
        models_dir=places.user_data_path / "models",
    )
