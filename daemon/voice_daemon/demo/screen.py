"""The demo on a terminal, or as JSON lines: aligned rows while it runs, a summary at the end."""

import json
from dataclasses import asdict
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from voice_daemon.demo.report import HomeComparison, LatencyVerdict, ReceivedMessage, Row

SCHEMA = 1
_TOPIC_COLOURS = {
    "wake": "yellow",
    "session": "cyan",
    "transcript/partial": "blue",
    "transcript/final": "bold green",
    "error": "bold red",
}
_TOPIC_WIDTH = 20
_TEXT_WIDTH = 38


class TerminalScreen:
    """A screen for people."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opening(self, *, clip: str, broker: str, watch: str) -> None:
        """Print the heading of the columns."""
        say = self._console.print
        say(Text("voice-daemon demo", style="bold"))
        say(f"hears  {clip}", highlight=False)
        say(f"tells  {broker}", highlight=False)
        say(f"watch  {watch}", highlight=False)
        say(Text("loading the models; then the clip plays in real time", style="dim"))
        say()
        heading = f"{'clip':<7}  {'topic':<{_TOPIC_WIDTH}} {'message':<{_TEXT_WIDTH}}  latency"
        say(Text(heading, style="dim"), soft_wrap=True)

    def row(self, row: Row, arrival: ReceivedMessage) -> None:  # noqa: ARG002 - the same for both screens
        """Print one aligned line: committed text plain, draft in italics."""
        line = Text(f"{row.clip_s:.2f}s".ljust(9))
        line.append(f"{row.topic:<{_TOPIC_WIDTH}} ", style=_TOPIC_COLOURS.get(row.topic, "dim"))
        line.append(row.text, style="bold" if row.topic.startswith("transcript/") else "")
        line.append(row.draft, style="italic dim")
        if row.latency:
            line.pad_right(max(0, 9 + _TOPIC_WIDTH + 1 + _TEXT_WIDTH - len(line.plain)))
            line.append(f"  {row.latency}", style="magenta")
        self._console.print(line, soft_wrap=True)

    def home(self, comparison: HomeComparison) -> None:
        """Print both readings below each other."""
        say = self._console.print
        say()
        say(Text(f"a name that no model knows: “{comparison.spoken}”", style="bold"))
        say(Text("without the home's names  ").append(comparison.heard, style="red"))
        say(Text(f"in a home with {comparison.name}  ").append(comparison.understood, "green"))

    def closing(self, verdict: LatencyVerdict) -> None:
        """Print when each word was spoken and when it was there, and one line in sum."""
        say = self._console.print
        say()
        if verdict.final is not None:
            say(_word_table(verdict))
        say()
        say(_sentence(verdict), soft_wrap=True)


class JsonScreen:
    """A screen for scripts: JSON lines."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def opening(self, *, clip: str, broker: str, watch: str) -> None:
        """Write the `started` line."""
        self._write({"event": "started", "clip": clip, "broker": broker, "watch": watch})

    def row(self, row: Row, arrival: ReceivedMessage) -> None:
        """Write a `message` line with the payload as it came."""
        self._write(
            {
                "event": "message",
                "clip_s": round(arrival.clip_s, 3),
                "topic": arrival.topic,
                "payload": arrival.payload,
                "latency": row.latency or None,
            }
        )

    def home(self, comparison: HomeComparison) -> None:
        """Write the `home` line."""
        self._write({"event": "home", **asdict(comparison)})

    def closing(self, verdict: LatencyVerdict) -> None:
        """Write the `summary` line."""
        self._write({"event": "summary", **asdict(verdict)})

    def _write(self, document: dict[str, object]) -> None:
        self._out.write(json.dumps({"schema": SCHEMA, **document}, ensure_ascii=False) + "\n")
        self._out.flush()


Screen = TerminalScreen | JsonScreen


def _word_table(verdict: LatencyVerdict) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("word")
    table.add_column("spoken until", justify="right")
    table.add_column("shown", justify="right", style="blue")
    table.add_column("committed", justify="right", style="green")
    for word in verdict.words:
        shown, committed = (
            "-" if at_s is None else f"{at_s - word.spoken_s:+.2f} s"
            for at_s in (word.shown_s, word.committed_s)
        )
        table.add_row(word.text, f"{word.spoken_s:.2f} s", shown, committed)
    return table


def _sentence(verdict: LatencyVerdict) -> Text:
    if verdict.final is None:
        return Text("✗ no final transcript arrived", style="bold red")
    if not verdict.ok:
        wrong = f"✗ the final reads “{verdict.final}”, spoken was “{verdict.expected}”"
        return Text(wrong, style="bold red")
    return Text(
        f"✓ “{verdict.final}” — {verdict.n_partials} partials, "
        f"and the final {verdict.final_latency_s:.2f} s after the last word",
        style="bold green",
    )
