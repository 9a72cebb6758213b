"""Display of a pull: a bar on a terminal, a few lines in a pipe or a log."""

from typing import Final, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from voice_daemon.models import download

LINE_EVERY_PERCENT: Final = 10


def progress_to(stream: TextIO) -> download.Progress:
    """Return the display that suits `stream`."""
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


class BarProgress:
    """One bar for the whole pull, with the file that is coming."""

    def __init__(self, stream: TextIO) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._task: TaskID | None = None
        self._bytes_by_file: dict[str, int] = {}

    def begin(self, name: str, total_bytes: int) -> None:
        """Show the bar, or correct its total."""
        if self._task is None:
            self._task = self._bar.add_task(name, total=total_bytes)
            self._bar.start()
        self._bar.update(self._task, total=total_bytes)

    def at(self, file: str, n_bytes: int) -> None:
        """Move the bar."""
        self._bytes_by_file[file] = n_bytes
        if self._task is not None:
            present_bytes = sum(self._bytes_by_file.values())
            self._bar.update(self._task, completed=present_bytes, description=file)

    def end(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


class LineProgress:
    """A line each tenth of the way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total_bytes = 0
        self._shown_percent = -1
        self._bytes_by_file: dict[str, int] = {}

    def begin(self, name: str, total_bytes: int) -> None:
        """Say what comes; once, although the total may be corrected."""
        if not self._total_bytes:
            self._write(f"pulling {name}")
        self._total_bytes = total_bytes

    def at(self, file: str, n_bytes: int) -> None:
        """Write a line when another tenth is there."""
        self._bytes_by_file[file] = n_bytes
        percent = 100 * sum(self._bytes_by_file.values()) // max(self._total_bytes, 1)
        percent -= percent % LINE_EVERY_PERCENT
        if percent > self._shown_percent:
            self._shown_percent = percent
            self._write(f"{percent:3d} % of {self._total_bytes / 1e6:.1f} MB  {file}")

    def end(self) -> None:
        """Do nothing: every line ended where it was written."""

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
