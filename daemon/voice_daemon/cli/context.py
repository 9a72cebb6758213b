"""The surroundings of a `daemonctl` command: configuration, folders, output.

A command is a module with `run(args, context) -> int`; `cli.main` prints what it raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from voice_daemon._lib.signals import EarlySignals
from voice_daemon._lib.terminal import is_unicode
from voice_daemon.paths import Paths, default_paths

if TYPE_CHECKING:  # pydantic is slow to load, and help needs neither
    from voice_daemon.config import Effective, Settings
    from voice_daemon.launchd import Machine

SCHEMA = 1
"""Version of every JSON document that a command prints."""


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of a command: its configuration and its output."""

    config_path: Path | None
    """The file that `--config` named; None where it was not given."""
    environ: Mapping[str, str]
    out: TextIO
    err: TextIO
    signals: EarlySignals = field(default_factory=EarlySignals)
    """The signals that came before the command's own handlers."""
    machine: Machine | None = None
    """Where launchd is looked for; None: on this machine."""

    def settings(self) -> Settings:
        """Read the configuration in force; raises `ConfigError` with every mistake in it."""
        return self.effective().settings

    def effective(self) -> Effective:
        """Read the settings with the origin of each; raises `ConfigError`."""
        from voice_daemon.config import load_effective, with_kept_node_id  # noqa: PLC0415 - pydantic is slow to load

        return with_kept_node_id(
            load_effective(self.config_path, self.environ), self.paths().changes_file
        )

    def paths(self) -> Paths:
        """Find the files of this user's daemon."""
        return default_paths(self.environ)

    @property
    def is_terminal(self) -> bool:
        """True where the output can be coloured and drawn over."""
        return self.out.isatty() and self.environ.get("TERM") != "dumb"

    @property
    def wants_colour(self) -> bool:
        """True where the output may be coloured."""
        return self.is_terminal and not self.environ.get("NO_COLOR")

    def print_json(self, document: Mapping[str, object]) -> None:
        """Print one JSON document on one line, with its schema version first."""
        line = json.dumps({"schema": SCHEMA, **document}, ensure_ascii=not is_unicode(self.out))
        self.out.write(line + "\n")
        self.out.flush()
