"""The state that outlives a run: changed settings, and what was announced to Home Assistant.

One small JSON file. One that cannot be read, or that others may have written, is set aside with a
warning, never an error. Callable from any thread.
"""

import os
import secrets
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import structlog
from pydantic import Field, TypeAdapter, ValidationError

from voice_daemon._lib.files import write_atomically
from voice_daemon.errors import VoiceDaemonError

log = structlog.get_logger()

SCHEMA: Final = 1
MAX_BYTES: Final = 256 * 1024
"""A file beyond this is not ours."""

Value = str | int | float | bool
"""A setting's value."""


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that was changed while the daemon ran."""

    value: Value
    configured: Value
    """The configured value then: once it says something else, it is the newer word."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A retained announcement for Home Assistant."""

    topic: str
    root: str
    """The topics that it names are below this one."""
    components: Mapping[str, str]
    """Platforms by component."""


@dataclass(frozen=True, slots=True)
class HungStart:
    """Starts in a row that ended at their deadline in one part."""

    part: str
    in_a_row: int
    models: str
    """The models that were configured then."""


@dataclass(frozen=True, slots=True)
class PersistedState:
    """All that is remembered, in the form of the file."""

    changes: Annotated[Mapping[str, Change], Field(alias="settings")]
    """By the setting's name."""
    announced: tuple[Announcement, ...]
    """Oldest first; more than one until the broker has confirmed that the others are gone."""
    hung_start: HungStart | None = None
    node_id: str = ""
    """The node id of the first start, for as long as none is configured; empty before it."""
    instance: str = ""
    """Identity of the device for Home Assistant, whatever its node id; empty before it has one."""
    finals_are_heard: bool = False
    """True once somebody listened to a final."""
    schema: Literal[1] = field(default=SCHEMA, kw_only=True)


EMPTY: Final = PersistedState({}, ())
_FORM: Final = TypeAdapter(PersistedState)


class UnreadableError(VoiceDaemonError):
    """The file holds something else than what was written."""


def read_state(path: Path) -> PersistedState:
    """Read what is remembered, nothing where there is no file; raises `UnreadableError`."""
    try:
        with open(path, "rb", opener=_open_unfollowed) as file:
            _refuse_a_file_of_others(file)
            # One byte more than is allowed tells a file that is too long, without reading it all.
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError("it is too long")
        return _FORM.validate_json(text, strict=True)
    except FileNotFoundError:
        return EMPTY
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _unreadable(path, f"{place}: {first['msg']}" if place else first["msg"]) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> UnreadableError:
    return UnreadableError(
        "settings.unreadable",
        f"{path} cannot be read: {why}",
        remedy="the configured settings are in force; make the changes again",
    )


class SettingsStore:
    """The file, as the running daemon changes it; without one, it remembers until the end alone.

    `state`: what to begin with, in the place of what the file says.
    """

    def __init__(self, path: Path | None = None, *, state: PersistedState | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._state = state or EMPTY
        self._is_dirty = False
        if path is not None and state is None:
            try:
                self._state = read_state(path)
            except UnreadableError as error:
                self._set_aside(path, error)

    @property
    def state(self) -> PersistedState:
        """The state as it is now."""
        with self._lock:
            return self._state

    @property
    def is_dirty(self) -> bool:
        """True when `save` has something to write."""
        return self._is_dirty

    def change(self, name: str, change: Change | None) -> None:
        """Remember a setting's change, or with None that the configuration is in force again."""
        with self._lock:
            changes = dict(self._state.changes)
            changes.pop(name, None)
            if change is not None:
                changes[name] = change
            self._replace(replace(self._state, changes=changes))

    def announce(self, announced: tuple[Announcement, ...]) -> None:
        """Remember what was announced."""
        with self._lock:
            self._replace(replace(self._state, announced=announced))

    def note_hung_start(self, hung_start: HungStart | None) -> None:
        """Remember in which part starts hang, or with None that one came to its end."""
        with self._lock:
            self._replace(replace(self._state, hung_start=hung_start))

    def note_heard(self) -> None:
        """Remember that somebody listens to finals."""
        with self._lock:
            self._replace(replace(self._state, finals_are_heard=True))

    def keep_node_id(self, node_id: str) -> None:
        """Remember the node id of the first start."""
        with self._lock:
            self._replace(replace(self._state, node_id=node_id))

    def instance(self, node_id: str) -> str:
        """Return the device's identity; at the first call, give it one.

        What an earlier version announced keeps the identity that it had: the node id. Without a
        file nothing could be kept either, and `node_id` itself is the best that there is.
        """
        with self._lock:
            known = self._state.instance
            if not known and self._state.announced:
                known = self._state.announced[-1].root.rpartition("/")[2]
            elif not known:
                known = node_id if self._path is None else secrets.token_hex(4)
            self._replace(replace(self._state, instance=known))
            return known

    def save(self) -> bool:
        """Write what is new, and tell whether anything is; raises `VoiceDaemonError`."""
        # One after the other: an older state must not replace a newer one.
        with self._writing:
            with self._lock:
                state, path, is_dirty = self._state, self._path, self._is_dirty
                self._is_dirty = False
            if path is None or not is_dirty:
                return False
            try:
                write_atomically(path, _FORM.dump_json(state, by_alias=True, indent=1))
            except OSError as error:
                self._is_dirty = True
                raise VoiceDaemonError(
                    "settings.not_saved",
                    f"{path} cannot be written: {error.strerror or error}",
                    remedy="changed settings are lost at the next start; check disk and folder",
                ) from error
            return True

    def _replace(self, state: PersistedState) -> None:
        if state != self._state:
            self._state = state
            self._is_dirty = True

    def _set_aside(self, path: Path, error: UnreadableError) -> None:
        aside = path.with_name(f"{path.name}.unreadable")
        with suppress(OSError):
            path.replace(aside)
        log.warning("settings.unreadable", reason=error.message, remedy=error.remedy, kept=aside)


def _open_unfollowed(path: str, flags: int) -> int:
    """Open the file itself, not where a link leads; a pipe without waiting for its writer."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _refuse_a_file_of_others(file: BinaryIO) -> None:
    """Raise ValueError for what somebody else may have written."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a file")
    # Root may write any file anyway: its own is no worse.
    if found.st_uid not in {os.geteuid(), 0}:
        raise ValueError(f"it belongs to user {found.st_uid}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(f"others may write it (mode {stat.S_IMODE(found.st_mode):04o})")
