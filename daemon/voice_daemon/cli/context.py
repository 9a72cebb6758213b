"""What a `daemonctl` command is, and what it is given.

A command is a module of this package, or an object in one, that satisfies `CliCommand`;
`voice_daemon.cli.parser` lists them. It knows neither argparse's top level nor how errors
are shown: a command raises a `VoiceDaemonError` and the caller prints it. Importing a command
must be cheap, because `--help` imports all of them: heavy imports go inside `run`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TextIO

    from voice_daemon.config import Effective, Settings
    from voice_daemon.paths import Paths

from voice_daemon._lib.signals import EarlySignals

SCHEMA = 1
"""Version of every JSON document that a command prints."""


@dataclass(frozen=True, slots=True)
class Context:
    """What surrounds a command: where its configuration is and where its output goes."""

    config_path: Path | None
    """The file that `--config` named; None where it was not given."""
    environ: Mapping[str, str]
    out: TextIO
    err: TextIO
    signals: EarlySignals = field(default_factory=EarlySignals)
    """The signals that came before the command's own handlers."""

    def settings(self) -> Settings:
        """Read the configuration in force; raises `ConfigError` with every mistake in it."""
        return self.effective().settings

    def effective(self) -> Effective:
        """Read the settings with the origin of each; raises `ConfigError`."""
        from voice_daemon.config import load_effective  # noqa: PLC0415 - pydantic is slow to load

        return load_effective(self.config_path, self.environ)

    def paths(self) -> Paths:
        """Where this user's daemon keeps its files."""
        from voice_daemon.paths import default_paths  # noqa: PLC0415 - as above

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
        line = json.dumps({"schema": SCHEMA, **document}, ensure_ascii=False)
        self.out.write(line + "\n")
        self.out.flush()


class CliCommand(Protocol):
    """A subcommand of `daemonctl`; a module satisfies it with these names at its top level."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a module's constant satisfies it
        """What is typed: `transcribe`."""

    @property
    def HELP(self) -> str:  # noqa: N802 - a module's constant satisfies it
        """One line, for the list of commands."""

    @property
    def EXAMPLE(self) -> str:  # noqa: N802 - a module's constant satisfies it
        """One command line to copy, shown below the command's own help."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace, context: Context) -> int:
        """Do it and return the exit code; raises `VoiceDaemonError`."""
