"""Tables of text, for a terminal and for Markdown alike. Knows nothing of what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from tools.bench.summary import Spread

WIDTH = 150
"""Columns that the widest table takes."""
NOTHING = "–"  # noqa: RUF001 - an en dash for "no such figure"


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the heads of the columns, and rows of as many cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    n_labels: int = 1
    """Columns at the left that are words, not figures."""

    def for_terminal(self) -> RichTable:
        """The table as rich draws it."""
        drawn = RichTable(
            title=self.title, caption=self.note or None, box=box.SIMPLE, title_justify="left"
        )
        for index, column in enumerate(self.columns):
            drawn.add_column(
                column, justify="left" if index < self.n_labels else "right", no_wrap=True
            )
        for row in self.rows:
            drawn.add_row(*row)
        return drawn

    def as_markdown(self) -> str:
        """The table in GitHub's Markdown, with its title as a heading."""
        rules = ["---"] * self.n_labels + ["---:"] * (len(self.columns) - self.n_labels)
        lines = [self.columns, tuple(rules), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        note = f"\n{self.note}\n" if self.note else ""
        return f"### {self.title}\n\n{table}\n{note}"


def wide_console() -> Console:
    """Standard output, wide enough for every table even where that is no terminal."""
    return Console(width=max(WIDTH, Console().width), highlight=False)


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A percentage to a tenth."""
    return NOTHING if value is None else f"{value:.1f} %"


def spread(figures: Spread) -> str:
    """p50 / p95 / mean in seconds."""
    if figures.mean is None:
        return NOTHING
    return " / ".join(number(value) for value in (figures.p50, figures.p95, figures.mean))


def milliseconds(figures: Spread) -> str:
    """p50 / p95 in milliseconds."""
    if figures.p50 is None or figures.p95 is None:
        return NOTHING
    return f"{1000 * figures.p50:.0f} / {1000 * figures.p95:.0f}"


def yes_no(value: bool | None) -> str:  # noqa: FBT001 - the value itself is a truth
    """A truth, or a dash where the question does not arise."""
    return NOTHING if value is None else "yes" if value else "no"


def seconds(step_s: float | None) -> str:
    """A step length; a dash for none."""
    return NOTHING if step_s is None else f"{step_s:g} s"


def labels(names: Sequence[str]) -> str:
    """Names in one cell."""
    return ", ".join(names) if names else NOTHING
